"""What is typed wrong or cannot be done ends in one sentence and the exit code of its kind."""

import io
import sys

import pytest

from outpace.cli.main import call
from outpace.gguf.writer import write_gguf

TYPED = [
    (["run", "x", "--tmp", "1"], 2, "no such option --tmp; did you mean '--temp'? (outpace run --help lists all)"),
    (["bench", "width", "x", "--dept", "1"], 2, "did you mean '--depth'?"),
    (["rnu"], 2, "no such command 'rnu'. Did you mean 'run'?"),
    (["run"], 2, "missing argument 'MODEL'"),
    (["run", "x", "-n", "many"], 2, "invalid value for '-n'"),
    (["run", "x", "-n"], 2, "requires an argument"),
    (["run", "x", "-p", "a", "--prompt-tokens", "1"], 2, "give one of -p and --prompt-tokens, not both"),
    (["run", "x", "--prompt-tokens", "1,b"], 2, "--prompt-tokens is '1,b'; expected whole numbers with commas"),
    (["run", "x", "-p", "a", "--raw", "-sys", "b"], 2, "--system-prompt goes through the chat template"),
    (["run", "x", "-p", "a", "-l", "15043"], 2, "--logit-bias is '15043'; expected a token id and a signed number"),
    (["run", "x", "-p", "a", "--temp", "-1"], 2, "temperature is -1.0; expected 0 (greedy)"),
    (["run", "x.gguf", "-p", "a"], 3, "x.gguf: no such file"),
    (["run", "smollm2-153m", "-p", "a"], 7, "no model is called 'smollm2-153m'; did you mean 'smollm2-135m'?"),
    (["bench", "width", "x", "--widths", "1,0"], 2, "--widths is '1,0'; expected numbers from 1 to 512, each once"),
    (["bench", "width", "x", "--widths", "1,1"], 2, "expected numbers from 1 to 512, each once"),
    (["bench", "width", "x", "--widths", "1;4"], 2, "expected whole numbers with commas between them, as in 1,4,8"),
    (["pull", "hf://a/b"], 7, "expected hf://owner/repo/file.gguf"),
]

# With a model file that is there.
ASKED = [
    (["-p", "a", "--spec-type", "sufix"], 2, "spec_type is 'sufix'; expected one of auto, none, suffix, mtp"),
    (["-p", "a", "--kv-type", "f8"], 2, "kv_type is 'f8'; expected one of f16, q8_0"),
    (["-p", "a", "-c", "4096"], 2, "context is 4096; expected at most 512"),
    (["-p", "a", "-t", "0"], 2, "threads is 0; expected a whole number from 1"),
    (["-p", "a", "-n", "0"], 2, "max_tokens is 0; expected 1 or more"),
    (["--prompt-tokens", "9999"], 2, "token 9999 is outside the vocabulary (0 to 699)"),
    (["--prompt-tokens", "1", "-c", "1"], 2, "the prompt has 1 tokens, and the context of 1 must hold the answer too"),
    (["-p", "a", "-l", "900+1"], 2, "900"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), TYPED, ids=[" ".join(each[0]) for each in TYPED])
def test_a_sentence_and_a_code(outpace, arguments, code, sentence) -> None:
    found, out, err = outpace(*arguments)
    assert (found, out) == (code, "")
    assert err.startswith("outpace: ") and sentence in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize(("arguments", "code", "sentence"), ASKED, ids=[" ".join(each[0]) for each in ASKED])
def test_what_a_model_cannot_do(outpace, tiny, arguments, code, sentence) -> None:
    found, out, err = outpace("run", tiny, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("outpace: ") and sentence in err and len(err.splitlines()) == 1, err


def test_what_a_file_is_quoted_with_stays_in_the_sentence(outpace, tmp_path) -> None:
    path = write_gguf(tmp_path / "x.gguf", {"general.architecture": "a\x1b[31m\noutpace: all is well\a"}, {})
    assert path is None
    code, _, err = outpace("inspect", tmp_path / "x.gguf")
    assert code == 4 and len(err.splitlines()) == 1
    assert "outpace: all is well" in err and not {"\x1b", "\a"} & set(err)


def test_what_the_system_refuses_is_a_sentence_too(outpace, tiny, tmp_path) -> None:
    code, out, err = outpace("graft", "detach", tiny, "-o", tmp_path / ("x" * 300))
    assert (code, out) == (5, "")
    assert err.startswith("outpace: ") and "name too long" in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("group", ["outpace", "outpace bench"])
def test_a_command_is_needed(outpace, group) -> None:
    code, out, err = outpace(*group.split()[1:])
    assert code == 2 and f"Usage: {group}" in out
    assert err == f"outpace: a command is needed ({group} --help lists all)\n"


def test_no_prompt_at_a_terminal(outpace, tiny, monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    code, _, err = outpace("run", tiny)
    assert code == 2 and "no prompt: give -p TEXT or --prompt-tokens IDS" in err


def test_standard_input_must_be_text(outpace, tiny, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    code, _, err = outpace("run", tiny)
    assert code == 2 and err == "outpace: the prompt on standard input is not UTF-8 (byte 2)\n"


def test_damaged_file(outpace, tmp_path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(3))
    for command in (("run", path, "-p", "a"), ("inspect", path), ("bench", "width", path)):
        code, out, err = outpace(*command)
        assert (code, out) == (3, "") and str(path) in err


def test_tier_that_is_not_there(outpace, tiny, monkeypatch) -> None:
    monkeypatch.setenv("OUTPACE_TIER", "avx513")
    for command in (("run", tiny, "-p", "a"), ("doctor",), ("inspect", tiny)):
        code, _, err = outpace(*command)
        assert code == 2 and "did you mean 'avx512'?" in err


def test_interrupted_while_loading(monkeypatch, tiny) -> None:
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("outpace.cli.loading.load", interrupt)
    assert call(["run", str(tiny), "-p", "a"]) == 130
