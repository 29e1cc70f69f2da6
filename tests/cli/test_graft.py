"""`outpace graft`: lines for people and machines, errors in words, and no torch where nothing is trained."""

import json
import signal
import subprocess
import sys
import time

import pytest
from tests.cli.conftest import start
from tests.support import medusa, tiny

from outpace.graft.detach import detach


def test_a_head_taken_off(outpace, tmp_path) -> None:
    whole = tiny.write_tiny(tmp_path / "whole.gguf", "qwen35")
    arguments = ("graft", "detach", whole, "-o", tmp_path / "trunk.gguf")
    code, out, err = outpace(*arguments, "--head", tmp_path / "head.gguf", "--json")
    assert (code, err) == (0, "")
    trunk, head, answer = out.splitlines()
    assert trunk.endswith(" tensors") and head.endswith(", 1 MTP layer")
    found = json.loads(answer)
    assert found["mtp_layers"] == 0 and found["head"]["mtp_layers"] == 1
    assert found["bytes"] == (tmp_path / "trunk.gguf").stat().st_size
    code, _, err = outpace(*arguments)
    assert code == 2 and "(--force replaces it)" in err
    code, out, _ = outpace(*arguments, "--force", "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["head"] is None
    code, _, err = outpace("graft", "detach", tmp_path / "trunk.gguf", "-o", tmp_path / "x.gguf")
    assert code == 2 and len(err.splitlines()) == 1
    assert "a model with MTP layers or Medusa heads; this one has none" in err


def test_no_command_starts_with_torch() -> None:
    script = "import sys; from outpace.cli.main import program; program(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_a_head_put_on(outpace, tmp_path) -> None:
    whole = tiny.write_tiny(tmp_path / "whole.gguf", "llama", n_mtp=1)
    outpace("graft", "detach", whole, "-o", tmp_path / "trunk.gguf", "--head", tmp_path / "head.gguf")
    arguments = ("graft", "attach", tmp_path / "trunk.gguf", tmp_path / "head.gguf", "-o", tmp_path / "out.gguf")
    code, out, err = outpace(*arguments, "--json")
    assert code == 0 and err.count("\n") == 1 and "only the number of tokens was compared, which is 64 in both" in err
    line, answer = out.splitlines()
    found = json.loads(answer)
    assert line.endswith(", 1 MTP layer") and found["mtp_layers"] == 1 and found["tensors"] == 34
    assert found["notes"] and set(found["types"]) == {"F32"}
    code, out, _ = outpace("inspect", tmp_path / "out.gguf", "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["mtp_layers"] == 1
    assert outpace(*arguments)[0] == 2
    code, _, err = outpace(*arguments, "--force", "-t", "0")
    assert code == 2 and "threads is 0; expected a whole number from 1" in err
    code, _, err = outpace("graft", "attach", tmp_path / "out.gguf", tmp_path / "head.gguf", "-o", tmp_path / "x.gguf")
    assert code == 2 and "`outpace graft detach` takes them off" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_on_the_way_leaves_nothing_that_looks_whole(tmp_path, how) -> None:
    sizes = {"d_model": 512, "n_vocab": 60_000, "n_mtp": 1}  # a quarter of a gigabyte
    whole = tiny.write_tiny(tmp_path / "whole.gguf", "llama", **sizes)
    head, out = tmp_path / "head.gguf", tmp_path / "out"
    detach(whole, tmp_path / "trunk.gguf", head)
    out.mkdir()
    process = start("graft", "attach", tmp_path / "trunk.gguf", head, "-o", out / "x.gguf", is_writing=True)
    began = time.monotonic()
    while not list(out.iterdir()) and time.monotonic() - began < 60:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL) and b"Traceback" not in err
    left = [path.name for path in out.iterdir()]
    assert left == [] if how is signal.SIGINT else all(name.startswith(".x.gguf.") for name in left)


def test_medusa_heads_taken_off_alone(outpace, tmp_path) -> None:
    whole = medusa.with_heads(tiny.write_tiny(tmp_path / "mtp.gguf", "qwen35"), tmp_path / "whole.gguf", 2)
    arguments = ("graft", "detach", whole, "-o", tmp_path / "trunk.gguf", "--head", tmp_path / "head.gguf")
    code, out, err = outpace(*arguments, "--kind", "medusa")
    assert (code, err) == (0, "")
    trunk, head = out.splitlines()
    assert trunk.endswith(", 1 MTP layer") and head.endswith(", 4 tensors, 2 Medusa heads")
    code, _, err = outpace(*arguments, "--kind", "medusas", "--force")
    assert code == 2 and "--kind is 'medusas'; expected one of mtp, medusa; did you mean 'medusa'?" in err
