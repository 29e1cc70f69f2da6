"""`outpace graft`: lines for people and machines, errors in words, and no torch where nothing is trained."""

import json
import subprocess
import sys

from tests.support import tiny


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
    assert code == 2 and "a model with MTP layers; this one has none" in err and len(err.splitlines()) == 1


def test_no_command_starts_with_torch() -> None:
    script = "import sys; from outpace.cli.main import program; program(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
