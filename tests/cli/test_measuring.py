"""`doctor` and `bench`: numbers in the shape that is promised."""

import json

import pytest
from bench.random_hybrid import write_random_hybrid

from outpace.cli.measure import Subject
from outpace.cli.rounds import Rounds, positions

CARD = {"cpu", "tier", "threads", "bandwidth_gbps", "commit", "file", "file_bytes", "file_sha256_1m"}


@pytest.fixture(autouse=True)
def _small_probe(monkeypatch) -> None:
    monkeypatch.setattr("outpace.cli.machine.Probe.__init__.__defaults__", (8 << 20,))
    monkeypatch.setattr("outpace.cli.machine.RATE_S", 0.001)


def _json(outpace, *arguments):
    code, out, _ = outpace(*arguments, "--json")
    assert code == 0
    return json.loads(out.splitlines()[-1]), out


def test_doctor(outpace) -> None:
    found, out = _json(outpace, "doctor", "-t", 1)
    assert found["threads"] == 1 and found["bandwidth_gbps"] > 0 and found["integer_gmacs"] > 0
    assert found["tiers"]["chosen"] == found["tiers"]["supported"][0] and found["tiers"]["forced"] is None
    assert found["memory"]["total_bytes"] >= found["memory"]["available_bytes"] > 0
    assert {"outpace", "python", "numpy"} <= set(found["versions"])
    assert "GB/s read" in out and found["cache"] in out


def test_doctor_tells_a_forced_tier(outpace, monkeypatch) -> None:
    monkeypatch.setenv("OUTPACE_TIER", "portable")
    found, out = _json(outpace, "doctor", "-t", 1)
    assert found["tiers"]["chosen"] == found["tiers"]["forced"] == "portable" and "forced by OUTPACE_TIER" in out


def test_width(outpace, tiny) -> None:
    found, out = _json(outpace, "bench", "width", tiny, "--widths", "1,4,8", "-r", 2, "--depth", 100)
    assert list(found["widths"]) == ["1", "4", "8"] and all(ms > 0 for ms in found["widths"].values())
    assert found["weights_gbps"] > 0 and found["bandwidth_gbps"] > 0 and found["depth"] == 100
    assert set(found["machine"]) == CARD
    assert found["rounds"] == {}
    assert "of width 1" in out and "GB/s measured in between" in out


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    sizes = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 700, "context": 2048, "n_layers": 4}
    return write_random_hybrid(tmp_path_factory.mktemp("measured") / "hybrid.gguf", type="Q8_0", **sizes)


def test_width_of_a_file_with_a_head_has_whole_rounds(outpace, hybrid) -> None:
    options = ("bench", "width", hybrid, "-t", 1, "-r", 5, "--depth", 100)
    found, out = _json(outpace, *options, "--widths", "1,20,4")
    assert list(found["widths"]) == ["1", "20", "4"] and list(found["rounds"]) == ["0", "3", "19"]
    for depth, each in found["rounds"].items():
        parts = sum(each[part] for part in ("verify_ms", "head_ms", "catch_up_ms", "python_ms"))
        assert each["python_ms"] > 0 and parts == pytest.approx(each["ms"], rel=0.5)
        assert (each["head_ms"] > 0) is (depth != "0")
    # With so much to show it, the head is caught up with before it guesses.
    assert found["rounds"]["19"]["catch_up_ms"] > 0 == found["rounds"]["3"]["catch_up_ms"]
    assert found["rounds"]["0"]["of_plain"] == 1.0 and "nothing kept" in out
    found, out = _json(outpace, *options, "--widths", "1,4", "--spec-type", "none")
    assert found["rounds"] == {} and "nothing kept" not in out


def test_a_round_keeps_what_it_is_told_to(hybrid) -> None:
    depths = [0, 1, 5]
    room = positions(depths, 1)
    with Subject(hybrid, positions=40 + room, max_rows=64, max_wanted=6, threads=1, max_draft=5) as subject:
        rounds = Rounds(subject, 40, room)
        sequence = rounds._sequence
        for depth in depths:
            for is_kept in (True, False):
                before = len(sequence.tokens)
                parts = rounds.time(depth, is_kept=is_kept)
                assert len(sequence.tokens) - before == 2 * (1 + depth * is_kept)
                assert parts.round_s >= parts.verify_s + parts.head_s + parts.catch_up_s and parts.verify_s > 0


def test_prefill_of_a_hybrid_goes_on_from_a_state(outpace, hybrid) -> None:
    found, _ = _json(outpace, "bench", "prefill", hybrid, "-p", 600, "-r", 2, "-t", 1, "--depth", 700)
    assert found["prompt_per_s"] > 0


def test_prefill(outpace, tiny) -> None:
    found, _ = _json(outpace, "bench", "prefill", tiny, "-p", 600, "-r", 1, "-t", 1)
    assert found["prompt_n"] == 600 and found["prompt_per_s"] > 0 and set(found["machine"]) == CARD


def test_decode(outpace, tiny) -> None:
    found, out = _json(outpace, "bench", "decode", tiny, "-p", "abcabcabc", "-n", 30, "-r", 1)
    assert set(found["drafters"]) == {"none", "suffix"} and found["identical"] is True and "identical texts" in out
    assert found["drafters"]["none"]["tokens_per_round"] == 1.0
    assert all(0 < each["python_share"] < 1 for each in found["drafters"].values())


def test_decode_of_one_drafter(outpace, tiny) -> None:
    found, _ = _json(outpace, "bench", "decode", tiny, "-p", "abc", "-n", 4, "-r", 1, "--spec-type", "none")
    assert set(found["drafters"]) == {"none"}
