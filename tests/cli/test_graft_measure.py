"""`graft measure`: the record is the engine's own, speeds have the promised shape, the rest is said in words."""

import json
from pathlib import Path

import pytest
from bench.random_gguf import write_random_llama
from bench.random_hybrid import write_random_hybrid

from outpace.gguf.types import GGMLType
from outpace.graft.measure import measure
from outpace.graft.writer import Writer
from outpace.speculate.policy import FixedDepth

SMALL = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 700, "context": 2048, "rope_base": 1e4, "n_layers": 4}
WAYS = {"plain", "mtp", "suffix", "auto"}
PROMPTS = {"code": ["abc abc abc", "def f(x):"], "prose": ["Once upon a time"]}


@pytest.fixture(scope="module", params=["qwen35", "llama"])
def headed(tmp_path_factory, request) -> Path:
    path = tmp_path_factory.mktemp("headed") / f"{request.param}.gguf"
    if request.param == "qwen35":
        return write_random_hybrid(path, type="Q8_0", mtp_aligned=0.6, **SMALL)
    sizes = {"n_layers": 2, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 128}
    return write_random_llama(path, type=GGMLType.Q8_0, vocab=700, context=512, mtp=True, mtp_aligned=0.6, **sizes)


@pytest.fixture
def asked(tmp_path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text("abc abc abc\nOnce upon a time\n")
    return path


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_record_is_the_engines_own(headed, temperature):
    with Writer(headed, depth=3, threads=1, context=256) as writer:
        found = measure(writer, PROMPTS, n=40, temperature=temperature, seed=3)
        assert set(found.all.per_s) == set(writer.ways) == WAYS
        llm = writer.llm
        llm.policy = FixedDepth(3)
        rounds, drafted, accepted = 0, [0] * 3, [0] * 3
        for text in [text for texts in PROMPTS.values() for text in texts]:
            options = {"max_tokens": 40, "temperature": temperature, "seed": 3, "drafter": "mtp"}
            told = llm.chat([{"role": "user", "content": text}], **options).speculation
            rounds += told.rounds
            for i, (share, n) in enumerate(zip(told.accepted_by_position, told.drafted_by_position, strict=True)):
                drafted[i] += n
                accepted[i] += round(share * n)
    of = found.all.acceptance
    assert (of.rounds, list(of.drafted), list(of.accepted)) == (rounds, drafted, accepted)
    assert of.accepted[0] > 0 and of.reached[0] == of.drafted[0] and of.reached[1] <= of.accepted[0]
    assert found.is_same_text
    parts = [part.acceptance for part in found.kinds.values()]
    assert sum(part.rounds for part in parts) == of.rounds
    assert [sum(counts) for counts in zip(*(part.accepted for part in parts), strict=True)] == list(of.accepted)


def test_acceptance_alone_asks_once(headed):
    with Writer(headed, depth=2, threads=1, context=256) as writer:
        seen = []
        found = measure(writer, PROMPTS, n=10, ways=("mtp",), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)] and set(found.all.per_s) == {"mtp"} and not found.all.ratios


def test_the_command(outpace, headed, asked):
    options = ("-n", 30, "--depth", 2, "-t", 1, "-c", 256, "--json")
    code, out, err = outpace("graft", "measure", headed, "--prompts", asked, *options)
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["same_text"] is True and list(found["kinds"]) == ["mine"] and found["depth"] == 2
    for part in (found["all"], found["kinds"]["mine"]):
        assert part["prompts"] == 2 and part["rounds"] > 0 and 1 <= part["tokens_per_round"] <= 3
        for drafted, accepted, share in zip(
            part["drafted_by_depth"], part["accepted_by_depth"], part["acceptance_by_depth"], strict=True
        ):
            assert share == round(accepted / drafted, 4)
        assert all(part[f"{way}_per_s"] > 0 for way in WAYS)
        low, high = part["auto_over_plain_interval"]
        assert low <= part["auto_over_plain"] <= high and part["auto_is"] == "no verdict before 5 rounds"
    assert "depth 2" in out and "2 given 1" in out and "every way wrote the same texts" in out


def test_a_file_without_a_head_is_told_where_to_get_one(outpace, tiny):
    code, _, err = outpace("graft", "measure", tiny)
    assert code == 3 and "no head in this file" in err and "outpace graft train" in err and "--draft-model" in err


def test_a_head_from_another_file(outpace, headed, asked, tmp_path):
    options = ("--prompts", asked, "-n", 20, "-t", 1, "-c", 256, "--json")
    assert outpace("graft", "detach", headed, "-o", tmp_path / "trunk.gguf", "--head", tmp_path / "head.gguf")[0] == 0
    whole = outpace("graft", "measure", headed, *options)
    apart = outpace("graft", "measure", tmp_path / "trunk.gguf", "-md", tmp_path / "head.gguf", *options)
    counts = [json.loads(out.splitlines()[-1])["all"]["accepted_by_depth"] for _, out, _ in (whole, apart)]
    assert counts[0] == counts[1]


def test_a_model_that_drafts_for_itself_is_always_right(outpace, tiny, asked):
    options = ("--prompts", asked, "-n", 20, "-t", 1, "-c", 128, "--depth", 2, "--json")
    code, out, err = outpace("graft", "measure", tiny, "-md", tiny, *options)
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["same_text"] and found["all"]["acceptance_by_depth"] == [1.0, 1.0] and found["all"]["draft_per_s"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--depth", 0), "--depth is 0; expected a depth from 1 to 16"),
        (("--depth", 17), "--depth is 17"),
        (("--prompts", "nowhere.txt"), "a file that can be read"),
    ],
)
def test_what_cannot_be_measured_is_told(outpace, headed, options, words):
    code, _, err = outpace("graft", "measure", headed, *options)
    assert code == 2 and words in err


def test_a_prompt_that_does_not_fit_is_told_before_any_is_answered(outpace, headed, tmp_path):
    (tmp_path / "mine.txt").write_text("abc\n" + "long " * 400)
    code, out, err = outpace("graft", "measure", headed, "--prompts", tmp_path / "mine.txt", "-c", 128)
    assert code == 2 and out == "" and "the prompt 'long long " in err and "ask for a larger context (-c)" in err
