"""Numbers of a model that more than one architecture reads from metadata, each checked; errors name the key."""

from __future__ import annotations

import math

from outpace.errors import ConfigError, ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.heads import MOST_LAYERS, tokens_key
from outpace.gguf.metadata import Metadata

# Guesses that far ahead are never right.
MOST_MEDUSA = 16


def count(metadata: Metadata, key: str, default: int | None = None, most: int = 2**31 - 1) -> int:
    """Return a count, of which there is at least one."""
    value = metadata.int(key) if default is None else metadata.int(key, default)
    if not 0 < value <= most:
        raise ConfigError(key, value, f"a number from 1 to {most}" if most < 2**31 - 1 else "a positive 31-bit number")
    return value


def positive(metadata: Metadata, key: str, default: float | None = None) -> float:
    """Return a finite number above 0."""
    value = metadata.float(key) if default is None else metadata.float(key, default)
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(key, value, "a positive number")
    return value


def layers(metadata: Metadata, arch: str) -> tuple[int, int]:
    """Return layers of the trunk and of the draft head, of which there is one at most: `block_count` counts both."""
    n_all = count(metadata, f"{arch}.block_count", most=MOST_LAYERS)
    key = f"{arch}.nextn_predict_layers"
    n_mtp = metadata.int(key, 0)
    if n_mtp > 1:
        raise UnsupportedError(
            f"{arch} with multi-token-prediction layers, of which the file has", str(n_mtp), ("0", "1")
        )
    if not 0 <= n_mtp < n_all:
        raise ConfigError(key, n_mtp, f"0 or 1, and less than block_count {n_all}, which counts it")
    return n_all - n_mtp, n_mtp


def medusa(metadata: Metadata, arch: str) -> int:
    """Return how many Medusa heads there are: 0 where the file does not say."""
    key = f"{arch}.medusa.head_count"
    n = metadata.int(key, 0)
    if not 0 <= n <= MOST_MEDUSA:
        raise ConfigError(key, n, f"a number from 0 to {MOST_MEDUSA}")
    return n


def listed(file: GGUFFile, kind: str, n_vocab: int) -> list[int] | None:
    """Return the tokens that heads of a kind learned to guess, None where the file does not tell.

    Raises:
        ModelFileError: One is there twice or is none of the vocabulary's.
    """
    key = tokens_key(file.metadata.str("general.architecture"), kind)
    if key not in file.metadata:
        return None
    tokens: list[int] = file.metadata.ints(key).tolist()
    if len(set(tokens)) < len(tokens) or not all(0 <= token < n_vocab for token in tokens):
        problem = f"is not a list of different tokens below {n_vocab}"
        raise ModelFileError(file.metadata.path_of(key), problem, f"metadata '{key}'")
    return tokens


def head_dim(metadata: Metadata, arch: str, d_model: int, n_heads: int) -> int:
    """Return the head width K, which queries, keys and values share."""
    key = f"{arch}.attention.key_length"
    if key not in metadata and d_model % n_heads:
        raise ConfigError(f"{arch}.attention.head_count", n_heads, f"a divisor of the width {d_model}, or a key_length")
    head_dim = count(metadata, key, d_model // n_heads)
    value_length = count(metadata, f"{arch}.attention.value_length", head_dim)
    if value_length != head_dim:
        raise UnsupportedError("value head width", str(value_length), (f"{head_dim}, that of the keys",))
    return head_dim


def vocabulary(metadata: Metadata, arch: str) -> int:
    """Return V: the length of the token list, or what the file says where it carries no tokenizer."""
    tokens = "tokenizer.ggml.tokens"
    n_tokens = metadata.entry(tokens).count if tokens in metadata else None
    return n_tokens or count(metadata, f"{arch}.vocab_size")


def rope_scale(metadata: Metadata, arch: str) -> float:
    """Return by how much positions are divided: 1, unless the scaling is linear."""
    key = f"{arch}.rope.scaling.type"
    kind = metadata.str(key, "none")
    if kind == "none":
        return positive(metadata, f"{arch}.rope.scale_linear", 1.0)
    if kind == "linear":
        return positive(metadata, f"{arch}.rope.scaling.factor")
    raise UnsupportedError("rope scaling", kind, ("none", "linear", "per-frequency factors in rope_freqs.weight"))


def heads(metadata: Metadata, arch: str) -> tuple[int, int]:
    """Return query heads H and key/value heads G, a divisor of H."""
    n_heads = count(metadata, f"{arch}.attention.head_count")
    n_kv_heads = count(metadata, f"{arch}.attention.head_count_kv", n_heads)
    if n_heads % n_kv_heads:
        raise ConfigError(f"{arch}.attention.head_count_kv", n_kv_heads, f"a divisor of head_count {n_heads}")
    return n_heads, n_kv_heads


def rope_dims(metadata: Metadata, arch: str, head_dim: int) -> int:
    """Return how many leading dimensions of a head are turned."""
    dims = count(metadata, f"{arch}.rope.dimension_count", head_dim)
    if dims % 2 or dims > head_dim:
        raise ConfigError(f"{arch}.rope.dimension_count", dims, f"an even number up to head width {head_dim}")
    return dims
