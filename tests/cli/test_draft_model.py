"""`--draft-model`: a head file beside a trunk file, in every command that takes it."""

import io
import json
import sys
from pathlib import Path

import pytest
from bench.random_hybrid import write_random_hybrid

REQUEST = ("--prompt-tokens", "5,6,7,8,5,6,7", "-n", 60, "--ignore-eos", "--temp", 0, "-c", 256, "-t", 1, "--json")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    from outpace.convert.conversion import convert

    at = tmp_path_factory.mktemp("files")
    found = {"keep": write_random_hybrid(at / "keep.gguf", type="Q8_0", mtp_aligned=0.7, context=2048)}
    for choice in ("none", "only"):
        convert(found["keep"], at / f"{choice}.gguf", mtp=choice)
        found[choice] = at / f"{choice}.gguf"
    return found


def _json(outpace, *arguments):
    code, out, err = outpace(*arguments)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("option", ["-md", "--draft-model", "--model-draft"])
def test_run(outpace, files, option) -> None:
    plain = _json(outpace, "run", files["none"], "--spec-type", "none", *REQUEST)
    found = _json(outpace, "run", files["none"], option, files["only"], "--spec-type", "mtp", *REQUEST)
    assert found["tokens"] == plain["tokens"]
    assert found["speculation"]["drafter"] == "mtp"


def test_without_a_head_there_is_none_to_draft(outpace, files) -> None:
    code, _, err = outpace("run", files["none"], "--spec-type", "mtp", *REQUEST)
    assert code == 2 and "no multi-token-prediction layer" in err


def test_chat(outpace, files, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n"))
    code, _, err = outpace("chat", files["none"], "-md", files["only"], "--spec-type", "mtp", "-n", 4, "-t", 1)
    assert code == 0 and "mtp drafting" in err


def test_inspect_tells_of_both_files(outpace, files) -> None:
    whole, found = (
        _json(outpace, "inspect", *of, "-c", 256, "--json")
        for of in ((files["keep"],), (files["none"], "-md", files["only"]))
    )
    for told in ("architecture", "mtp_layers", "parameters", "types", "tokenizer", "unused", "context", "fits"):
        assert found[told] == whole[told], told
    assert found["mtp_layers"] == 1
    assert _json(outpace, "inspect", files["none"], "-c", 256, "--json")["mtp_layers"] == 0


def test_bench_decode(outpace, files, monkeypatch) -> None:
    monkeypatch.setattr("outpace.cli.machine.Probe.__init__.__defaults__", (8 << 20,))
    options = ("-md", files["only"], "-p", "abc", "-n", 8, "-r", 1, "-t", 1, "-c", 256, "--json")
    found = _json(outpace, "bench", "decode", files["none"], *options)
    assert set(found["drafters"]) == {"none", "suffix+mtp"} and found["identical"]


def test_a_head_is_no_model(outpace, files) -> None:
    for command in (("run", "-p", "a"), ("chat",), ("inspect",), ("bench", "width"), ("bench", "decode")):
        at = 2 if command[0] == "bench" else 1
        found, _, err = outpace(*command[:at], files["only"], *command[at:])
        said = "holds a multi-token-prediction head alone: give the model that it is for, and this file beside it with"
        assert (found, err) == (3, f"outpace: {files['only']}: {said} --draft-model (-md)\n")


@pytest.mark.parametrize("arch", ["llama", "qwen3"])
def test_a_head_that_lacks_its_tensors_is_refused_and_left_out_by_convert(outpace, tmp_path, arch) -> None:
    from tests.support.tiny import arrays, metadata, shapes, write

    keys = metadata(arch, n_layers=3) | {f"{arch}.nextn_predict_layers": 1}
    path, out = write(tmp_path / "a.gguf", keys, arrays(shapes(arch, n_layers=3))), tmp_path / "b.gguf"
    for command, *more in (("run", "-p", "a"), ("inspect",)):
        code, _, err = outpace(command, path, *more)
        assert code == 3 and err.startswith(f"outpace: {path}: tensor 'blk.2.nextn.enorm.weight'")
    assert outpace("convert", path, out, "--mtp", "none")[0] == 0
    assert _json(outpace, "inspect", out, "--json")["mtp_layers"] == 0


def test_a_head_that_does_not_fit_is_refused(outpace, files, tiny) -> None:
    for command in (("run", "-p", "a"), ("chat",), ("inspect",), ("bench", "decode")):
        at = 2 if command[0] == "bench" else 1
        found, _, err = outpace(*command[:at], tiny, "-md", files["only"], *command[at:])
        sentence = f"{files['only']}: metadata 'general.architecture': the head is for 'qwen35', and {tiny} is"
        assert found == 3 and err.startswith(f"outpace: {sentence}")
