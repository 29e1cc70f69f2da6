"""What Qwen3-Next and Qwen3.5 share: gated-delta layers, gated attention, and a layer that predicts further tokens.

Norms of these checkpoints are kept around 0, and 1 is added here; only the norm inside a gated-delta layer is not. The
decay's rate is stored as a logarithm, and written as the rate itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from outpace.convert.architectures import dense, rope
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content
from outpace.convert.rows import Changed, Rows, Shaped
from outpace.convert.settings import Settings
from outpace.errors import ModelFileError, UnsupportedError

_INTERVAL: Final = 4  # every so many layers is one of attention, where config.json does not list them
_LINEAR, _FULL = "linear_attention", "full_attention"
_SECTIONS: Final = [11, 11, 10]  # of the rotary embedding, where config.json does not say


class Sizes(dense.Sizes):
    """The sizes of a hybrid.

    Attributes:
        k_heads: Key heads of a gated-delta layer.
        v_heads: Value heads of a gated-delta layer, a multiple of the key heads.
        k_dim: Width of its keys.
        v_dim: Width of its values.
        n_conv: Inputs that its convolution spans.
        is_recurrent: For each layer of the trunk, whether it is a gated-delta layer.
        interval: Every so many layers is one of attention.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.k_heads, self.v_heads = settings.count("linear_num_key_heads"), settings.count("linear_num_value_heads")
        self.k_dim, self.v_dim = settings.count("linear_key_head_dim"), settings.count("linear_value_head_dim")
        self.n_conv = settings.count("linear_conv_kernel_dim")
        if self.v_heads % self.k_heads:
            problem = f"{self.v_heads} value heads are no multiple of {self.k_heads} key heads"
            raise ModelFileError(settings.path, problem, "'linear_num_value_heads'")
        if self.k_dim != self.v_dim:
            raise UnsupportedError(
                "value width of gated-delta layers", str(self.v_dim), (f"{self.k_dim}, that of keys",)
            )
        if settings.flag("attention_bias", False):
            raise UnsupportedError("attention", "with biases", ("without biases",))
        self.is_recurrent = self._kinds(settings)
        at = [i + 1 for i, is_recurrent in enumerate(self.is_recurrent) if not is_recurrent]
        self.interval = at[0] if at else settings.count("full_attention_interval", _INTERVAL)

    @property
    def n_qk(self) -> int:
        """Channels of a gated-delta layer's queries, and as many of its keys."""
        return self.k_heads * self.k_dim

    @property
    def n_v(self) -> int:
        """Channels of a gated-delta layer's values."""
        return self.v_heads * self.v_dim

    def _kinds(self, settings: Settings) -> list[bool]:
        kinds = settings.texts("layer_types")
        if kinds is None:
            interval = settings.count("full_attention_interval", _INTERVAL)
            return [(i + 1) % interval != 0 for i in range(self.n_layers)]
        if len(kinds) != self.n_layers or not set(kinds) <= {_LINEAR, _FULL}:
            problem = f"expected {self.n_layers} of {_LINEAR} and {_FULL}, found {len(kinds)}: {sorted(set(kinds))}"
            raise ModelFileError(settings.path, problem, "'layer_types'")
        return [kind == _LINEAR for kind in kinds]


Recurrent = Callable[[Checkpoint, Sizes, str, str], dense.Tensors]
Mixer = Callable[[Checkpoint, Sizes, str, str], dense.Tensors]


def read(
    arch: str, checkpoint: Checkpoint, recurrent: Recurrent, mlp: Mixer, more_keys: Callable[[Settings], dict[str, Any]]
) -> Content:
    """Return a hybrid model.

    Args:
        arch: Its `general.architecture`.
        checkpoint: The folder.
        recurrent: Gives the inputs of a gated-delta layer: from `model.layers.0.linear_attn.` to `blk.0.`.
        mlp: Gives the tensors of a feed-forward network: from `model.layers.0.mlp.` to `blk.0.`.
        more_keys: Gives the keys of the feed-forward network.
    """
    settings, sizes = checkpoint.settings, Sizes(checkpoint.settings)
    n_mtp = dense.n_mtp(checkpoint)
    tensors = dense.outer(checkpoint, sizes, from_zero)
    for layer in range(sizes.n_layers):
        source, target = f"model.layers.{layer}.", f"blk.{layer}."
        tensors |= _norms(checkpoint, sizes, source, target)
        if sizes.is_recurrent[layer]:
            tensors |= recurrent(checkpoint, sizes, f"{source}linear_attn.", target)
            tensors |= _decay(checkpoint, sizes, f"{source}linear_attn.", target)
        else:
            tensors |= _attention(checkpoint, sizes, f"{source}self_attn.", target)
        tensors |= mlp(checkpoint, sizes, f"{source}mlp.", target)
    if n_mtp:
        tensors |= _mtp(checkpoint, sizes, mlp)
    n_dims = int(sizes.head_dim * rope.share(settings, 0.25))
    rope_keys, divisors = rope.keys(arch, settings, n_dims)
    keys = dense.keys(arch, settings, sizes) | more_keys(settings) | rope_keys
    keys |= _keys(arch, settings, sizes, n_mtp)
    return Content(arch, keys, divisors | tensors, sizes.n_layers, n_mtp, dense.mtp_notes(settings, n_mtp))


def from_zero(norm: Rows) -> Rows:
    """Return a norm's weights around 1."""
    return Changed(norm, lambda x: x + np.float32(1))


def _keys(arch: str, settings: Settings, sizes: Sizes, n_mtp: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{arch}.full_attention_interval": sizes.interval,
        f"{arch}.attention.recurrent_layers": [*sizes.is_recurrent, *[False] * n_mtp],
        f"{arch}.ssm.conv_kernel": sizes.n_conv,
        f"{arch}.ssm.state_size": sizes.k_dim,
        f"{arch}.ssm.group_count": sizes.k_heads,
        f"{arch}.ssm.time_step_rank": sizes.v_heads,
        f"{arch}.ssm.inner_size": sizes.n_v,
    }
    found |= dense.mtp_keys(arch, sizes, n_mtp)
    if arch != "qwen3next":
        sections = rope.parameters(settings).counts("mrope_section") or _SECTIONS
        found[f"{arch}.rope.dimension_sections"] = [*sections, 0, 0, 0, 0][:4]
    return found


def _norms(checkpoint: Checkpoint, sizes: Sizes, source: str, target: str) -> dense.Tensors:
    names = {"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"}
    return {
        f"{target}{name}.weight": from_zero(checkpoint.take(f"{source}{stored}.weight", sizes.d_model))
        for name, stored in names.items()
    }


def _attention(checkpoint: Checkpoint, sizes: Sizes, source: str, target: str) -> dense.Tensors:
    """Gated attention: each head's rows of `attn_q` are its query and then its gate, in both formats."""
    d, n_q, n_kv = sizes.d_model, sizes.n_heads * sizes.head_dim, sizes.n_kv_heads * sizes.head_dim
    take = checkpoint.take
    return {
        f"{target}attn_q.weight": take(f"{source}q_proj.weight", 2 * n_q, d),
        f"{target}attn_k.weight": take(f"{source}k_proj.weight", n_kv, d),
        f"{target}attn_v.weight": take(f"{source}v_proj.weight", n_kv, d),
        f"{target}attn_q_norm.weight": from_zero(take(f"{source}q_norm.weight", sizes.head_dim)),
        f"{target}attn_k_norm.weight": from_zero(take(f"{source}k_norm.weight", sizes.head_dim)),
        f"{target}attn_output.weight": take(f"{source}o_proj.weight", d, n_q),
    }


def _decay(checkpoint: Checkpoint, sizes: Sizes, source: str, target: str) -> dense.Tensors:
    return {f"{target}ssm_norm.weight": checkpoint.take(f"{source}norm.weight", sizes.v_dim)}


def rate(logarithm: Rows) -> Rows:
    """Return `ssm_a` from `A_log`."""
    return Changed(logarithm, lambda x: -np.exp(x))


def channels(checkpoint: Checkpoint, sizes: Sizes, source: str) -> Rows:
    """Return the convolution's weights, [channels, inputs]."""
    n = 2 * sizes.n_qk + sizes.n_v
    return Shaped(checkpoint.take(f"{source}conv1d.weight", n, 1, sizes.n_conv), (n, sizes.n_conv))


def _mtp(checkpoint: Checkpoint, sizes: Sizes, mlp: Mixer) -> dense.Tensors:
    """The layer after the trunk's: an attention layer between a projection of [embedding, hidden] and a norm."""
    target = f"blk.{sizes.n_layers}."
    found = _norms(checkpoint, sizes, "mtp.layers.0.", target)
    found |= _attention(checkpoint, sizes, "mtp.layers.0.self_attn.", target)
    found |= mlp(checkpoint, sizes, "mtp.layers.0.mlp.", target)
    return found | dense.mtp(checkpoint, sizes, target, from_zero)
