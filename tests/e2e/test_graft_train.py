"""`outpace graft train` on a tiny model: what it writes, what it refuses, and what is left when it is killed."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.support import grafting
from tests.support.grafting import contents, run
from tests.support.rewritten import rewritten

from outpace.cli.main import call
from outpace.gguf.file import open_gguf
from outpace.models import load_plan

pytest.importorskip("torch", reason="training needs torch")


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> dict[str, Path]:
    return grafting.write_given(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def trained(given, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out.gguf"
    assert run(given, out, head_only=str(out.with_name("head.gguf"))) == 0
    return out


def test_the_base_is_in_the_file_byte_for_byte_and_the_head_runs(given, trained):
    base, whole = contents(given["base"]), contents(trained)
    head = {name: data for name, data in whole.items() if name not in base}
    assert {name: whole[name] for name in base} == base
    assert head and all(name.startswith("blk.2.") for name in head)
    assert contents(trained.with_name("head.gguf")) == head
    with open_gguf(trained) as file:
        assert load_plan(file).draft is not None
        assert file.metadata.int("llama.block_count") == 3
        assert file.metadata.int("llama.nextn_predict_layers") == 1


def test_the_file_lists_what_the_model_says_most_often_first(trained):
    said: Counter[int] = Counter()
    for shard in trained.with_name("out.gguf.graft").glob("shard-*"):
        best, logprobs = np.load(shard / "best.npy"), np.load(shard / "logprobs.npy")
        said.update(best[logprobs.any(axis=1), 0].tolist())
    with open_gguf(trained) as file:
        told = load_plan(file).listed["mtp"]
    assert len(told) > 3 and set(told) <= set(said)
    # One block in sixteen is held out, and of each text the last position.
    first, last = (sum(said[token] for token in half) for half in (told[: len(told) // 2], told[len(told) // 2 :]))
    assert said[told[0]] > 0.8 * max(said.values()) and first > last, (first, last)


def test_a_trained_head_guesses_better_than_what_it_began_from(trained):
    found = json.loads(trained.with_name("out.gguf.report.json").read_text())
    before, after = found["curve"]["kept"][0], found["curve"]["kept"][-1]
    assert after[0] > before[0] + 0.1 and after[2] > before[2] + 0.1, (before, after)
    engine = [found[when]["all"]["acceptance_by_depth"][0] for when in ("before", "after")]
    assert engine[1] > engine[0] + 0.1, engine
    assert "| all |" in trained.with_name("out.gguf.report.md").read_text()


def test_other_settings_than_before_are_refused_by_name(given, trained, capsys):
    line = ["graft", "train", str(given["base"]), "-o", str(trained), "--prompts", str(given["prompts"]), "--force"]
    line += ["--tokens", "9000", "-np", "4", "--passes", "6", "--batch", "2", "-t", "1"]
    assert call([*line, "--lr", "0.002"]) == 2
    assert "lr is '0.002'; expected 0.003, as when this work was begun, or remove" in capsys.readouterr().err
    assert call([*line, "--lr", "0.003", "--seed", "5"]) == 2
    assert "seed is '5'; expected 0, as when this work was begun, or remove" in capsys.readouterr().err


def test_a_model_with_a_head_is_tuned_and_not_trained(given, trained, tmp_path, capsys):
    assert call(["graft", "train", str(trained), "-o", str(tmp_path / "x.gguf")]) == 2
    assert "expected a model without MTP layers" in capsys.readouterr().err
    prompts = ["--prompts", str(given["prompts"])]
    assert call(["graft", "tune", str(given["base"]), "-o", str(tmp_path / "x.gguf"), *prompts]) == 2
    assert "expected a model with a head" in capsys.readouterr().err
    assert call(["graft", "train", str(given["base"]), "-o", str(tmp_path / "x.gguf"), "--device", "nowhere"]) == 6
    assert "torch cannot compute on the device 'nowhere'" in capsys.readouterr().err
    assert call(["graft", "train", str(given["base"]), "-o", str(tmp_path / "x.gguf"), "--type", "Q8"]) == 2
    assert "--type is 'Q8'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_killed_ten_times_ends_with_the_file_of_one_that_was_not(given, trained, tmp_path):
    out, chance = tmp_path / "out.gguf", random.Random(1)
    for i in range(10):
        code = run(given, out, kill_after_s=chance.uniform(0.1, 2 + i))
        assert code in (0, -9)
        if out.exists():
            # It is whole as soon as it is there.
            assert contents(out) == contents(trained)
            out.unlink()
        assert not list(tmp_path.glob("*.gguf"))
    assert run(given, out) == 0
    assert contents(out) == contents(trained)
    assert {each.name for each in tmp_path.rglob(".*")} == {".lock"}


def test_a_head_that_makes_the_model_slower_is_not_written(given, trained):
    from outpace.errors import BackendError
    from outpace.graft import train

    class Slow:
        refusal = "with this head the model writes 0.50 times as fast as without drafting"

        def __init__(self, found) -> None:
            self.before, self.after = found.before, found.after

    before = trained.read_bytes()
    job = train.Job(**given, out=trained, is_forced=True, **grafting.SMALL)
    with pytest.raises(BackendError, match=r"0\.50 times as fast as without drafting, so .* is not written"):
        train.train(job, lambda *_: None, lambda *rest: Slow(train.report.judged(*rest)))
    assert trained.read_bytes() == before


def test_of_a_users_prompts_enough_judge_and_those_too_long_do_nothing(given, trained, tmp_path):
    from outpace.graft import train

    asked = []

    def judge(trunk, before, after, prompts, *rest):
        asked.append(prompts)
        raise KeyboardInterrupt

    lines = given["prompts"].read_text().splitlines()[:44]
    lines[9], lines[30] = "a" * 3000, "b" * 4000
    (tmp_path / "prompts.txt").write_text("\n".join(lines))
    small = grafting.SMALL | {"tokens": 600, "passes": 1}
    job = train.Job(given["base"], tmp_path / "out.gguf", prompts=tmp_path / "prompts.txt", **small)
    with pytest.raises(KeyboardInterrupt):
        train.train(job, lambda *_: None, judge)
    kept = [line for line in lines if len(line) < 3000]
    assert asked == [{"yours": kept[7::8]}] and len(asked[0]["yours"]) == 5


def test_a_folder_that_is_in_use_or_damaged_is_told(given, trained, tmp_path):
    from outpace.errors import ConfigError, ModelFileError
    from outpace.graft import train, work

    folder = tmp_path / "work"
    shutil.copytree(trained.with_name("out.gguf.graft"), folder)
    job = train.Job(**given, out=tmp_path / "out.gguf", work=folder, **grafting.SMALL)
    with work.work_folder(job.out, folder), pytest.raises(ConfigError, match="no other training is under way"):
        train.train(job, lambda *_: None)
    shard = folder / "shard-00000" / "text.npy"
    for path, told in (
        (folder / "training" / "state.pt",) * 2,
        (shard, shard.parent),
        (folder / "training" / "settings.json",) * 2,
        (folder / "text.json",) * 2,
    ):
        whole = path.read_bytes()
        contents = [b"", whole[: len(whole) // 2], b"[]", b"{"]
        if path.name == "state.pt":
            # What is wrong inside is found wherever it is; the numbers of tensors are not checked.
            for seed in range(20):
                at = np.random.default_rng(seed).integers(0, 600)
                contents.append(whole[:at] + bytes(b ^ 0xFF for b in whole[at : at + 40]) + whole[at + 40 :])
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(ModelFileError, match="is damaged; remove it, and it is made again") as caught:
                train.train(job, lambda *_: None)
            assert caught.value.path == str(told)
        path.write_bytes(whole)


def test_a_folder_with_the_work_on_another_model_is_left_as_it_is(given, trained, tmp_path):
    from outpace.errors import ConfigError
    from outpace.graft import train

    folder = tmp_path / "work"
    shutil.copytree(trained.with_name("out.gguf.graft"), folder)
    before = {each: each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file() and each.name != ".lock"}
    # The same tensors, one key more; and a model with a head, whose trunk would have to be put there.
    other = rewritten(given["base"], tmp_path, {"general.author": "another"})
    for base in (other, trained):
        job = train.Job(base, tmp_path / "out.gguf", work=folder, prompts=given["prompts"], **grafting.SMALL)
        with pytest.raises(ConfigError, match=r"model is .* as when this work was begun"):
            train.train(job, lambda *_: None)
    after = {each: each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file() and each.name != ".lock"}
    assert after == before


def test_a_device_without_enough_memory_is_told(given, trained, tmp_path, monkeypatch):
    import torch

    from outpace.errors import BackendError
    from outpace.graft import train

    folder = tmp_path / "work"
    shutil.copytree(trained.with_name("out.gguf.graft"), folder)

    def run(self, progress):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(train.Trainer, "run", run)
    job = train.Job(**given, out=tmp_path / "out.gguf", work=folder, **grafting.SMALL)
    with pytest.raises(BackendError, match=r"the device 'cpu' has too little memory .* a smaller --batch needs less"):
        train.train(job, lambda *_: None)


def test_tuning_goes_on_from_the_heads_own_tensors_and_keeps_the_trunk(given, trained, tmp_path):
    out = tmp_path / "tuned.gguf"
    assert run(given | {"base": trained}, out, lr=3e-4, passes=1, tokens=4000) == 0
    base, whole = contents(given["base"]), contents(out)
    assert {name: whole[name] for name in base} == base
    assert whole.keys() == contents(trained).keys() and whole != contents(trained)
    before = json.loads(trained.with_name("out.gguf.report.json").read_text())["curve"]["kept"]
    began, ended = (
        json.loads(out.with_name("tuned.gguf.report.json").read_text())["curve"]["kept"][i] for i in (0, -1)
    )
    assert began[0] > before[0][0] + 0.1 and ended[0] > began[0] - 0.1
