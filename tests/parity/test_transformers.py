"""Architectures against transformers: small random weights, float32, logits of every position."""

import math
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import arrays, metadata, shapes, write

from outpace.backends.backend import Backend, Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

oracle = pytest.importorskip("bench.oracle", reason="needs torch and transformers")

N = 150
TOKENS = [int(token) for token in np.random.default_rng(3).integers(0, 64, N)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(params=["reference", "cpu"])
def backend(request) -> tuple[Backend, str, float]:
    """A backend, its most exact KV type, and the relative error that leaves room for."""
    if request.param == "reference":
        return ReferenceBackend(), "f32", 1e-4
    cpu = pytest.importorskip("outpace.backends.cpu.backend", reason="the CPU backend is not built")
    return cpu.CpuBackend(), "f16", 3e-3


def error_of(path: Path, backend: tuple[Backend, str, float], **overrides) -> float:
    """Return |ours - theirs| / |theirs|, the worst over positions."""
    implementation, kv_type, _ = backend
    with open_gguf(path) as file:
        n_pages = -(-N // PAGE)
        executable = implementation.compile(load_plan(file).plan, file, Limits(N, N, n_pages, kv_type))
        segment = Segment(0, N, np.arange(n_pages, dtype=np.int32))
        ours = executable.run(Step(TOKENS, [segment], range(N))).logits.copy()
        theirs = oracle.logits(oracle.load(file, **overrides), TOKENS)
    assert ours.shape == theirs.shape == (N, 64)
    return float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())


def llama3_factors(n_pairs: int) -> np.ndarray:
    """Divisors of the frequencies: long waves by `factor`, short ones by 1, between them by a mean of both."""
    factors = []
    for i in range(n_pairs):
        wave = 2 * math.pi * LLAMA3["rope_theta"] ** (i / n_pairs)
        turns = LLAMA3["original_max_position_embeddings"] / wave
        share = (turns - LLAMA3["low_freq_factor"]) / (LLAMA3["high_freq_factor"] - LLAMA3["low_freq_factor"])
        share = min(max(share, 0.0), 1.0)
        factors.append(1 / ((1 - share) / LLAMA3["factor"] + share))
    return np.array(factors, np.float32)


@pytest.mark.parametrize("arch", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_logits(arch: str, tied: bool, n_kv_heads: int, backend, tmp_path: Path):
    tensors = arrays(shapes(arch, tied, n_kv_heads=n_kv_heads))
    path = write(tmp_path / "tiny.gguf", metadata(arch, n_kv_heads=n_kv_heads), tensors)
    assert error_of(path, backend) < backend[2]


def test_llama3_frequency_factors(backend, tmp_path: Path):
    tensors = arrays(shapes()) | {"rope_freqs.weight": llama3_factors(8)}
    path = write(tmp_path / "tiny.gguf", metadata(), tensors)
    assert error_of(path, backend, rope_parameters=LLAMA3) < backend[2]
    assert error_of(path, backend) > 10 * backend[2]  # the factors matter


def test_linear_rope_scaling(backend, tmp_path: Path):
    keys = metadata() | {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    path = write(tmp_path / "tiny.gguf", keys, arrays(shapes()))
    assert error_of(path, backend) < backend[2]


def test_attention_biases(backend, tmp_path: Path):
    tensors = arrays(shapes())
    random = np.random.default_rng(5)
    for layer in range(2):
        for name, n_rows in {"attn_q": 64, "attn_k": 32, "attn_v": 32, "attn_output": 32}.items():
            tensors[f"blk.{layer}.{name}.bias"] = random.normal(0, 0.5, n_rows).astype(np.float32)
    path = write(tmp_path / "tiny.gguf", metadata(), tensors)
    assert error_of(path, backend, attention_bias=True) < backend[2]
