"""Guess, check, keep."""

from outpace.speculate.accept import Kept, accept
from outpace.speculate.cost import StepCosts, measure
from outpace.speculate.drafter import NOTHING, Draft, Drafter, NoDrafter
from outpace.speculate.mtp import Head, HeadState, MtpDrafter
from outpace.speculate.policy import AutoDepth, FixedDepth, Policy
from outpace.speculate.suffix import SuffixDrafter

__all__ = [
    "NOTHING",
    "AutoDepth",
    "Draft",
    "Drafter",
    "FixedDepth",
    "Head",
    "HeadState",
    "Kept",
    "MtpDrafter",
    "NoDrafter",
    "Policy",
    "StepCosts",
    "SuffixDrafter",
    "accept",
    "measure",
]
