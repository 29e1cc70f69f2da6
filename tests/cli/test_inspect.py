"""`outpace inspect`: facts and memory from the header, and memory that a run keeps to."""

import json
import subprocess
import sys

import pytest
from bench.random_hybrid import write_random_hybrid

from outpace.cli import options
from outpace.errors import ConfigError, readable_bytes
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.speculate.vocabulary import size

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


SMALL = {"d_model": 64, "head_dim": 32, "delta_dim": 16, "rope_base": 1e4, "n_layers": 4}


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    # A vocabulary large enough for a draft head of its own.
    path = tmp_path_factory.mktemp("inspected") / "hybrid.gguf"
    return write_random_hybrid(path, type="Q8_0", vocab=20000, context=300_000, **SMALL)


def test_what_a_head_adds_is_told(outpace, hybrid, monkeypatch) -> None:
    monkeypatch.setattr(GGUFFile, "data", lambda self, name: pytest.fail(f"read {name}"))
    found, out = _json(outpace, hybrid, "-c", 4096)
    plain, _ = _json(outpace, hybrid, "-c", 4096, "--spec-type", "none")
    assert found["mtp_layers"] == plain["mtp_layers"] == 1
    assert (found["drafter"], plain["drafter"]) == ("suffix+mtp", "none")
    assert plain["memory"]["mtp_bytes"] == 0 and plain["mtp"] == {}
    assert set(found["mtp"]) == {"weights_bytes", "head_bytes", "kv_bytes", "workspace_bytes"}
    assert sum(found["mtp"].values()) == found["memory"]["mtp_bytes"]
    with open_gguf(hybrid) as file:
        own = [info for name, info in file.tensors.items() if name.startswith("blk.4.") and len(info.shape) == 2]
        # Packed matrices take what they do in the file, but for rows that fill a tile up.
        assert found["mtp"]["weights_bytes"] == pytest.approx(sum(info.n_bytes for info in own), rel=0.1)
    # One attention layer of the head, one of the trunk; 18 bytes for 32 values of each of the head's rows.
    assert found["mtp"]["kv_bytes"] == found["memory"]["kv_bytes"]
    assert found["mtp"]["head_bytes"] == size(20000) * SMALL["d_model"] // 32 * 18
    for said in ("MTP layers     1", "drafting       suffix+mtp", "its layers", "its KV cache", "its workspace"):
        assert said in out


@pytest.mark.parametrize("parallel", [1, 3])
def test_why_there_are_so_many_states_is_told(outpace, hybrid, parallel, monkeypatch) -> None:
    monkeypatch.setattr("outpace.cli.inspect.most_memory", lambda: 64 << 20)  # else it grows from call to call
    said = f"{parallel} to run, {2 * parallel + 2} to keep for prompts that begin like earlier ones"
    _, out = _json(outpace, hybrid, "-np", parallel)
    assert f"states         {3 * parallel + 2}: {said}\n" in out
    needed, _ = _json(outpace, hybrid, "-np", parallel, "-c", 256)
    short = needed["memory"]["total_bytes"] - needed["memory"]["state_bytes"] // 4
    _, out = _json(outpace, hybrid, "-np", parallel, "-c", 256, "--memory", short)
    assert "memory is short: " in out and f"{parallel} to run, " in out and said not in out


def test_a_model_without_states_has_no_word_about_them(outpace, tiny) -> None:
    assert "states" not in _json(outpace, tiny)[1]


def test_contexts_and_types_are_told_as_a_run_would_be(outpace, hybrid) -> None:
    found, out = _json(outpace, hybrid, "-np", 2)
    assert list(found["contexts"]) == ["4096", "16384", "65536", "131072", "262144", "300000"]
    for context in ("4096", "65536"):
        for kind in ("f16", "q8_0", "q4_0"):
            memory = _json(outpace, hybrid, "-np", 2, "-c", context, "-ctk", kind)[0]["memory"]
            told = found["contexts"][context][kind] - found["memory"]["runtime_bytes"]
            assert told == memory["total_bytes"] - memory["runtime_bytes"]
    assert "longest that fits" in out and "for each of 2 sequences" in out


def test_the_longest_context_fits_and_one_page_more_does_not(outpace, hybrid) -> None:
    # This process may have held more than a run does: what is asked for must leave some of it.
    given = _json(outpace, hybrid)[0]["memory"]["runtime_bytes"] + (64 << 20)
    found, out = _json(outpace, hybrid, "--memory", given, "--spec-type", "mtp")
    assert found["available_bytes"] == given and f"{readable_bytes(given)} may be taken" in out
    f16, q8_0, q4_0 = (found["longest"][kind] for kind in ("f16", "q8_0", "q4_0"))
    assert 0 < f16 < q8_0 < q4_0 < 300_000 and not any(n % 64 for n in (f16, q8_0, q4_0))
    for kind, n in found["longest"].items():
        for context, fits in ((n, True), (n + 64, False)):
            one, _ = _json(outpace, hybrid, "-c", context, "-ctk", kind, "--spec-type", "mtp")
            rest = one["memory"]["total_bytes"] - one["memory"]["runtime_bytes"] + found["memory"]["runtime_bytes"]
            assert (rest <= given) is fits, (kind, context)
    assert _json(outpace, hybrid, "--memory", "8G")[0]["longest"] == dict.fromkeys(("f16", "q8_0", "q4_0"), 300_000)
    nothing, out = _json(outpace, hybrid, "--memory", "1M", "-c", 8192)
    assert not nothing["fits"] and set(nothing["longest"].values()) == {0} and "none" in out


def test_a_size_has_a_unit(outpace, tiny) -> None:
    sizes = {"8G": 8 << 30, "6.5GiB": 13 << 29, "900MB": 900_000_000, "1k": 1024, "5": 5, "7 b": 7}
    assert {text: options.size(text, "--memory") for text in sizes} == sizes
    for wrong in ("8X", "", "G", "-1G", "nan"):
        with pytest.raises(ConfigError, match="expected a size, as in 8G"):
            options.size(wrong, "--memory")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(("context", "has_draft_model"), [(256, False), (2048, False), (1024, True)])
def test_a_run_keeps_to_it(smollm2_path, context, has_draft_model) -> None:
    # As a draft model it is told and loaded like any other.
    options = [str(smollm2_path), "-c", str(context), *(["-md", str(smollm2_path)] if has_draft_model else [])]
    command = [sys.executable, "-m", "outpace", "inspect", *options, "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
    run = [sys.executable, "-c", RUN, *options, "-p", "Count to ten.", "-n", "4"]
    peak = int(subprocess.run(run, capture_output=True, check=True).stdout.splitlines()[-1]) * 1024
    assert abs(told["memory"]["total_bytes"] / peak - 1) < 0.05, (told["memory"], peak)
