"""`bench/heads.py`: goes on where it was stopped, and judges whole rounds only."""

import json
import sys

import pytest
from bench import harness, heads
from bench.heads import PEER, Timed
from bench.random_hybrid import write_random_hybrid

SMALL = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 700, "context": 2048, "rope_base": 1e4, "n_layers": 4}


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    path = write_random_hybrid(tmp_path / "a.gguf", type="Q8_0", mtp_aligned=0.6, **SMALL)

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["heads", str(path), "-n", "12", "--threads", "1", *options])
        capsys.readouterr()
        heads.main()
        return capsys.readouterr().out

    return run


def test_pieces_make_a_whole(bench, tmp_path):
    some = ("--prompts", "1", "--rounds", "2")
    with pytest.raises(SystemExit, match="no round is whole yet"):
        bench(*some, "--minutes", "1e-6")
    out = bench(*some, "--kind", "code")
    found = json.loads(out.splitlines()[-1])
    assert found["rounds"] == 2 and found["different_texts"] == 0 and found["prompts"] == {"code": 1}
    asked = [line[0] for line in found["lines"]]
    assert asked == ["auto / plain, code", "auto / plain, code, not slower"]
    with pytest.raises(SystemExit, match="no round is whole yet"):
        bench(*some, "--minutes", "1e-6")  # the code of two rounds, and nothing else of them
    (kept,) = (tmp_path / "results").glob("*.jsonl")
    assert len(kept.read_text().splitlines()) == 2
    with kept.open("a") as file:
        file.write('{"round": 0, "ki')  # stopped in the middle of a line
    found = json.loads(bench(*some).splitlines()[-1])
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(each["round"], each["kind"]) for each in lines] == [
        *((0, "code"), (1, "code"), (0, "factual"), (0, "prose"), (1, "factual"), (1, "prose"))
    ]
    assert found["rounds"] == 2 and len(found["lines"]) == 6 and "all" in found["acceptance"]
    before = kept.stat().st_mtime_ns
    assert json.loads(bench(*some).splitlines()[-1])["lines"] == found["lines"]
    assert kept.stat().st_mtime_ns == before


def test_what_is_asked_is_judged_on_all_tokens_of_a_round():
    speeds = {"plain": 10, "suffix": 16, "auto": 20, "mtp": 15, PEER + "none": 7, PEER + "ngram-mod": 8}
    rounds = []
    for _ in range(5):
        each = []
        for kind, share in (("code", 1.0), ("factual", 0.9), ("prose", 0.5)):
            for n in (10, 30):
                taken = {way: Timed(n, n / (speed * (share if way == "auto" else 1))) for way, speed in speeds.items()}
                each.append((kind, taken))
        rounds.append(each)
    lines = {line[0]: line for line in heads.judge(rounds, list(speeds), ["code", "factual", "prose"])}
    # Over all, three equal amounts of text: as long as 1 + 1/0.9 + 1/0.5 thirds at full speed.
    over_all = 3 / (1 + 1 / 0.9 + 1 / 0.5) * 2
    assert float(lines["auto / plain, all"][1]) == pytest.approx(over_all, abs=1e-3)
    assert lines["auto / plain, all"][-1] == "not met" and lines["auto / plain, code"][-1] == "met"
    assert lines["auto / plain, prose, not slower"][1] == "1.000"
    assert lines["auto / suffix, all"][-1] == "not met"
    assert lines["auto / the peer's best, code (ngram-mod)"][1:] == ["2.500", "2.500 - 2.500", "at least 2.5", "met"]
    assert len(lines) == 7
