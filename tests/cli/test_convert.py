"""`outpace convert`: a line for people, a line for machines, errors in words, nothing left behind."""

import json
import signal
import time

import gguf
import numpy as np
import pytest
from tests.cli.conftest import start
from tests.support.checkpoints import write_hybrid

from outpace.gguf.types import GGMLType
from outpace.gguf.writer import write_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_hybrid(tmp_path_factory.mktemp("model") / "tiny", hidden_size=256, intermediate_size=512)


def test_a_folder(outpace, folder, tmp_path) -> None:
    path = tmp_path / "out.gguf"
    code, out, err = outpace("convert", folder, path, "--type", "Q4_K_M", "--json")
    assert code == 0 and err == "outpace: the folder has no tokenizer: the file takes token ids only\n"
    line, answer = out.splitlines()
    found = json.loads(answer)
    assert line.startswith(f"{path}: ") and ", 1 MTP layer (" in line
    assert found["path"] == str(path) and found["bytes"] == path.stat().st_size and found["mtp_layers"] == 1
    tensors = gguf.GGUFReader(path).tensors
    assert found["tensors"] == len(tensors)
    assert sum(found["types"].values()) == sum(int(tensor.n_bytes) for tensor in tensors)


def test_a_file_and_its_head(outpace, folder, tmp_path) -> None:
    assert outpace("convert", folder, tmp_path / "all.gguf", "--type", "BF16")[0] == 0
    arguments = ("--type", "Q8_0", "--mtp", "only", "-t", "2")
    code, out, err = outpace("convert", tmp_path / "all.gguf", tmp_path / "head.gguf", *arguments)
    assert code == 0 and "1 MTP layer" in out and err == ""
    names = [tensor.name for tensor in gguf.GGUFReader(tmp_path / "head.gguf").tensors]
    assert names and all(name.startswith("blk.4.") for name in names)


WRONG = [
    (["--type", "Q4"], 2, "--type is 'Q4'; expected one of F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0"),
    (["--mtp", "all"], 2, "--mtp is 'all'; expected one of keep, only, none"),
    (["-t", "0"], 2, "threads is 0; expected a whole number from 1"),
    (["--typ", "Q8_0"], 2, "no such option --typ; did you mean '--type'?"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), WRONG)
def test_what_is_typed_wrong(outpace, folder, tmp_path, arguments, code, sentence) -> None:
    found, out, err = outpace("convert", folder, tmp_path / "out.gguf", *arguments)
    assert (found, out) == (code, "") and sentence in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_sources_and_targets_that_are_none(outpace, folder, tmp_path) -> None:
    taken = tmp_path / "out.gguf"
    taken.write_bytes(b"mine")
    code, _, err = outpace("convert", folder, taken)
    assert code == 2 and "expected a name that is not taken (--force replaces it)" in err
    assert taken.read_bytes() == b"mine"
    assert outpace("convert", folder, taken, "--force")[0] == 0
    (tmp_path / "empty").mkdir()
    code, _, err = outpace("convert", tmp_path / "empty", tmp_path / "x.gguf")
    assert code == 3 and "there is no config.json" in err
    code, _, err = outpace("convert", tmp_path / "no.gguf", tmp_path / "x.gguf")
    assert code == 3 and "no such file" in err


def test_an_interrupt_leaves_nothing(tmp_path) -> None:
    x = np.random.default_rng(0).standard_normal((2048, 8192), "<f4")  # several seconds of work
    keys = {"general.architecture": "x", "x.block_count": 1}
    names = [f"blk.0.{i}.weight" for i in range(3)]
    write_gguf(tmp_path / "big.gguf", keys, dict.fromkeys(names, (GGMLType.F32, x.shape, x)))
    out = tmp_path / "out"
    out.mkdir()
    process = start("convert", tmp_path / "big.gguf", out / "x.gguf", "--type", "Q5_K_M", "-t", "1", is_writing=True)
    began = time.monotonic()
    while not list(out.iterdir()) and time.monotonic() - began < 60:
        assert process.poll() is None
        time.sleep(0.01)
    assert [path.name for path in out.iterdir()] != ["x.gguf"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err
    assert list(out.iterdir()) == []
