"""The numbers of a transformer that mixes gated-delta layers with attention, read from metadata and checked."""

from __future__ import annotations

from dataclasses import dataclass

from outpace.errors import ConfigError
from outpace.gguf.metadata import Metadata
from outpace.models import numbers


@dataclass(frozen=True, slots=True)
class Experts:
    """Sizes of a mixture of experts.

    Attributes:
        n: Experts E.
        n_used: How many a row uses.
        d_ff: Feed-forward width F of each.
        d_shared: That of the expert every row uses.
    """

    n: int
    n_used: int
    d_ff: int
    d_shared: int


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes and constants of a hybrid transformer.

    Attributes:
        arch: `general.architecture`, also the prefix of the keys.
        n_layers: Layers L of the trunk.
        n_mtp: Layers after those that only predict further tokens: 0 or 1.
        is_recurrent: For each layer of the trunk, whether it is a gated-delta layer.
        d_model: Width D.
        d_ff: Feed-forward width F; 0 where experts take its place.
        experts: The mixture, in architectures that have one.
        n_heads: Query heads H of attention layers.
        n_kv_heads: Key/value heads G; H is a multiple of it.
        head_dim: Head width K, of queries, keys and values.
        n_key_heads: Key (and query) heads of gated-delta layers.
        n_value_heads: Value heads, a multiple of it.
        key_dim: Width of their keys.
        value_dim: Width of their values.
        conv_kernel: Length J of their convolution.
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
    is_recurrent: tuple[bool, ...]
    d_model: int
    d_ff: int
    experts: Experts | None
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_key_heads: int
    n_value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    n_vocab: int
    n_ctx_train: int
    norm_eps: float
    rope_dims: int
    rope_base: float
    rope_scale: float
    n_medusa: int = 0

    @property
    def conv_channels(self) -> int:
        """Channels C of the convolution: queries, keys and values."""
        return 2 * self.n_key_heads * self.key_dim + self.n_value_heads * self.value_dim

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Config:
        """Read the numbers of the file's own architecture; see `definition.Config`."""
        arch = metadata.str("general.architecture")
        n_layers, n_mtp = numbers.layers(metadata, arch)
        d_model = numbers.count(metadata, f"{arch}.embedding_length")
        n_heads, n_kv_heads = numbers.heads(metadata, arch)
        head_dim = numbers.head_dim(metadata, arch, d_model, n_heads)
        n_key_heads, n_value_heads, value_dim = _delta_heads(metadata, arch)
        experts = _experts(metadata, arch)
        return cls(
            arch=arch,
            n_layers=n_layers,
            n_mtp=n_mtp,
            is_recurrent=_recurrent(metadata, arch, n_layers),
            d_model=d_model,
            d_ff=0 if experts else _d_ff(metadata, arch),
            experts=experts,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            n_key_heads=n_key_heads,
            n_value_heads=n_value_heads,
            key_dim=numbers.count(metadata, f"{arch}.ssm.state_size"),
            value_dim=value_dim,
            conv_kernel=numbers.count(metadata, f"{arch}.ssm.conv_kernel"),
            n_vocab=numbers.vocabulary(metadata, arch),
            n_ctx_train=numbers.count(metadata, f"{arch}.context_length"),
            norm_eps=numbers.positive(metadata, f"{arch}.attention.layer_norm_rms_epsilon"),
            rope_dims=numbers.rope_dims(metadata, arch, head_dim),
            rope_base=numbers.positive(metadata, f"{arch}.rope.freq_base", 10000.0),
            rope_scale=numbers.rope_scale(metadata, arch),
            n_medusa=numbers.medusa(metadata, arch),
        )


def _recurrent(metadata: Metadata, arch: str, n_layers: int) -> tuple[bool, ...]:
    """Return which layers of the trunk are gated-delta layers: as listed, else all but every n-th."""
    key = f"{arch}.attention.recurrent_layers"
    if key in metadata:
        listed = metadata.bools(key)
        if len(listed) < n_layers:
            raise ConfigError(f"the length of {key}", len(listed), f"an entry for each of the {n_layers} layers")
        return tuple(bool(each) for each in listed[:n_layers])
    interval = numbers.count(metadata, f"{arch}.full_attention_interval", 4)
    return tuple((layer + 1) % interval != 0 for layer in range(n_layers))


def _delta_heads(metadata: Metadata, arch: str) -> tuple[int, int, int]:
    """Return key heads, value heads and the width of a value head."""
    n_key_heads = numbers.count(metadata, f"{arch}.ssm.group_count")
    n_value_heads = numbers.count(metadata, f"{arch}.ssm.time_step_rank")
    inner = numbers.count(metadata, f"{arch}.ssm.inner_size")
    if n_value_heads % n_key_heads:
        raise ConfigError(f"{arch}.ssm.time_step_rank", n_value_heads, f"a multiple of group_count {n_key_heads}")
    if inner % n_value_heads:
        raise ConfigError(f"{arch}.ssm.inner_size", inner, f"a multiple of time_step_rank {n_value_heads}")
    return n_key_heads, n_value_heads, inner // n_value_heads


def _experts(metadata: Metadata, arch: str) -> Experts | None:
    key = f"{arch}.expert_count"
    if metadata.int(key, 0) == 0:
        return None
    n, n_used = numbers.count(metadata, key), numbers.count(metadata, f"{arch}.expert_used_count")
    if n_used > n:
        raise ConfigError(f"{arch}.expert_used_count", n_used, f"at most expert_count {n}")
    d_ff = numbers.count(metadata, f"{arch}.expert_feed_forward_length")
    return Experts(n, n_used, d_ff, numbers.count(metadata, f"{arch}.expert_shared_feed_forward_length", d_ff))


def _d_ff(metadata: Metadata, arch: str) -> int:
    key = f"{arch}.feed_forward_length"
    if key not in metadata:
        raise ConfigError(f"{arch}.expert_count", 0, "the number of experts, or a feed_forward_length")
    return numbers.count(metadata, key)
