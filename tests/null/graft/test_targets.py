"""What is kept of each position against a run of its text from the start: every state, and what answers are to say."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import tiny

pytest.importorskip("torch", reason="training needs torch")

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.gguf.weights import Weights
from outpace.graft import targets
from outpace.graft.blueprint import Blueprint
from outpace.graft.text import Texts, shard_path
from outpace.graph.step import PAGE, Segment, Step
from outpace.graph.trace import trace

# A prompt longer than a step, one that ends in the middle of one, texts of a few tokens; the longest comes last.
SHARDS = [[(PAGE + 6, 2 * PAGE + 9), (1, 3)], [(PAGE // 2, PAGE + 1), (5, 3 * PAGE - 1)]]


def test_states_of_all_and_likeliest_tokens_of_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST_ROWS", PAGE)
    random, compiled = np.random.default_rng(1), []
    backend = ReferenceBackend()
    monkeypatch.setattr(
        backend, "compile", lambda *given: compiled.append(given) or type(backend).compile(backend, *given)
    )
    with open_gguf(tiny.write_tiny(tmp_path / "a.gguf", tied=True)) as file:
        for i, sizes in enumerate(SHARDS):
            n_prompt, lengths = (np.array(each, np.int32) for each in zip(*sizes, strict=True))
            tokens = random.integers(0, tiny.SIZES["n_vocab"], lengths.sum()).astype(np.int32)
            np.savez(shard_path(tmp_path, i), **Texts(tokens, lengths, n_prompt)._asdict())
        done = []
        targets.compute_targets(tmp_path, 2, Blueprint(file), backend, lambda _, n, total: done.append((n, total)))
        n_all = sum(n for sizes in SHARDS for _, n in sizes)
        assert len(compiled) == 1 and done[-1] == (n_all, n_all)
        like = Blueprint(file)
        plan = trace("trunk", lambda ops: like.definition.trunk(ops, Weights(file), like.config))
        for i, sizes in enumerate(SHARDS):
            found, at = targets.open_targets(tmp_path, i), 0
            for n_prompt, n in sizes:
                rows, pages = slice(at, at + n), np.arange(-(-n // PAGE), dtype=np.int32)
                executable = type(backend)().compile(plan, file, Limits(n, n, len(pages)))
                text = found.texts.tokens[rows].tolist()
                told = executable.run(Step(text, [Segment(0, n, pages)], range(n), range(n)))
                np.testing.assert_array_equal(found.hidden[rows], told.hidden.astype(np.float16))
                best = np.argsort(-told.logits, 1, kind="stable")[:, : targets.TOP]
                shares = np.exp(told.logits.astype(np.float64))
                logprobs = np.log(np.take_along_axis(shares, best, 1) / shares.sum(1, keepdims=True))
                np.testing.assert_array_equal(found.tokens[rows][n_prompt:], best[n_prompt:])
                np.testing.assert_allclose(found.logprobs[rows][n_prompt:], logprobs[n_prompt:], atol=0.01)
                assert not found.tokens[rows][:n_prompt].any() and not found.logprobs[rows][:n_prompt].any()
                at += n
        targets.compute_targets(tmp_path, 2, Blueprint(file), backend, lambda *_: None)
        assert len(compiled) == 1, "what is there stays"
