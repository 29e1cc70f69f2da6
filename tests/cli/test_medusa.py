"""Files with Medusa heads on the command line: told by inspect, used by run, named in what is shown."""

import json

from tests.support import medusa
from tests.support import tiny as tiny_files

from outpace.cli.paint import COLOURS


def answer(outpace, *arguments) -> dict:
    code, out, err = outpace(*arguments, "--json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def test_inspect_tells_what_they_take(outpace, tmp_path) -> None:
    bare = tiny_files.write_tiny(tmp_path / "bare.gguf", n_vocab=40000)
    path = medusa.with_heads(bare, tmp_path / "heads.gguf", 3)
    plain, found = (answer(outpace, "inspect", each, "-c", 256) for each in (bare, path))
    assert (plain["medusa_heads"], plain["mtp"], found["medusa_heads"], found["mtp_layers"]) == (0, {}, 3, 0)
    assert found["drafter"] == "suffix+medusa" and found["mtp"]["kv_bytes"] == 0
    assert found["memory"]["mtp_bytes"] == sum(found["mtp"].values()) > 0
    assert answer(outpace, "inspect", path, "-c", 256, "--spec-type", "suffix")["memory"]["mtp_bytes"] == 0
    _, out, _ = outpace("inspect", path, "-c", 256)
    assert "Medusa heads" in out


def test_a_run_drafts_with_them_from_one_file_or_two(outpace, tmp_path) -> None:
    bare = tiny_files.write_tiny(tmp_path / "bare.gguf")
    path = medusa.with_heads(bare, tmp_path / "whole.gguf", 3)
    parts = ("-o", tmp_path / "trunk.gguf", "--head", tmp_path / "head.gguf")
    assert outpace("graft", "detach", path, *parts)[0] == 0
    ask = ("--prompt-tokens", "1,2,3", "-n", 40, "--temp", 0, "--ignore-eos", "-c", 128)
    plain = answer(outpace, "run", path, *ask, "--spec-type", "none")
    for model in ((path,), (tmp_path / "trunk.gguf", "-md", tmp_path / "head.gguf")):
        found = answer(outpace, "run", *model, *ask, "--spec-type", "medusa")
        assert found["tokens"] == plain["tokens"] and found["speculation"]["drafter"] == "medusa"
    code, _, err = outpace("run", bare, *ask, "--spec-type", "medusa")
    assert code == 2 and "the file has no Medusa heads" in err
    code, _, err = outpace("run", tmp_path / "head.gguf", *ask)
    assert code == 3 and "holds Medusa heads alone" in err


def test_what_they_drafted_has_a_colour_of_its_own() -> None:
    assert "medusa" in COLOURS and len(set(COLOURS.values())) == len(COLOURS)
