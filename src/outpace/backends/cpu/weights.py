"""Which kernel a tensor runs on, and what must be done to its bytes before it can."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outpace import _native
from outpace.errors import UnsupportedError
from outpace.gguf.quants import DEQUANTIZABLE, dequantize, quantize
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef

PLAIN = frozenset({GGMLType.F32, GGMLType.F16, GGMLType.BF16})
FAST = PLAIN | {
    GGMLType.Q4_0,
    GGMLType.Q4_1,
    GGMLType.Q5_0,
    GGMLType.Q5_1,
    GGMLType.Q8_0,
    GGMLType.Q4_K,
    GGMLType.Q5_K,
    GGMLType.Q6_K,
}


@dataclass(frozen=True, slots=True)
class KernelType:
    """How a tensor is kept: the type it is packed as, and whether that is not its own."""

    type: GGMLType
    is_converted: bool

    @property
    def is_quantised(self) -> bool:
        """Whether its kernel multiplies int8 activations."""
        return self.type not in PLAIN


def kernel_type(ref: WeightRef) -> KernelType:
    """Return the type a matrix is packed as: its own, or Q8_0 (F16 for odd widths) for types without a kernel.

    Raises:
        UnsupportedError: The type cannot be read at all.
    """
    if ref.type in FAST:
        return KernelType(ref.type, False)
    if ref.type not in DEQUANTIZABLE:
        raise UnsupportedError("weight type", ref.type.name, sorted(each.name for each in DEQUANTIZABLE))
    return KernelType(GGMLType.Q8_0 if ref.shape[-1] % 32 == 0 else GGMLType.F16, True)


def packed_bytes(ref: WeightRef, tier: str) -> int:
    """Return the bytes a matrix takes in tiles, or all matrices of a stack."""
    *stack, rows, width = ref.shape
    n_bytes = _native.packed_bytes(tier, int(kernel_type(ref).type), rows, width)
    assert n_bytes, f"{ref.name}: no kernel for {ref.type.name} of width {width}"
    return n_bytes * math.prod(stack)


def kernel_bytes(ref: WeightRef, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a tensor's rows as its kernel's type: the file's own bytes, or converted ones."""
    kept = kernel_type(ref)
    if not kept.is_converted:
        return raw
    values = dequantize(raw, ref.type, ref.shape)
    return quantize(values, kept.type).reshape(-1).view(np.uint8)
