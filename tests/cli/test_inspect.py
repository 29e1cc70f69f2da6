"""`outpace inspect`: facts and memory from the header, and memory that a run keeps to."""

import json
import subprocess
import sys

import pytest

from outpace.gguf.file import GGUFFile

PARTS = {"weights_bytes", "kv_bytes", "state_bytes", "mtp_bytes", "workspace_bytes", "runtime_bytes"}

# Runs as the program does, then says the most memory it held.
RUN = """
import sys
from outpace.cli.main import call
assert call(["run", *sys.argv[1:]]) == 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def _json(outpace, *arguments):
    code, out, _ = outpace("inspect", *arguments, "--json")
    assert code == 0
    return json.loads(out.splitlines()[-1]), out


def test_facts(outpace, tiny) -> None:
    found, out = _json(outpace, tiny, "-c", 256)
    assert (found["architecture"], found["mtp_layers"], found["context"]) == ("llama", 0, 256)
    assert found["tokenizer"] == {"model": "gpt2", "pre": "smollm", "vocab_size": 700}
    assert found["has_template"] and found["fits"] and found["unused"] == [] and found["converted"] == {}
    assert set(found["memory"]) == PARTS | {"total_bytes"}
    assert found["memory"]["total_bytes"] == sum(found["memory"][part] for part in PARTS)
    for said in ("llama", "Q8_0", "gpt2, smollm, 700 tokens", "chat template  yes", "KV cache", "total"):
        assert said in out


def test_reads_no_tensor(outpace, tiny, monkeypatch) -> None:
    def refuse(self, name):
        raise AssertionError(f"read {name}")

    monkeypatch.setattr(GGUFFile, "data", refuse)
    _json(outpace, tiny)


def test_memory_follows_context_and_sequences(outpace, tiny) -> None:
    one, _ = _json(outpace, tiny, "-c", 128)
    twice, _ = _json(outpace, tiny, "-c", 256)
    four, _ = _json(outpace, tiny, "-c", 128, "--parallel", 4)
    assert twice["memory"]["kv_bytes"] == 2 * one["memory"]["kv_bytes"]
    assert four["memory"]["kv_bytes"] == 4 * one["memory"]["kv_bytes"]
    assert _json(outpace, tiny, "-c", 128, "--kv-type", "q8_0")[0]["memory"]["kv_bytes"] < one["memory"]["kv_bytes"]


def test_what_does_not_fit_is_told_all_the_same(outpace, tiny, monkeypatch) -> None:
    monkeypatch.setattr("outpace.engine.resolve.available_memory", lambda: 1 << 20)
    found, out = _json(outpace, tiny, "-c", 256)
    assert not found["fits"] and "does not fit: a context of 256 needs" in out.replace("\n", " ")


def test_unused_and_converted_are_named(outpace, tmp_path) -> None:
    from bench.random_gguf import write_random_llama
    from tests.support import tiny as f32

    from outpace.gguf.types import GGMLType

    sizes = {"n_layers": 1, "d_model": 256, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "d_ff": 256}
    path = write_random_llama(tmp_path / "a.gguf", type=GGMLType.Q3_K, vocab=700, context=128, **sizes)
    found, out = _json(outpace, path)
    assert set(found["converted"].values()) == {"Q3_K -> Q8_0"} and "Q3_K -> Q8_0" in out
    arrays = f32.arrays(f32.shapes() | {"blk.9.extra.weight": (4, 32)})
    found, out = _json(outpace, f32.write(tmp_path / "b.gguf", f32.metadata(), arrays))
    assert found["unused"] == ["blk.9.extra.weight"] and "blk.9.extra.weight" in out
    assert found["tokenizer"] is None and "none: prompts must be tokens" in out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("context", [256, 2048])
def test_a_run_keeps_to_it(smollm2_path, context) -> None:
    options = [str(smollm2_path), "-c", str(context)]
    command = [sys.executable, "-m", "outpace", "inspect", *options, "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
    run = [sys.executable, "-c", RUN, *options, "-p", "Count to ten.", "-n", "4"]
    peak = int(subprocess.run(run, capture_output=True, check=True).stdout.splitlines()[-1]) * 1024
    assert abs(told["memory"]["total_bytes"] / peak - 1) < 0.05, (told["memory"], peak)
