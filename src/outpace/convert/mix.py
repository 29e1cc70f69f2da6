"""Which type each tensor gets: a file's type is a mix, with more bits where errors cost most.

Source: llama.cpp's choices for the same names (`src/llama-quant.cpp`), but for the layers that predict further tokens:
there the projection of [embedding, hidden] is Q8_0 and the rest of the mix's main type, because a draft passes through
that projection first, and it is a small part of a file. The small projections that steer a gated-delta layer's decay
are Q8_0 too.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from outpace.gguf.heads import BY_TOKEN, layer_of
from outpace.gguf.types import BLOCK, GGMLType


@dataclass(frozen=True, slots=True)
class Mix:
    """A way of giving types.

    Attributes:
        name: As it is asked for.
        main: The type of most matrices.
        file_type: The number that `general.file_type` has for it.
        more: The type of the matrices that get more bits in some layers.
    """

    name: str
    main: GGMLType
    file_type: int
    more: GGMLType | None = None


_ALL: Final = (
    Mix("F32", GGMLType.F32, 0),
    Mix("F16", GGMLType.F16, 1),
    Mix("BF16", GGMLType.BF16, 32),
    Mix("Q8_0", GGMLType.Q8_0, 7),
    Mix("Q6_K", GGMLType.Q6_K, 18),
    Mix("Q5_K_M", GGMLType.Q5_K, 17, GGMLType.Q6_K),
    Mix("Q4_K_M", GGMLType.Q4_K, 15, GGMLType.Q6_K),
    Mix("Q4_0", GGMLType.Q4_0, 2),
)
MIXES: MappingProxyType[str, Mix] = MappingProxyType({mix.name: mix for mix in _ALL})

PLAIN: Final = frozenset({GGMLType.F32, GGMLType.F16, GGMLType.BF16})
# Rows that are not whole blocks of a type get the next one, as long as that takes.
_INSTEAD: Final = MappingProxyType(
    {GGMLType.Q4_K: GGMLType.Q5_0, GGMLType.Q5_K: GGMLType.Q5_1, GGMLType.Q6_K: GGMLType.Q8_0}
)
# Matrices that are small and steer much: float32 whatever the mix.
_EXACT: Final = ("ffn_gate_inp", "ffn_gate_inp_shexp", "ssm_conv1d")
_FINE: Final = ("nextn.eh_proj", "ssm_alpha", "ssm_beta", "ssm_ba")
_SENSITIVE: Final = ("attn_v", "attn_qkv", "ffn_down", "ffn_down_exps", "ffn_down_shexp")


def type_of(mix: Mix, name: str, shape: tuple[int, ...], n_layers: int, is_tied: bool) -> GGMLType:
    """Return the type of a tensor.

    Args:
        mix: What was asked for.
        name: The tensor's.
        shape: Its sizes, outermost first.
        n_layers: Layers of the trunk.
        is_tied: Whether the embedding is also the head.
    """
    layer = layer_of(name)
    part = name.removesuffix(".weight") if layer is None else name.split(".", 2)[2].removesuffix(".weight")
    if len(shape) < 2 or not name.endswith(".weight") or part.endswith("norm") or part in _EXACT:
        return GGMLType.F32
    kind = mix.main
    if kind not in PLAIN and kind is not GGMLType.Q8_0:
        if part == "output" or f"{part}.weight" in BY_TOKEN or (part == "token_embd" and is_tied):
            kind = GGMLType.Q6_K
        elif part in _FINE:
            kind = GGMLType.Q8_0
        elif mix.more and part in _SENSITIVE and layer is not None and _gets_more(layer, n_layers):
            kind = mix.more
    while shape[-1] % BLOCK[kind].size:
        kind = _INSTEAD.get(kind, GGMLType.F16)
    return kind


def _gets_more(layer: int, n_layers: int) -> bool:
    """Return whether a layer's sensitive matrices get more bits: the first and last eighth, and every third between."""
    first = n_layers // 8
    return layer < first or 7 * n_layers // 8 <= layer < n_layers or (layer < n_layers and (layer - first) % 3 == 2)
