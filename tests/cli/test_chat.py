"""`outpace chat` and `outpace pull`: turns, and files."""

import io
import json
import sys

from outpace.hub import resolve


def _say(monkeypatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_turns(outpace, tiny, monkeypatch) -> None:
    _say(monkeypatch, "one", "", "two", "/exit", "three")
    code, out, err = outpace("chat", tiny, "-n", 4, "--temp", 0, "-sys", "be short")
    assert code == 0 and out
    assert err.count("tokens/s; prompt of") == 2


def test_clear_begins_anew(outpace, tiny, monkeypatch) -> None:
    _say(monkeypatch, "one", "/clear", "one")
    _, _, err = outpace("chat", tiny, "-n", 3, "--temp", 0)
    first, second = [line.split("prompt of ")[1].split(" at ")[0] for line in err.splitlines()]
    assert first == second


def test_a_turn_that_does_not_fit_is_refused(outpace, tiny, monkeypatch) -> None:
    _say(monkeypatch, "long " * 100, "one")
    code, _, err = outpace("chat", tiny, "-n", 3, "-c", 128)
    assert code == 0 and "must hold the answer too" in err and err.count("prompt of") == 1
    assert "(/clear begins anew)" in err


def test_pull(outpace) -> None:
    code, out, _ = outpace("pull", "smollm2-135m", "--json")
    path = resolve("smollm2-135m", offline=True)
    assert code == 0 and out.splitlines()[0] == str(path)
    assert json.loads(out.splitlines()[1]) == {"path": str(path), "bytes": path.stat().st_size}


def test_pull_offline(outpace, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OUTPACE_CACHE", str(tmp_path))
    code, _, err = outpace("pull", "smollm2-135m", "--offline")
    assert code == 7 and "is not in the cache" in err
