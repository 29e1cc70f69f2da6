"""The numbers of a dense pre-norm transformer, read from metadata and checked before anything divides by them."""

from __future__ import annotations

from dataclasses import dataclass

from outpace.errors import UnsupportedError
from outpace.gguf.metadata import Metadata
from outpace.models import numbers


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and constants of a dense transformer.

    Attributes:
        arch: `general.architecture`, also the prefix of the keys.
        n_layers: Layers L of the trunk.
        n_mtp: Layers after those that only predict further tokens: 0 or 1.
        d_model: Width D.
        d_ff: Feed-forward width F.
        n_heads: Query heads H.
        n_kv_heads: Key/value heads G; H is a multiple of it.
        head_dim: Head width K, of queries, keys and values.
        n_vocab: Vocabulary V.
        n_ctx_train: Longest context trained for, in positions.
        norm_eps: Added to the mean square inside every norm's root.
        rope_dims: Leading dimensions of a head that rotary embedding turns.
        rope_base: Rotary frequency base.
        rope_scale: Linear position scale.
        n_medusa: Medusa heads.
    """

    arch: str
    n_layers: int
    n_mtp: int
    d_model: int
    d_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_vocab: int
    n_ctx_train: int
    norm_eps: float
    rope_dims: int
    rope_base: float
    rope_scale: float
    n_medusa: int = 0

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Config:
        """Read the numbers of the file's own architecture; see `definition.Config`.

        Source: the GGUF specification's keys `[llm].*`, `[llm].attention.*` and `[llm].rope.*`.
        """
        arch = metadata.str("general.architecture")
        _refuse_variants(metadata, arch)
        n_layers, n_mtp = numbers.layers(metadata, arch)
        d_model = numbers.count(metadata, f"{arch}.embedding_length")
        n_heads, n_kv_heads = numbers.heads(metadata, arch)
        head_dim = numbers.head_dim(metadata, arch, d_model, n_heads)
        return cls(
            arch=arch,
            n_layers=n_layers,
            n_mtp=n_mtp,
            d_model=d_model,
            d_ff=numbers.count(metadata, f"{arch}.feed_forward_length"),
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            n_vocab=numbers.vocabulary(metadata, arch),
            n_ctx_train=numbers.count(metadata, f"{arch}.context_length"),
            norm_eps=numbers.positive(metadata, f"{arch}.attention.layer_norm_rms_epsilon"),
            rope_dims=numbers.rope_dims(metadata, arch, head_dim),
            rope_base=numbers.positive(metadata, f"{arch}.rope.freq_base", 10000.0),
            rope_scale=numbers.rope_scale(metadata, arch),
            n_medusa=numbers.medusa(metadata, arch),
        )


def _refuse_variants(metadata: Metadata, arch: str) -> None:
    n_experts = metadata.int(f"{arch}.expert_count", 0)
    if n_experts:
        raise UnsupportedError(f"{arch} with", f"{n_experts} experts", ("one dense feed-forward network a layer",))
    window = metadata.int(f"{arch}.attention.sliding_window", 0)
    n_ctx_train = metadata.int(f"{arch}.context_length", 0)
    if 0 < window < n_ctx_train:
        what = f"window of {window} in a context of {n_ctx_train}"
        raise UnsupportedError("sliding-window attention with a", what, ("attention over the whole context",))
