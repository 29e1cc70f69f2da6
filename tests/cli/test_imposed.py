"""Acceptance imposed by the bench: as often as asked for, at every depth, and out of reach of everything else."""

import inspect
import json
from itertools import pairwise
from pathlib import Path

import pytest
from bench.random_hybrid import write_random_hybrid

from outpace.backends.cpu import CpuBackend
from outpace.cli.imposed import Coins, ImposedLLM
from outpace.errors import ConfigError
from outpace.llm import LLM
from outpace.speculate.policy import FixedDepth

SMALL = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 700, "context": 2048, "rope_base": 1e4, "n_layers": 4}
PROMPT = [7, 8, 9, 10, 44, 5] * 4


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory) -> Path:
    return write_random_hybrid(tmp_path_factory.mktemp("imposed") / "a.gguf", type="Q8_0", mtp_aligned=0.5, **SMALL)


@pytest.fixture(autouse=True)
def _small_probe(monkeypatch) -> None:
    monkeypatch.setattr("outpace.cli.machine.Probe.__init__.__defaults__", (8 << 20,))


def rounds(coins: Coins, n: int, depth: int) -> list[int]:
    """Return how many tokens each of the rounds keeps that write n tokens."""
    kept, position = [], 10
    while position < n:
        kept.append(coins.kept(position, depth))
        position += kept[-1] + 1
    return kept


def test_coins_keep_as_much_as_was_asked_for():
    n = 200_000
    for chance in (0.0, 0.1, 0.72, 1.0):
        kept = rounds(Coins.of(chance, None, None, 3, seed=1), n, 3)
        expected = 1 + chance + chance**2 + chance**3
        assert sum(kept) / len(kept) + 1 == pytest.approx(expected, abs=0.02)
    kept = rounds(Coins.of(None, "0.9,0.6,0.6,0", None, 5, seed=1), n, 5)
    shares = [sum(k > depth for k in kept) / len(kept) for depth in range(5)]
    assert shares == pytest.approx([0.9, 0.6, 0.6, 0, 0], abs=0.01)
    kept = rounds(Coins.of(None, None, 2.5, 4, seed=1), n, 4)
    assert sum(kept) / len(kept) + 1 == pytest.approx(2.5, abs=0.02)


def test_coins_are_a_function_of_seed_and_position():
    one, other, third = (Coins.of(0.5, None, None, 8, seed) for seed in (3, 3, 4))
    backwards = [one.kept(position, 8) for position in range(9000, 0, -1)][::-1]
    assert backwards == [other.kept(position, 8) for position in range(1, 9001)]
    assert backwards != [third.kept(position, 8) for position in range(1, 9001)]
    # A shallower draft is kept as far as it goes; after a kept token the next one's own coin falls.
    assert all(other.kept(p, 3) == min(n, 3) for p, n in enumerate(backwards, 1))
    assert all(b >= a - 1 for a, b in pairwise(backwards) if a)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((1.5, None, None), "--spec-synth-accept is 1.5"),
        ((float("nan"), None, None), "--spec-synth-accept is nan"),
        ((None, "0.5,0.6", None), "none above the one before it"),
        ((None, "0.5,x", None), "shares from 0 to 1"),
        ((None, None, 5.5), "a number from 1 to 5"),
        ((0.5, "0.5", None), "one of --spec-synth-accept"),
    ],
)
def test_what_cannot_be_imposed_is_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        Coins.of(*given, 4, seed=0)
    assert Coins.of(None, None, None, 4, seed=0) is None


def test_the_real_head_drafts_and_the_coins_judge(hybrid):
    with ImposedLLM(hybrid, backend=lambda _: CpuBackend(1), policy=FixedDepth(3), context=640) as llm:
        ask = {"prompt_tokens": PROMPT, "max_tokens": 400, "ignore_eos": True, "temperature": 0.0, "drafter": "mtp"}
        true = llm.generate(**ask)
        for chance, per_round in ((1.0, 4.0), (0.0, 1.0), (0.72, 1 + 0.72 + 0.72**2 + 0.72**3)):
            llm.coins = Coins.of(chance, None, None, 3, seed=2)
            found = llm.generate(**ask)
            assert len(found.tokens) == 400 and found.speculation.drafted > 3 * (found.speculation.rounds - 3)
            assert found.speculation.tokens_per_round == pytest.approx(per_round, rel=0.15)
        llm.coins = None
        assert llm.generate(**ask).tokens == true.tokens


def test_nothing_kept_is_the_text_of_plain_decoding(hybrid):
    with ImposedLLM(hybrid, backend=lambda _: CpuBackend(1), policy=FixedDepth(3), context=640) as llm:
        ask = {"prompt_tokens": PROMPT, "max_tokens": 60, "ignore_eos": True, "temperature": 0.0}
        plain = llm.generate(drafter="none", **ask)
        llm.coins = Coins.of(0.0, None, None, 3, seed=0)
        assert llm.generate(drafter="mtp", **ask).tokens == plain.tokens


def test_only_the_bench_can_impose(outpace):
    folder = Path(inspect.getfile(LLM)).parent
    using = {path.stem for path in folder.rglob("*.py") if "imposed" in path.read_text()}
    assert using == {"imposed", "bench", "decoding", "rounds"}
    assert not any("synth" in name or "coins" in name for name in inspect.signature(LLM.__init__).parameters)
    for command in ("run", "chat"):
        assert "synth" not in outpace(command, "--help")[1]


def test_bench_decode(outpace, hybrid):
    options = ("-p", "abc", "-n", 60, "-r", 3, "--spec-draft-n-max", 4, "--fixed", "1,4", "--spec-synth-accept", 0.72)
    code, out, _ = outpace("bench", "decode", hybrid, *options, "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0 and "the texts are not the model's" in out
    assert list(found["drafters"]) == ["none", "mtp", "mtp 1", "mtp 4"]
    assert found["identical"] is None and found["imposed"] == {"chances": [], "rest": 0.72}
    assert found["drafters"]["none"]["of_plain"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    deep = found["drafters"]["mtp 4"]
    assert deep["tokens_per_round"] > 1.5 and len(deep["accepted_by_position"]) == 4
    assert deep["of_plain"]["low"] <= deep["of_plain"]["median"] <= deep["of_plain"]["high"]
    assert 0 < deep["python_share"] < 1


def test_true_texts_are_compared_at_fixed_depths_too(outpace, hybrid):
    code, out, _ = outpace("bench", "decode", hybrid, "-p", "abc", "-n", 40, "-r", 1, "--fixed", "2", "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0 and found["identical"] is True and found["imposed"] is None
    code, _, err = outpace("bench", "decode", hybrid, "-p", "abc", "-n", 40, "--fixed", "17")
    assert code == 2 and "--fixed is 17; expected depths from 1 to 16" in err
