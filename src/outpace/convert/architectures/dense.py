"""What llama-like families share: sizes, keys, the tensors outside the layers, and a plain layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from outpace.convert.checkpoint import Checkpoint
from outpace.convert.rows import Rows
from outpace.convert.settings import Settings
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.heads import MOST_LAYERS

Tensors = dict[str, Rows]
_ACTIVATIONS: Final = ("silu", "swish")


class Sizes:
    """The sizes every family has, as config.json gives them.

    Attributes:
        n_layers: Layers L.
        d_model: Width D.
        n_heads: Query heads H.
        n_kv_heads: Key and value heads G.
        head_dim: Head width K.
        n_vocab: Tokens V.
    """

    def __init__(self, settings: Settings) -> None:
        activation = settings.text("hidden_act", "silu")
        if activation not in _ACTIVATIONS:
            raise UnsupportedError("the activation", activation, _ACTIVATIONS)
        self.n_layers = settings.count("num_hidden_layers", most=MOST_LAYERS)
        self.d_model = settings.count("hidden_size")
        self.n_heads = settings.count("num_attention_heads")
        self.n_kv_heads = settings.count("num_key_value_heads", self.n_heads)
        if "head_dim" not in settings and self.d_model % self.n_heads:
            problem = f"{self.n_heads} heads do not divide the width {self.d_model}, and there is no head_dim"
            raise ModelFileError(settings.path, problem)
        self.head_dim = settings.count("head_dim", self.d_model // self.n_heads)
        self.n_vocab = settings.count("vocab_size")


def keys(arch: str, settings: Settings, sizes: Sizes) -> dict[str, Any]:
    """Return the keys that every family has. Source: the GGUF specification."""
    return {
        "general.architecture": arch,
        "general.type": "model",
        f"{arch}.block_count": sizes.n_layers,
        f"{arch}.context_length": settings.count("max_position_embeddings"),
        f"{arch}.embedding_length": sizes.d_model,
        f"{arch}.attention.head_count": sizes.n_heads,
        f"{arch}.attention.head_count_kv": sizes.n_kv_heads,
        f"{arch}.attention.key_length": sizes.head_dim,
        f"{arch}.attention.value_length": sizes.head_dim,
        f"{arch}.attention.layer_norm_rms_epsilon": settings.number("rms_norm_eps"),
        f"{arch}.vocab_size": sizes.n_vocab,
    }


def outer(checkpoint: Checkpoint, sizes: Sizes, norm: Callable[[Rows], Rows] = lambda rows: rows) -> Tensors:
    """Return the embedding, the last norm, and the head where it is not the embedding.

    Args:
        checkpoint: The folder.
        sizes: Its sizes.
        norm: What a norm's weights go through.
    """
    d, v = sizes.d_model, sizes.n_vocab
    found = {
        "token_embd.weight": checkpoint.take("model.embed_tokens.weight", v, d),
        "output_norm.weight": norm(checkpoint.take("model.norm.weight", d)),
    }
    settings = checkpoint.settings
    has_head = checkpoint.has("lm_head.weight")
    if not settings.flag("tie_word_embeddings", not has_head):
        found["output.weight"] = checkpoint.take("lm_head.weight", v, d)
    elif has_head:
        checkpoint.leave("lm_head.weight")  # a copy of the embedding
    return found


def feed_forward(checkpoint: Checkpoint, source: str, target: str, d_model: int, d_ff: int) -> Tensors:
    """Return a SwiGLU network: `source` is `model.layers.0.mlp.`, `target` is `blk.0.`."""
    shapes = {"gate": (d_ff, d_model), "up": (d_ff, d_model), "down": (d_model, d_ff)}
    return {
        f"{target}ffn_{name}.weight": checkpoint.take(f"{source}{name}_proj.weight", *shape)
        for name, shape in shapes.items()
    }


def mtp(checkpoint: Checkpoint, sizes: Sizes, target: str, norm: Callable[[Rows], Rows] = lambda rows: rows) -> Tensors:
    """Return what a layer that predicts further tokens has around its block.

    Args:
        checkpoint: The folder.
        sizes: Its sizes.
        target: `blk.N.` of the layer after the trunk's.
        norm: What a norm's weights go through.
    """
    d, v, take = sizes.d_model, sizes.n_vocab, checkpoint.take
    found = {f"{target}nextn.eh_proj.weight": take("mtp.fc.weight", d, 2 * d)}
    norms = {"enorm": "pre_fc_norm_embedding", "hnorm": "pre_fc_norm_hidden", "shared_head_norm": "norm"}
    for name, stored in norms.items():
        found[f"{target}nextn.{name}.weight"] = norm(take(f"mtp.{stored}.weight", d))
    for name, stored in {"embed_tokens": "embed_tokens", "shared_head_head": "lm_head"}.items():
        if checkpoint.has(f"mtp.{stored}.weight"):
            found[f"{target}nextn.{name}.weight"] = take(f"mtp.{stored}.weight", v, d)
    return found


def mtp_keys(arch: str, sizes: Sizes, n_mtp: int) -> dict[str, Any]:
    """Return the counts of layers, of which one of them counts both kinds."""
    found = {f"{arch}.block_count": sizes.n_layers + n_mtp}
    return found | ({f"{arch}.nextn_predict_layers": n_mtp} if n_mtp else {})


def n_mtp(checkpoint: Checkpoint) -> int:
    """Return how many layers predict further tokens: those there are tensors of, whatever config.json says."""
    layers = {name.split(".")[2] for name in checkpoint.names("mtp.layers.")}
    if len(layers) > 1:
        raise UnsupportedError("a multi-token-prediction head of", f"{len(layers)} layers", ("1 layer",))
    return len(layers)


def mtp_notes(settings: Settings, n_mtp: int) -> tuple[str, ...]:
    """Return what a person should know where config.json speaks of layers that are not there."""
    said = settings.get("mtp_num_hidden_layers")
    if not n_mtp and said:
        return (f"config.json speaks of {said!r:.20} MTP layers, and the folder has no tensors of one",)
    return ()
