"""Guess, check, keep."""

from outpace.speculate.accept import Kept, accept
from outpace.speculate.auto import AutoDepth
from outpace.speculate.cost import StepCosts, measure
from outpace.speculate.drafter import NOTHING, Draft, Drafter, NoDrafter
from outpace.speculate.mtp import Head, HeadState
from outpace.speculate.policy import FixedDepth, Policy
from outpace.speculate.speculator import DraftState, SpeculatedDrafter, Speculator
from outpace.speculate.suffix import SuffixDrafter

__all__ = [
    "NOTHING",
    "AutoDepth",
    "Draft",
    "DraftState",
    "Drafter",
    "FixedDepth",
    "Head",
    "HeadState",
    "Kept",
    "NoDrafter",
    "Policy",
    "SpeculatedDrafter",
    "Speculator",
    "StepCosts",
    "SuffixDrafter",
    "accept",
    "measure",
]
