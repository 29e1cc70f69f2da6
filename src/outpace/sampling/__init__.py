"""Logits to tokens, pure."""

from outpace.sampling.params import SamplingParams
from outpace.sampling.sampler import Choice, Sampler

__all__ = ["Choice", "Sampler", "SamplingParams"]
