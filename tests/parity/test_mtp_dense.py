"""Heads of llama and qwen3 files against one written in torch from its description: logits, states, and drafts."""

from pathlib import Path

import numpy as np
import pytest
from tests.parity.test_transformers import llama3_factors
from tests.support.chain import Chain
from tests.support.tiny import arrays, metadata, shapes, write

from outpace.backends.backend import Backend, Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

torch = pytest.importorskip("torch", reason="needs torch")
pytestmark = pytest.mark.usefixtures("one_thread")

N, DEPTH = 150, 3
TOKENS = [int(token) for token in np.random.default_rng(3).integers(0, 64, N)]
STATES = np.random.default_rng(4).normal(size=(N, 32)).astype(np.float32)
STATES[0] = 0  # before the first token there is none
BIASES = {f"blk.2.{name}.bias": (n,) for name, n in {"attn_q": 64, "attn_k": 32, "attn_v": 32}.items()}
# Name -> architecture, whether the head is tied, tensors more and less.
HEADS = {
    "llama": ("llama", False, {}, ""),
    "llama tied": ("llama", True, {}, ""),
    "llama with biases": ("llama", False, BIASES | {"blk.2.attn_output.bias": (32,)}, ""),
    "llama with factors": ("llama", True, {"rope_freqs.weight": (8,)}, ""),
    "llama, its own table": ("llama", True, {"blk.2.nextn.embed_tokens.weight": (64, 32)}, ""),
    "qwen3": ("qwen3", False, {}, ""),
    "qwen3 tied": ("qwen3", True, {}, ""),
    "qwen3, its own head": ("qwen3", False, {"blk.2.nextn.shared_head_head.weight": (64, 32)}, ""),
    "qwen3, the trunk's norm": ("qwen3", True, {}, "blk.2.nextn.shared_head_norm.weight"),
}


@pytest.fixture(params=["reference", "cpu"])
def backend(request) -> tuple[Backend, str, float]:
    """A backend, its most exact KV type, and the relative error that leaves room for."""
    if request.param == "reference":
        return ReferenceBackend(), "f32", 1e-4
    cpu = pytest.importorskip("outpace.backends.cpu.backend", reason="the CPU backend is not built")
    return cpu.CpuBackend(2), "f16", 3e-3


def written(folder: Path, name: str) -> Path:
    arch, tied, more, less = HEADS[name]
    own = arrays(shapes(arch, tied, n_mtp=1) | more, seed=5)
    own.pop(less, None)
    if "rope_freqs.weight" in own:
        own["rope_freqs.weight"] = llama3_factors(8)
    return write(folder / "tiny.gguf", metadata(arch, n_mtp=1), own)


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())


@pytest.mark.parametrize("name", HEADS)
def test_logits_and_states(name: str, backend, tmp_path: Path):
    from tests.support.mtp_head import DenseHead

    implementation, kv_type, room = backend
    with open_gguf(written(tmp_path, name)) as file:
        model, n_pages = load_plan(file), -(-N // PAGE)
        draft = implementation.compile(model.plan, file, Limits(N, N, n_pages, kv_type), model.draft).draft
        segment = Segment(0, N, np.arange(n_pages, dtype=np.int32))
        found = draft.run(Step(TOKENS, [segment], range(N), range(N), STATES))
        hidden, logits = DenseHead(file)(TOKENS, torch.from_numpy(STATES).double())
    assert worst(found.logits, logits.numpy()) < room
    assert worst(found.hidden, hidden.numpy()) < room


@pytest.mark.parametrize("name", HEADS)
def test_drafts(name: str, tmp_path: Path):
    """Chains of guesses, each from the head's own state, with the keys and values of accepted rows before them."""
    from tests.support.mtp_head import DenseHead

    random = np.random.default_rng(7)
    with open_gguf(written(tmp_path, name)) as file:
        limits = Limits(N, 1, -(-(N + DEPTH) // PAGE), "f32")
        chain = Chain(ReferenceBackend().compile(load_plan(file).draft, file, limits), DEPTH)
        head = DenseHead(file)
    at = rounds = 0
    while at < N - 3:
        end = at + int(random.integers(1, 8))
        theirs = head.drafts(TOKENS[:end], torch.from_numpy(STATES[1:end]).double(), DEPTH)
        assert chain.drafts(TOKENS[at:end], STATES[at:end], at) == theirs
        at, rounds = end, rounds + 1
    assert rounds > 20
