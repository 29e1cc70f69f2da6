"""The types a GGUF file can hold: tensor types with their blocks, and metadata value types."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType


class GGMLType(IntEnum):
    """A tensor's element type, by the id stored in the file.

    Source: the GGUF specification and ggml's type table. Ids 4, 5, 31-33 and 36-38 belonged to types since removed.
    """

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q8_1 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    Q8_K = 15
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    I8 = 24
    I16 = 25
    I32 = 26
    I64 = 27
    F64 = 28
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41


REMOVED_TYPES = frozenset({4, 5, 31, 32, 33, 36, 37, 38})


@dataclass(frozen=True, slots=True)
class Block:
    """The smallest piece of a row that is stored on its own.

    Attributes:
        size: Elements in a block.
        n_bytes: Bytes a block takes.
    """

    size: int
    n_bytes: int


BLOCK: MappingProxyType[GGMLType, Block] = MappingProxyType(
    {
        GGMLType.F32: Block(1, 4),
        GGMLType.F16: Block(1, 2),
        GGMLType.BF16: Block(1, 2),
        GGMLType.F64: Block(1, 8),
        GGMLType.I8: Block(1, 1),
        GGMLType.I16: Block(1, 2),
        GGMLType.I32: Block(1, 4),
        GGMLType.I64: Block(1, 8),
        GGMLType.Q4_0: Block(32, 2 + 16),
        GGMLType.Q4_1: Block(32, 2 + 2 + 16),
        GGMLType.Q5_0: Block(32, 2 + 4 + 16),
        GGMLType.Q5_1: Block(32, 2 + 2 + 4 + 16),
        GGMLType.Q8_0: Block(32, 2 + 32),
        GGMLType.Q8_1: Block(32, 2 + 2 + 32),
        GGMLType.Q2_K: Block(256, 16 + 64 + 2 + 2),
        GGMLType.Q3_K: Block(256, 32 + 64 + 12 + 2),
        GGMLType.Q4_K: Block(256, 2 + 2 + 12 + 128),
        GGMLType.Q5_K: Block(256, 2 + 2 + 12 + 32 + 128),
        GGMLType.Q6_K: Block(256, 128 + 64 + 16 + 2),
        GGMLType.Q8_K: Block(256, 4 + 256 + 32),
        GGMLType.IQ1_S: Block(256, 2 + 32 + 16),
        GGMLType.IQ1_M: Block(256, 32 + 16 + 8),
        GGMLType.IQ2_XXS: Block(256, 2 + 64),
        GGMLType.IQ2_XS: Block(256, 2 + 64 + 8),
        GGMLType.IQ2_S: Block(256, 2 + 64 + 16),
        GGMLType.IQ3_XXS: Block(256, 2 + 64 + 32),
        GGMLType.IQ3_S: Block(256, 2 + 64 + 32 + 8 + 4),
        GGMLType.IQ4_NL: Block(32, 2 + 16),
        GGMLType.IQ4_XS: Block(256, 2 + 2 + 4 + 128),
        GGMLType.TQ1_0: Block(256, 48 + 4 + 2),
        GGMLType.TQ2_0: Block(256, 64 + 2),
        GGMLType.MXFP4: Block(32, 1 + 16),
        GGMLType.NVFP4: Block(64, 4 + 32),
        GGMLType.Q1_0: Block(128, 2 + 16),
    }
)


def row_bytes(kind: GGMLType, n: int) -> int:
    """Return the bytes of a row.

    Args:
        kind: Element type.
        n: Elements in the row.

    Returns:
        Bytes the row takes in a file.

    Raises:
        ValueError: The row is not a whole number of blocks.
    """
    block = BLOCK[kind]
    if n < 0 or n % block.size:
        raise ValueError(f"a row of {n} elements is not a whole number of {kind.name} blocks of {block.size}")
    return n // block.size * block.n_bytes


class ValueType(IntEnum):
    """The type of a metadata value, by the id stored in the file. Source: the GGUF specification."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


# Value type -> numpy type string, for those of a fixed size; a BOOL is one byte, 0 or 1.
NUMPY_TYPE: MappingProxyType[ValueType, str] = MappingProxyType(
    {
        ValueType.UINT8: "<u1",
        ValueType.INT8: "<i1",
        ValueType.UINT16: "<u2",
        ValueType.INT16: "<i2",
        ValueType.UINT32: "<u4",
        ValueType.INT32: "<i4",
        ValueType.UINT64: "<u8",
        ValueType.INT64: "<i8",
        ValueType.FLOAT32: "<f4",
        ValueType.FLOAT64: "<f8",
        ValueType.BOOL: "<u1",
    }
)

INTEGER_TYPES = frozenset(
    {
        ValueType.UINT8,
        ValueType.INT8,
        ValueType.UINT16,
        ValueType.INT16,
        ValueType.UINT32,
        ValueType.INT32,
        ValueType.UINT64,
        ValueType.INT64,
    }
)
FLOAT_TYPES = frozenset({ValueType.FLOAT32, ValueType.FLOAT64})
