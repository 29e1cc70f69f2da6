"""`--draft-model`: a head file beside a trunk file, or a smaller model, in every command that takes it."""

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


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A model with the tokens of `tiny`."""
    from bench.random_gguf import write_random_llama

    from outpace.gguf.types import GGMLType

    sizes = {"n_layers": 1, "d_model": 32, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "d_ff": 64}
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    return write_random_llama(path, arch="qwen3", type=GGMLType.Q8_0, vocab=700, context=512, **sizes)


@pytest.mark.parametrize("kind", ["draft", "draft-simple", "suffix+draft", "auto"])
def test_run_with_a_smaller_model(outpace, tiny, small, kind) -> None:
    plain = _json(outpace, "run", tiny, "--spec-type", "none", *REQUEST)
    for other in (small, tiny):
        found = _json(outpace, "run", tiny, "-md", other, "--spec-type", kind, *REQUEST)
        assert found["tokens"] == plain["tokens"]
        assert found["speculation"]["drafter"] == {"draft-simple": "draft", "auto": "suffix+draft"}.get(kind, kind)


def test_every_speculator_has_a_colour_of_its_own() -> None:
    from outpace.cli.paint import COLOURS

    assert {"suffix", "mtp", "draft"} <= COLOURS.keys() and len(set(COLOURS.values())) == len(COLOURS)


def test_chat_and_bench_decode_with_a_smaller_model(outpace, tiny, small, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n"))
    code, _, err = outpace("chat", tiny, "-md", small, "-n", 4, "-t", 1)
    assert code == 0 and "suffix+draft drafting" in err
    monkeypatch.setattr("outpace.cli.machine.Probe.__init__.__defaults__", (8 << 20,))
    options = ("-md", small, "-p", "abc", "-n", 8, "-r", 1, "-t", 1, "-c", 256, "--json")
    found = _json(outpace, "bench", "decode", tiny, *options)
    assert set(found["drafters"]) == {"none", "suffix+draft"} and found["identical"]


def test_inspect_tells_what_a_smaller_model_takes(outpace, tiny, small) -> None:
    alone, own = (_json(outpace, "inspect", path, "-c", 256, "--json") for path in (tiny, small))
    code, out, err = outpace("inspect", tiny, "-md", small, "-c", 256, "--json")
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    for told in ("architecture", "mtp_layers", "parameters", "types", "tokenizer", "unused", "context"):
        assert found[told] == alone[told], told
    assert found["drafter"] == "suffix+draft" and "draft model    " in out
    assert found["draft_model"]["architecture"] == "qwen3" and alone["draft_model"] is None
    assert found["draft_model"]["parameters"] == own["parameters"]
    for part in ("weights_bytes", "kv_bytes"):
        assert found["mtp"][part] == own["memory"][part]
        assert found["memory"][part] == alone["memory"][part]
    assert sum(found["mtp"].values()) == found["memory"]["mtp_bytes"] > 0
    without = _json(outpace, "inspect", tiny, "-md", small, "-c", 256, "--spec-type", "suffix", "--json")
    assert without["memory"]["mtp_bytes"] == 0


def test_a_smaller_model_with_other_tokens_is_refused(outpace, tiny, tmp_path) -> None:
    from bench.random_gguf import write_random_llama
    from tests.support.rewritten import rewritten

    from outpace.gguf.file import open_gguf
    from outpace.gguf.types import ValueType
    from outpace.gguf.writer import Typed

    with open_gguf(tiny) as file:
        tokens = list(file.metadata.strs("tokenizer.ggml.tokens"))
    other = rewritten(
        tiny, tmp_path, {"tokenizer.ggml.tokens": Typed(ValueType.STRING, [*tokens[:9], "ß", *tokens[10:]])}
    )
    few = write_random_llama(tmp_path / "few.gguf", n_layers=1, d_model=32, n_heads=1, n_kv_heads=1, d_ff=32, vocab=600)
    for command in (("run", "-p", "a"), ("chat",), ("inspect",), ("bench", "decode")):
        at = 2 if command[0] == "bench" else 1
        for path, sentence in (
            (
                other,
                f"{other}: metadata 'tokenizer.ggml.tokens': token 9 of the draft model's tokenizer is 'ß', and in",
            ),
            (few, f"{few}: metadata 'tokenizer.ggml.tokens': the draft model is for 600 tokens, and {tiny} has 700"),
        ):
            found, _, err = outpace(*command[:at], tiny, "-md", path, *command[at:])
            assert found == 3 and err.startswith(f"outpace: {sentence}"), err
    code, _, err = outpace("bench", "width", tiny, "-md", other)
    assert code == 4 and "a whole model in place of a head" in err
    code, _, err = outpace("run", tiny, "--spec-type", "draft", *REQUEST)
    assert code == 2 and "no draft model was given (--draft-model)" in err
