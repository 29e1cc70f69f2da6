"""`outpace run`: prompts in, text and JSON out, endings that are clean."""

import io
import json
import re
import signal
import subprocess
import sys

import pytest
from tests.cli.conftest import start

KEYS = {"text", "tokens", "finish_reason", "timings", "speculation"}
TIMINGS = {"load_s", "prompt_n", "prompt_per_s", "predicted_n", "predicted_per_s"}
SPECULATION = {
    "drafter",
    "rounds",
    "drafted",
    "accepted",
    "tokens_per_round",
    "accepted_by_position",
    "drafted_by_position",
}


def test_json(outpace, tiny) -> None:
    code, out, err = outpace("run", tiny, "-p", "some text", "-n", 8, "--ignore-eos", "--temp", 0, "--json")
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    assert set(found) == KEYS and set(found["timings"]) == TIMINGS and set(found["speculation"]) == SPECULATION
    assert len(found["tokens"]) == found["timings"]["predicted_n"] == 8
    assert found["finish_reason"] == "length"
    assert out.startswith(found["text"])
    assert re.search(r"outpace: 8 tokens at [\d.]+ tokens/s; prompt of \d+ tokens at \d+ tokens/s; loaded in", err)


@pytest.mark.parametrize("options", [["--spec-type", "none"], ["--spec-type", "suffix", "--spec-draft-n-max", "3"]])
def test_drafting_changes_no_token(outpace, tiny, options) -> None:
    request = ("run", tiny, "--prompt-tokens", "5,6,7,8,5,6,7", "-n", 60, "--ignore-eos", "--temp", 0, "--json")
    plain = json.loads(outpace(*request)[1].splitlines()[-1])
    found = json.loads(outpace(*request, *options)[1].splitlines()[-1])
    assert found["tokens"] == plain["tokens"]
    assert found["speculation"]["drafter"] == options[1]


def test_statistics_of_plain_decoding(outpace, tiny) -> None:
    _, _, err = outpace("run", tiny, "-p", "a", "-n", 2, "--ignore-eos", "--spec-type", "none")
    assert "no drafting" in err


@pytest.mark.parametrize("raw", [b"some text", b"some text\n"])
def test_prompt_on_standard_input(outpace, tiny, monkeypatch, raw) -> None:
    options = ("--raw", "-n", 4, "--ignore-eos", "--temp", 0, "--json")
    given = outpace("run", tiny, "-p", "some text", *options)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    read = outpace("run", tiny, *options)
    assert json.loads(read[1].splitlines()[-1])["tokens"] == json.loads(given[1].splitlines()[-1])["tokens"]


def test_a_lowered_length_is_told(outpace, tiny) -> None:
    _, out, err = outpace("run", tiny, "-p", "a", "-n", 400, "-c", 64, "--ignore-eos", "--json")
    assert "outpace: max_tokens 400 lowered to" in err
    assert "lowered" in json.loads(out.splitlines()[-1])["notes"][0]


def test_shown_drafts_are_the_same_text(outpace, tiny) -> None:
    request = ("run", tiny, "--prompt-tokens", "5,6,7,8,5,6,7", "-n", 60, "--ignore-eos", "--temp", 0)
    plain, shown = outpace(*request)[1], outpace(*request, "--show-drafts")[1]
    assert re.sub(r"\x1b\[\d+m", "", shown).rstrip("\n") == _harmless(plain).rstrip("\n")


def _harmless(text: str) -> str:
    from outpace.cli.paint import harmless

    return harmless(text)


def test_sampling_options_reach_the_sampler(outpace, tiny) -> None:
    request = ("run", tiny, "--prompt-tokens", "5,6", "-n", 6, "--ignore-eos", "--json")
    forced = json.loads(outpace(*request, "-l", "42+900")[1].splitlines()[-1])
    assert forced["tokens"] == [42] * 6
    seeds = {tuple(json.loads(outpace(*request, "--seed", n)[1].splitlines()[-1])["tokens"]) for n in range(3)}
    assert len(seeds) > 1


def test_converted_types_are_told(outpace, tmp_path) -> None:
    from bench.random_gguf import write_random_llama

    from outpace.gguf.types import GGMLType

    sizes = {"n_layers": 1, "d_model": 256, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "d_ff": 256}
    path = write_random_llama(tmp_path / "a.gguf", type=GGMLType.Q2_K, vocab=700, context=128, **sizes)
    code, _, err = outpace("run", path, "-p", "a", "-n", 1)
    assert code == 0 and "tensors have a type without a kernel and are converted: Q2_K -> Q8_0" in err


def test_interrupt_ends_with_statistics(tiny) -> None:
    process = start("run", tiny, "-p", "a", "--ignore-eos", "-c", 512, "-n", 500, "--json", *_slow())
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    found = json.loads(out.splitlines()[-1])
    assert process.returncode == 130 and found["finish_reason"] == "cancelled"
    assert 0 < found["timings"]["predicted_n"] < 500
    assert b"outpace: interrupted; " in err and b"Traceback" not in err


def test_broken_pipe_is_quiet(smollm2_path) -> None:
    process = start("run", smollm2_path, "-p", "Write a long story.", "-n", 200, "--ignore-eos")
    process.stdout.read(1)
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()
    assert process.wait(timeout=60) != 0
    assert b"Traceback" not in err and b"Broken" not in err and b"Exception" not in err


def _slow() -> list[str]:
    """Options that make a tiny model slow enough to be interrupted: every token is looked at."""
    return ["--repeat-penalty", "1.1", "--repeat-last-n", "-1", "--typical", "0.9", "--top-k", "0"]


def test_a_real_model_answers(smollm2_path) -> None:
    process = start("run", smollm2_path, "-p", "hi", "--temp", "0", "-n", "20", "-c", 256)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and out.startswith(b"Hello")


def test_output_that_takes_no_unicode(tiny) -> None:
    process = start("run", tiny, "-p", "a", "-n", 20, "--ignore-eos", env={"PYTHONIOENCODING": "ascii"})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_reading_from_a_pipe(tiny) -> None:
    process = start("run", tiny, "-n", 2, stdin=subprocess.PIPE)
    process.communicate(b"some text\n", timeout=60)
    assert process.returncode == 0
