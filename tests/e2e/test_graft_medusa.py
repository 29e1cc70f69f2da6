"""`outpace graft train --kind medusa` on a tiny model, beside an MTP head trained on the same text."""

import json
from pathlib import Path

import pytest
from tests.support import grafting
from tests.support.grafting import contents, run

from outpace import LLM
from outpace.cli.main import call
from outpace.gguf.file import open_gguf
from outpace.models import load_plan
from outpace.speculate import FixedDepth

pytest.importorskip("torch", reason="training needs torch")

KEYS = {"kind": "medusa", "lr": 3e-2, "passes": 12, "depths": 3}


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict[str, Path]:
    return grafting.write_given(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def trained(given, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out.gguf"
    work = str(out.with_name("work"))
    assert run(given, out, head_only=str(out.with_name("head.gguf")), work=work, **KEYS) == 0
    return out


def test_the_base_is_in_the_file_byte_for_byte_and_the_heads_run(given, trained):
    base, whole = contents(given["base"]), contents(trained)
    head = {name: data for name, data in whole.items() if name not in base}
    assert {name: whole[name] for name in base} == base
    assert set(head) == {f"medusa.{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    assert contents(trained.with_name("head.gguf")) == head
    with open_gguf(trained) as file:
        model = load_plan(file)
        assert model.medusa is not None and model.draft is None and model.config.n_medusa == 3
        assert file.metadata.int("llama.block_count") == 2


def test_trained_heads_guess_better_than_those_of_zeros(trained):
    found = json.loads(trained.with_name("out.gguf.report.json").read_text())
    before, after = found["curve"]["kept"][0], found["curve"]["kept"][-1]
    # What comes after the next token is hard to tell from a random model's state alone; those of zeros repeat a token.
    assert after[0] > before[0] + 0.05, (before, after)
    assert found["curve"]["loss"][-1] < 0.7 * found["curve"]["loss"][0]
    assert found["after"]["all"]["medusa_per_s"] > 0 and "mtp_per_s" not in found["after"]["all"]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafting_changes_no_token(trained, temperature):
    prompts = [[70 + i, 75, 80 + i] * (1 + 9 * i) for i in range(3)]
    ask = {"max_tokens": 40, "ignore_eos": True, "temperature": temperature, "seed": 7}

    def write(spec_type, depth=None, prompts=prompts, **options):
        policy = None if depth is None else FixedDepth(depth)
        with LLM(trained, policy=policy, context=256, spec_type=spec_type, **options) as llm:
            return llm.generate(prompt_tokens=prompts, **ask)

    plain = [write("none", prompts=prompt, threads=1).tokens for prompt in prompts]
    for spec_type, depth, threads in [("medusa", 1, 1), ("medusa", 3, 2), ("suffix+medusa", 3, 2), ("auto", None, 1)]:
        alone = write(spec_type, depth, prompts[0], threads=threads)
        together = write(spec_type, depth, threads=threads, parallel=3)
        assert alone.tokens == plain[0] and [each.tokens for each in together] == plain, (spec_type, depth, threads)
        if spec_type == "medusa":
            told = [each.speculation for each in (alone, *together)]
            assert sum(each.accepted for each in told) > 0


def test_both_kinds_are_trained_on_one_text(given, trained, tmp_path):
    work = trained.with_name("work")
    shards = {path: path.stat().st_mtime_ns for path in work.glob("shard-*")}
    assert shards and not (work / "training").exists()
    out = tmp_path / "mtp.gguf"
    assert run(given, out, work=str(work), depths=3, passes=3) == 0
    assert {path: path.stat().st_mtime_ns for path in work.glob("shard-*")} == shards
    assert any("nextn" in name for name in contents(out)) and not any("medusa" in name for name in contents(out))
    # Put on one model, either drafts.
    both = tmp_path / "both.gguf"
    assert call(["graft", "attach", str(out), str(trained.with_name("head.gguf")), "-o", str(both)]) == 0
    for kind in ("mtp", "medusa"):
        with LLM(both, policy=FixedDepth(3), context=256, spec_type=kind, threads=1) as llm:
            found = llm.generate(prompt_tokens=[70, 71, 72], max_tokens=40, ignore_eos=True, temperature=0.0)
        assert found.speculation.accepted > 0 and set(found.sources) <= {"", kind}


def test_the_heads_of_a_file_are_measured_and_tuned(given, trained, tmp_path, capsys):
    line = ["graft", "measure", str(trained), "--prompts", str(given["prompts"]), "-n", "12", "-t", "1", "--json"]
    assert call(line) == 0
    told = capsys.readouterr().out
    found = json.loads(told.splitlines()[-1])
    assert found["same_text"] and found["all"]["accepted_by_depth"][0] > 0
    assert found["all"]["medusa_per_s"] > 0 and "medusa at 3" in told
    assert call([*line, "--kind", "mtp"]) == 3
    assert "there are no MTP layers in this file" in capsys.readouterr().err
    out = tmp_path / "tuned.gguf"
    assert run(given | {"base": trained}, out, kind="medusa", lr=1e-3, passes=1, tokens=4000, depths=2) == 0
    before, after = contents(trained), contents(out)
    same = {name for name in before if before[name] == after[name]}
    # Of three heads two were trained, and the first began where it was left.
    assert before.keys() - same == {f"medusa.{i}.{part}" for i in range(2) for part in ("weight", "bias")}
    zeros, began = (
        json.loads(path.read_text())["curve"]["loss"][0]
        for path in (trained.with_name("out.gguf.report.json"), out.with_name("tuned.gguf.report.json"))
    )
    assert began < 0.8 * zeros


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_to_the_same_file(given, trained, tmp_path):
    out = tmp_path / "out.gguf"
    for seconds in (3.0, 6.0):
        assert run(given, out, kill_after_s=seconds, **KEYS) in (0, -9)
    assert run(given, out, is_forced=True, **KEYS) == 0
    assert contents(out) == contents(trained)
    assert {each.name for each in tmp_path.rglob(".*")} == {".lock"}


def test_settings_that_cannot_be(given, trained, tmp_path, capsys):
    line = ["graft", "train", str(given["base"]), "-o", str(tmp_path / "x.gguf")]
    assert call([*line, "--kind", "meduza"]) == 2
    assert "--kind is 'meduza'; expected one of mtp, medusa; did you mean 'medusa'?" in capsys.readouterr().err
    assert call([*line, "--work", str(given["base"])]) == 2
    assert "--work is" in capsys.readouterr().err
    line = ["graft", "train", str(trained), "-o", str(tmp_path / "x.gguf"), "--kind", "medusa"]
    assert call(line) == 2
    assert "expected a model without Medusa heads" in capsys.readouterr().err
    line = ["graft", "tune", str(trained), "-o", str(tmp_path / "x.gguf"), "--prompts", str(given["prompts"])]
    assert call([*line, "--depths", "4"]) == 2
    assert "--depths is 4; expected at most 3, the Medusa heads that the file has" in capsys.readouterr().err
