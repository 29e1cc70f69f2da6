"""The numbers of a dense pre-norm transformer, read from metadata and checked before anything divides by them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from outpace.errors import ConfigError, UnsupportedError
from outpace.gguf.metadata import Metadata


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and constants of a dense transformer.

    Attributes:
        arch: `general.architecture`, also the prefix of the keys.
        n_layers: Layers L.
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
    """

    arch: str
    n_layers: int
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

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Config:
        """Read the numbers of the file's own architecture; see `definition.Config`.

        Source: the GGUF specification's keys `[llm].*`, `[llm].attention.*` and `[llm].rope.*`.
        """
        arch = metadata.str("general.architecture")
        _refuse_variants(metadata, arch)
        d_model = _count(metadata, f"{arch}.embedding_length")
        n_heads = _count(metadata, f"{arch}.attention.head_count")
        n_kv_heads = _count(metadata, f"{arch}.attention.head_count_kv", n_heads)
        if n_heads % n_kv_heads:
            raise ConfigError(f"{arch}.attention.head_count_kv", n_kv_heads, f"a divisor of head_count {n_heads}")
        head_dim = _head_dim(metadata, arch, d_model, n_heads)
        rope_dims = _count(metadata, f"{arch}.rope.dimension_count", head_dim)
        if rope_dims % 2 or rope_dims > head_dim:
            raise ConfigError(f"{arch}.rope.dimension_count", rope_dims, f"an even number up to head width {head_dim}")
        return cls(
            arch=arch,
            n_layers=_count(metadata, f"{arch}.block_count"),
            d_model=d_model,
            d_ff=_count(metadata, f"{arch}.feed_forward_length"),
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            n_vocab=_vocabulary(metadata, arch),
            n_ctx_train=_count(metadata, f"{arch}.context_length"),
            norm_eps=_positive(metadata, f"{arch}.attention.layer_norm_rms_epsilon"),
            rope_dims=rope_dims,
            rope_base=_positive(metadata, f"{arch}.rope.freq_base", 10000.0),
            rope_scale=_rope_scale(metadata, arch),
        )


def _count(metadata: Metadata, key: str, default: int | None = None) -> int:
    value = metadata.int(key) if default is None else metadata.int(key, default)
    if not 0 < value < 2**31:
        raise ConfigError(key, value, "a positive 31-bit number")
    return value


def _positive(metadata: Metadata, key: str, default: float | None = None) -> float:
    value = metadata.float(key) if default is None else metadata.float(key, default)
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(key, value, "a positive number")
    return value


def _head_dim(metadata: Metadata, arch: str, d_model: int, n_heads: int) -> int:
    key = f"{arch}.attention.key_length"
    if key not in metadata and d_model % n_heads:
        raise ConfigError(f"{arch}.attention.head_count", n_heads, f"a divisor of the width {d_model}, or a key_length")
    head_dim = _count(metadata, key, d_model // n_heads)
    value_length = _count(metadata, f"{arch}.attention.value_length", head_dim)
    if value_length != head_dim:
        raise UnsupportedError("value head width", str(value_length), (f"{head_dim}, that of the keys",))
    return head_dim


def _vocabulary(metadata: Metadata, arch: str) -> int:
    """Return V: the length of the token list, or what the file says where it carries no tokenizer."""
    tokens = "tokenizer.ggml.tokens"
    n_tokens = metadata.entry(tokens).count if tokens in metadata else None
    return n_tokens or _count(metadata, f"{arch}.vocab_size")


def _rope_scale(metadata: Metadata, arch: str) -> float:
    """Return by how much positions are divided: 1, unless the scaling is linear."""
    key = f"{arch}.rope.scaling.type"
    kind = metadata.str(key, "none")
    if kind == "none":
        return _positive(metadata, f"{arch}.rope.scale_linear", 1.0)
    if kind == "linear":
        return _positive(metadata, f"{arch}.rope.scaling.factor")
    raise UnsupportedError("rope scaling", kind, ("none", "linear", "per-frequency factors in rope_freqs.weight"))


def _refuse_variants(metadata: Metadata, arch: str) -> None:
    n_experts = metadata.int(f"{arch}.expert_count", 0)
    if n_experts:
        raise UnsupportedError(f"{arch} with", f"{n_experts} experts", ("one dense feed-forward network a layer",))
    window = metadata.int(f"{arch}.attention.sliding_window", 0)
    n_ctx_train = metadata.int(f"{arch}.context_length", 0)
    if 0 < window < n_ctx_train:
        what = f"window of {window} in a context of {n_ctx_train}"
        raise UnsupportedError("sliding-window attention with a", what, ("attention over the whole context",))
