"""The Qwen3.5 family on the CPU against transformers: prompts in any cuts, then rounds of drafts on what they left.

The judge has the same weights, dequantised to float32, and keys and values rounded to half precision as in a cache.
It does not round activations, as kernels of quantised weights do: what that costs was measured.
"""

from pathlib import Path

import numpy as np
import pytest
from bench.hybrid import Experts
from bench.random_hybrid import write_random_hybrid
from tests.support.chain import Chain
from tests.support.rounds import wrong
from tests.support.stepping import Stepper
from tests.support.tiny import write_tiny

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

oracle = pytest.importorskip("bench.oracle", reason="needs torch and transformers")
cpu = pytest.importorskip("outpace.backends.cpu.backend", reason="the CPU backend is not built")
pytestmark = pytest.mark.usefixtures("one_thread")

N, MOST = 160, 6
LIMITS = Limits(N, N, -(-N // PAGE), "f16", max_draft=MOST)
TOKENS = [int(token) for token in np.random.default_rng(3).integers(0, 64, N)]
ARCHS = ["qwen35", "qwen35moe", "qwen3next"]
# Heads as published models have them, an odd number of key heads, and two value heads to each.
WIDE = {
    "d_model": 256,
    "n_heads": 6,
    "n_kv_heads": 2,
    "head_dim": 256,
    "n_key_heads": 3,
    "n_value_heads": 6,
    "delta_dim": 128,
    "vocab": 300,
    "context": 2048,
}
TINY = {
    "qwen35": {},
    "qwen35-tied": {"tied": True},
    "qwen35-one-key-head": {"n_key_heads": 1, "n_value_heads": 3, "n_layers": 5, "interval": 4},
    "qwen35-other-kernel": {"conv_kernel": 2, "head_dim": 32, "n_kv_heads": 1},
    "qwen35moe": {},
    "qwen35moe-five-layers": {"n_layers": 5, "interval": 3},
    "qwen3next": {},
    "qwen3next-fused": {"fused_in": True, "n_key_heads": 1, "n_value_heads": 2},
}


def written(path: Path, arch: str, kind: str, n_used: int = 2) -> Path:
    """Write a file of wide heads; of its six experts a row uses so many."""
    sizes = {"d_ff": 512} if arch == "qwen35" else {"experts": Experts(6, n_used, 256, 256)}
    return write_random_hybrid(path, arch=arch, type=kind, **WIDE, **sizes)


def judged(file: GGUFFile) -> np.ndarray:
    """Return the logits of every position as transformers has them."""
    from tests.support.half_kv import NAME

    return oracle.logits(oracle.load(file, attn_implementation=NAME), TOKENS)


def walked(file: GGUFFile, seed: int) -> np.ndarray:
    """Return our logits of every position: half the text as a prompt in random cuts, the rest in rounds of drafts."""
    model, random = load_plan(file), np.random.default_rng(seed)
    stepper, found = Stepper(cpu.CpuBackend(2).compile(model.plan, file, LIMITS)), []
    while (at := stepper.at) < N // 2:
        found.append(stepper.feed(TOKENS[at : min(at + int(random.integers(1, 50)), N // 2)]))
        stepper.accept(0)
    while (at := stepper.at) < N:
        n_right, n_wrong = int(random.integers(0, 4)), int(random.integers(0, MOST - 3))
        right = TOKENS[at + 1 : at + 1 + n_right]
        rest = [wrong(token) for token in TOKENS[at + 1 + n_right : at + 1 + n_right + n_wrong]]
        found.append(stepper.feed(TOKENS[at : at + 1], [*right, *rest])[: 1 + len(right)])
        stepper.accept(len(right))
    return np.concatenate(found)


def errors(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return |ours - theirs| / |theirs| of each position."""
    assert ours.shape == theirs.shape
    return np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)


@pytest.mark.parametrize("name", TINY)
def test_float32(name: str, tmp_path: Path):
    path = write_tiny(tmp_path / "a.gguf", name.split("-")[0], **({"n_layers": 4} | TINY[name]))
    with open_gguf(path) as file:
        theirs = judged(file)
        for seed in range(2):
            assert errors(walked(file, seed), theirs).max() < 1e-4  # measured: 3.3e-5


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_floats_in_wide_heads(arch: str, kind: str, tmp_path: Path):
    with open_gguf(written(tmp_path / "a.gguf", arch, kind)) as file:
        assert errors(walked(file, 1), judged(file)).max() < 1e-4  # measured: 3.4e-5


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K_M", "Q6_K"])
def test_quantised(arch: str, kind: str, tmp_path: Path):
    """Where a row uses every expert, so that rounding cannot choose another."""
    with open_gguf(written(tmp_path / "a.gguf", arch, kind, n_used=6)) as file:
        found = errors(walked(file, 2), judged(file))
    assert found.max() < 0.11  # measured: 0.076
    assert np.median(found) < 0.045  # measured: 0.033


@pytest.mark.parametrize(("arch", "kind"), [("qwen35moe", "Q8_0"), ("qwen3next", "Q4_K_M")])
def test_of_quantised_experts_most_rows_choose_the_same(arch: str, kind: str, tmp_path: Path):
    with open_gguf(written(tmp_path / "a.gguf", arch, kind)) as file:
        found = errors(walked(file, 2), judged(file))
    assert np.median(found) < 0.07  # measured: 0.047


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("kind", "most"), [("F16", 1e-4), ("Q4_K_M", 0.02)])
def test_the_draft_layer(arch: str, kind: str, most: float, tmp_path: Path):
    """Against a head in torch, written from its description: given states, what it says where it goes on from a prompt.

    Measured: 4.6e-5 of floats, 0.0120 of quantised weights.
    """
    import torch
    from tests.support.mtp_head import Head

    with open_gguf(written(tmp_path / "a.gguf", arch, kind, n_used=6)) as file:
        states = np.random.default_rng(4).normal(size=(N, WIDE["d_model"])).astype(np.float32)
        model = load_plan(file)
        draft = cpu.CpuBackend(2).compile(model.plan, file, LIMITS, model.draft).draft
        pages, every = np.arange(LIMITS.n_pages, dtype=np.int32), range(N // 2)
        draft.catch_up(Step(TOKENS[: N // 2], [Segment(0, N // 2, pages)], [], [], states[: N // 2]))
        rest = Step(TOKENS[N // 2 :], [Segment(N // 2, N // 2, pages)], every, every, states[N // 2 :])
        result = draft.run(rest)
        hidden, logits = Head(file)(TOKENS, torch.from_numpy(states).double())
    found = errors(result.logits, logits[N // 2 :].numpy())
    assert found.max() < most
    assert errors(result.hidden, hidden[N // 2 :].numpy()).max() < most


@pytest.mark.parametrize(
    ("arch", "kind", "aligned"), [("qwen35", "F16", 0.3), ("qwen35moe", "F32", 0.7), ("qwen3next", "F16", 0.7)]
)
def test_drafts_are_those_of_the_reference(arch: str, kind: str, aligned: float, tmp_path: Path):
    sizes = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 300, "context": 512}
    path = write_random_hybrid(tmp_path / "a.gguf", arch=arch, type=kind, mtp_aligned=aligned, **sizes)
    random = np.random.default_rng(7)
    tokens = random.integers(0, 300, N).tolist()
    with open_gguf(path) as file:
        model = load_plan(file)
        states = oracle.hidden(oracle.load(file), tokens)
        before = np.concatenate([np.zeros_like(states[:1]), states])
        ours = Chain(cpu.CpuBackend(2).compile(model.plan, file, LIMITS, model.draft).draft, MOST)
        theirs = Chain(ReferenceBackend().compile(model.draft, file, LIMITS), MOST)
    same, at = [], 0
    while at < N // 2:
        end = at + int(random.integers(1, 4))  # as many rows as a round may accept
        drafts = (each.drafts(tokens[at:end], before[at:end], at) for each in (ours, theirs))
        same.append([one == other for one, other in zip(*drafts, strict=True)])
        at = end
    assert len(same) > 30 and (np.mean(same, axis=0) >= 0.99).all(), f"by depth: {np.mean(same, axis=0)}"
