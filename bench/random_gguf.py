"""Write a model file with random weights: real shapes, real bytes, no training.

`python -m bench.random_gguf OUT --type Q4_0` streams a llama of 1.04 B parameters; tests write tiny ones. The
architectures of `bench/random_hybrid.py` are written by shape: `--arch qwen35 --shape 4b --type Q4_K_M`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import aligned
from outpace.gguf.quants import dequantize, quantize
from outpace.gguf.types import BLOCK, GGMLType, ValueType
from outpace.gguf.writer import Tensor, Typed, tensor_bytes, write_gguf

CHUNK_BYTES = 1 << 24
# Half-precision fields of a block, as byte offsets: the scale, then the offset that is taken off (or None).
SCALE_AT: dict[GGMLType, tuple[int, int | None]] = {
    GGMLType.Q4_0: (0, None),
    GGMLType.Q4_1: (0, 2),
    GGMLType.Q5_0: (0, None),
    GGMLType.Q5_1: (0, 2),
    GGMLType.Q8_0: (0, None),
    GGMLType.Q2_K: (80, 82),
    GGMLType.Q3_K: (108, None),
    GGMLType.Q4_K: (0, 2),
    GGMLType.Q5_K: (0, 2),
    GGMLType.Q6_K: (208, None),
    GGMLType.IQ4_NL: (0, None),
    GGMLType.IQ4_XS: (0, None),
    GGMLType.TQ1_0: (52, None),
    GGMLType.TQ2_0: (64, None),
}
PLAIN = {GGMLType.F32: np.dtype("<f4"), GGMLType.F16: np.dtype("<f2"), GGMLType.BF16: np.dtype("<u2")}
TYPES = (*PLAIN, *SCALE_AT)


def random_blocks(rng: np.random.Generator, kind: GGMLType, n: int, std: float) -> np.ndarray:
    """Return `n` random blocks, uint8 [n, block bytes], whose values have about this deviation and mean 0."""
    if kind in PLAIN:
        x = rng.standard_normal(n, np.float32) * np.float32(std)
        raw = (x.view(np.uint32) >> 16) if kind is GGMLType.BF16 else x
        return raw.astype(PLAIN[kind]).view(np.uint8).reshape(n, -1)
    width = BLOCK[kind].n_bytes
    blocks = np.frombuffer(rng.bytes(n * width), np.uint8).reshape(n, width).copy()
    _centre(blocks, kind)
    scale_at, offset_at = SCALE_AT[kind]
    scale, offset = _scale_and_offset(kind, std)
    # Scales differ by block within 0.75 to 1.25, as in a trained model no two are alike.
    spread = rng.random((n, 1), np.float32) * np.float32(0.5) + np.float32(0.75)
    if offset_at is None:  # a signed step has one more value below 0 than above: signs of both kinds keep the mean 0
        spread *= rng.integers(0, 2, (n, 1)).astype(np.float32) * 2 - 1
    blocks[:, scale_at : scale_at + 2] = (spread * np.float32(scale)).astype("<f2").view(np.uint8)
    if offset_at is not None:
        blocks[:, offset_at : offset_at + 2] = (spread * np.float32(offset)).astype("<f2").view(np.uint8)
    return blocks


def _centre(blocks: np.ndarray, kind: GGMLType) -> None:
    """Give each group of a block an offset in proportion to its scale, so that every group's mean is 0.

    Else groups of weights lean one way and groups of an embedding do too, and their products are many times larger.
    """
    if kind is GGMLType.Q2_K:
        low = blocks[:, :16] & 15
        blocks[:, :16] = low | low << 4
    elif kind in (GGMLType.Q4_K, GGMLType.Q5_K):
        blocks[:, 8:12] = blocks[:, 4:8]
        low = blocks[:, 12:16] & 15
        blocks[:, 12:16] = low | low << 4


def _scale_and_offset(kind: GGMLType, std: float) -> tuple[float, float]:
    """Return the scale and offset fields that give random blocks mean 0 and this deviation, found by trying."""
    rng = np.random.default_rng(0)
    blocks = np.frombuffer(rng.bytes(2048 * BLOCK[kind].n_bytes), np.uint8).reshape(2048, -1).copy()
    _centre(blocks, kind)
    scale_at, offset_at = SCALE_AT[kind]
    fields = [1.0, 0.0]

    def measure() -> np.ndarray:
        blocks[:, scale_at : scale_at + 2] = np.array([fields[0]], "<f2").view(np.uint8)
        if offset_at is not None:
            blocks[:, offset_at : offset_at + 2] = np.array([fields[1]], "<f2").view(np.uint8)
        return dequantize(blocks, kind, (2048, BLOCK[kind].size))

    if offset_at is not None:
        mean = float(measure().mean())
        fields[1] = 1.0
        fields[1] = -mean / (float(measure().mean()) - mean)
    factor = std / float(np.sqrt(np.mean(measure() ** 2)))
    return fields[0] * factor, fields[1] * factor


def tokenizer(vocab: int) -> dict[str, Any]:
    """Return the metadata of a byte-level BPE tokenizer: 3 control tokens, bytes, some merges, and filling."""
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = "etaoinshrdlu"
    merges = [f"Ġ {a}" for a in letters] + [f"{a} {b}" for a in letters for b in letters]
    merges += [f"Ġ{a} {b}" for a in letters for b in letters]
    tokens = control + _byte_letters() + [merge.replace(" ", "") for merge in merges]
    tokens = tokens[:vocab]
    known = set(tokens)
    merges = [merge for merge in merges if merge.replace(" ", "") in known]
    n_filling = vocab - len(tokens)
    kinds = [3 if token in control else 1 for token in tokens] + [1] * n_filling
    last = min(2, vocab - 1)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens + [f"<|filling_{i}|>" for i in range(n_filling)],
        "tokenizer.ggml.token_type": Typed(ValueType.INT32, kinds),
        "tokenizer.ggml.merges": Typed(ValueType.STRING, merges),
        "tokenizer.ggml.bos_token_id": min(1, vocab - 1),
        "tokenizer.ggml.eos_token_id": last,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": last,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": (
            "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        ),
    }


def _byte_letters() -> list[str]:
    """Return the letter byte-level BPE writes for each byte: itself where it prints, else one after 255."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    letters = [chr(byte if byte in shown else next(spare)) for byte in range(256)]
    order = [*range(32, 127), 10, *range(10), *range(11, 32), *range(127, 256)]  # text first, for tiny vocabularies
    return [letters[byte] for byte in order]


def write_random_llama(
    path: str | Path,
    *,
    arch: str = "llama",
    type: GGMLType = GGMLType.Q4_0,  # noqa: A002
    embed_type: GGMLType | None = None,
    n_layers: int = 16,
    d_model: int = 2048,
    n_heads: int = 32,
    n_kv_heads: int = 8,
    head_dim: int = 64,
    d_ff: int = 8192,
    vocab: int = 32000,
    context: int = 8192,
    rope_base: float = 10000.0,
    norm_eps: float = 1e-5,
    tied: bool = True,
    mtp: bool = False,
    mtp_aligned: float | None = None,
    seed: int = 0,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write a model file with random weights, the same bytes for the same arguments.

    Args:
        path: Where to.
        arch: `llama`, or `qwen3` (which also has query and key norms).
        type: Type of the matrices; rows must be whole blocks of it.
        embed_type: Type of `token_embd` (and `output`); Q6_K for Q4_K, as llama.cpp's quantiser has it, else `type`.
        n_layers: Blocks.
        d_model: Width D.
        n_heads: Query heads H.
        n_kv_heads: Key and value heads G.
        head_dim: Head width K.
        d_ff: Feed-forward width F.
        vocab: Tokens V.
        context: The context length the file states.
        rope_base: The rotary base the file states.
        norm_eps: Epsilon of the norms.
        tied: Whether the head is the embedding; else the file has its own `output.weight`.
        mtp: Whether a multi-token-prediction head follows the blocks, of one block like theirs.
        mtp_aligned: For about which share of the tokens that head says what the trunk says, 0 to 1; None for a head as
            random as the rest.
        seed: Of the random generator.
        extra: More metadata, which goes before the rest's own.

    Returns:
        The path.

    Raises:
        ValueError: An unknown architecture, rows that are not whole blocks of their type, or a share out of range.
    """
    if arch not in ("llama", "qwen3"):
        raise ValueError(f"arch is {arch!r}; llama or qwen3 expected")
    aligned.check(mtp_aligned)
    if embed_type is None:
        embed_type = GGMLType.Q6_K if type is GGMLType.Q4_K else type
    metadata = {
        "general.architecture": arch,
        "general.name": f"random {arch} {type.name}",
        "general.quantization_version": 2,
        f"{arch}.block_count": n_layers + mtp,
        f"{arch}.context_length": context,
        f"{arch}.embedding_length": d_model,
        f"{arch}.feed_forward_length": d_ff,
        f"{arch}.attention.head_count": n_heads,
        f"{arch}.attention.head_count_kv": n_kv_heads,
        f"{arch}.attention.key_length": head_dim,
        f"{arch}.attention.value_length": head_dim,
        f"{arch}.attention.layer_norm_rms_epsilon": norm_eps,
        f"{arch}.rope.dimension_count": head_dim,
        f"{arch}.rope.freq_base": rope_base,
        f"{arch}.vocab_size": vocab,
        **({f"{arch}.nextn_predict_layers": 1} if mtp else {}),
        **tokenizer(vocab),
        **(extra or {}),
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocab, d_model), "output_norm.weight": (d_model,)}
    if not tied:
        shapes["output.weight"] = (vocab, d_model)
    for layer in range(n_layers + mtp):
        block = {
            "attn_norm": (d_model,),
            "attn_q": (n_heads * head_dim, d_model),
            "attn_k": (n_kv_heads * head_dim, d_model),
            "attn_v": (n_kv_heads * head_dim, d_model),
            "attn_output": (d_model, n_heads * head_dim),
            "ffn_norm": (d_model,),
            "ffn_gate": (d_ff, d_model),
            "ffn_up": (d_ff, d_model),
            "ffn_down": (d_model, d_ff),
        }
        if arch == "qwen3":
            block |= {"attn_q_norm": (head_dim,), "attn_k_norm": (head_dim,)}
        if layer == n_layers:
            block |= {f"nextn.{name}": (d_model,) for name in ("enorm", "hnorm", "shared_head_norm")}
            block["nextn.eh_proj"] = (d_model, 2 * d_model)
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
    tensors: dict[str, Tensor] = {}
    for index, (name, shape) in enumerate(shapes.items()):
        kind = embed_type if name in ("token_embd.weight", "output.weight") else type
        kind = GGMLType.F32 if len(shape) == 1 else kind
        made = None if mtp_aligned is None else aligned.values(name, d_model, tied, mtp_aligned)
        std = shape[-1] ** -0.5
        if mtp_aligned is not None:
            std = aligned.deviation(name, shape[-1], n_layers, mtp, mtp_aligned)
        if made is not None:
            tensors[name] = (kind, shape, quantize(made, kind))
        elif len(shape) == 1:
            tensors[name] = (kind, shape, np.ones(shape, "<f4"))
        else:
            tensors[name] = (kind, shape, matrix(np.random.default_rng([seed, index]), kind, shape, std))
    write_gguf(path, metadata, tensors)
    return Path(path)


def matrix(rng: np.random.Generator, kind: GGMLType, shape: tuple[int, ...], std: float) -> Iterator[np.ndarray]:
    """Yield a matrix in pieces; values of deviation 1/sqrt(columns) let a product keep its size."""
    n_blocks = tensor_bytes(kind, shape) // BLOCK[kind].n_bytes
    step = max(1, CHUNK_BYTES // BLOCK[kind].n_bytes)
    for start in range(0, n_blocks, step):
        yield random_blocks(rng, kind, min(step, n_blocks - start), std)


# Options of `write_random_llama` on the command line, and of the other architectures those that they have too.
NUMBERS = {
    "layers": "n_layers",
    "width": "d_model",
    "heads": "n_heads",
    "kv_heads": "n_kv_heads",
    "head_dim": "head_dim",
    "ffn": "d_ff",
    "vocab": "vocab",
    "context": "context",
}


def main() -> None:
    from bench.hybrid import ARCHS, SIZES
    from bench.random_hybrid import KINDS, write_random_hybrid

    parser = argparse.ArgumentParser(description="Write a model file with random weights.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--arch", choices=("llama", "qwen3", *ARCHS), default="llama")
    parser.add_argument("--type", choices=KINDS, default="Q4_0", help="of llama and qwen3 a type, of others also a mix")
    parser.add_argument("--embed-type", choices=[kind.name for kind in TYPES], help="llama and qwen3")
    for name in NUMBERS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--untied", action="store_true", help="give the head its own matrix")
    parser.add_argument("--shape", choices=sorted({shape for _, shape in SIZES}), default="tiny", help="of the others")
    parser.add_argument("--mtp-aligned", type=float, metavar="SHARE", help="let the draft head agree: 0 to 1")
    parser.add_argument("--mtp", action="store_true", help="write a draft head: llama and qwen3")
    parser.add_argument("--no-mtp", action="store_true", help="write no draft head: the others")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    numbers = {field: getattr(options, name) for name, field in NUMBERS.items() if getattr(options, name) is not None}
    if options.untied:
        numbers["tied"] = False
    if options.arch in ARCHS:
        if options.no_mtp:
            numbers["n_mtp"] = 0
        write_random_hybrid(
            options.out,
            arch=options.arch,
            shape=options.shape,
            type=options.type,
            mtp_aligned=options.mtp_aligned,
            seed=options.seed,
            **numbers,
        )
    else:
        write_random_llama(
            options.out,
            arch=options.arch,
            type=GGMLType[options.type],
            embed_type=GGMLType[options.embed_type] if options.embed_type else None,
            mtp=options.mtp or options.mtp_aligned is not None,
            mtp_aligned=options.mtp_aligned,
            seed=options.seed,
            **numbers,
        )
    seconds, size = time.perf_counter() - began, options.out.stat().st_size
    print(f"{options.out}: {size / 1e6:.1f} MB in {seconds:.1f} s")
    print(json.dumps({"path": str(options.out), "bytes": size, "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
