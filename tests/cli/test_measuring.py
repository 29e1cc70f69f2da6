"""`doctor` and `bench`: numbers in the shape that is promised."""

import json

import pytest

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
    assert "of width 1" in out and "GB/s measured in between" in out


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
