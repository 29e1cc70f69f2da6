"""A head given at run time drafts what it would from inside the model's file."""

from pathlib import Path

import pytest
from bench.random_gguf import write_random_llama
from bench.random_hybrid import write_random_hybrid
from tests.support.recorder import Recorder

from outpace.backends.reference import ReferenceBackend
from outpace.convert.conversion import convert
from outpace.errors import ConfigError, FetchError
from outpace.gguf.types import GGMLType
from outpace.llm import LLM

SMALL = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 300, "context": 2048, "rope_base": 1e4, "n_layers": 4}
PROMPT = [7, 8, 9, 10, 44, 5] * 4 + [1, 2, 3]


DENSE = {"n_layers": 3, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 128, "vocab": 300}


@pytest.fixture(scope="module", params=["qwen35 F32", "qwen35 Q8_0", "llama Q8_0", "qwen3 F32"])
def files(tmp_path_factory, request) -> dict[str, Path]:
    folder, (arch, kind) = tmp_path_factory.mktemp("files"), request.param.split()
    if arch == "qwen35":
        whole = write_random_hybrid(folder / "keep.gguf", type=kind, mtp_aligned=0.7, **SMALL)
    else:
        sizes = DENSE | {"mtp": True, "mtp_aligned": 0.7, "context": 2048}
        whole = write_random_llama(folder / "keep.gguf", arch=arch, type=GGMLType[kind], **sizes)
    found = {"keep": whole}
    for choice in ("none", "only"):
        found[choice] = folder / f"{choice}.gguf"
        convert(found["keep"], found[choice], type=kind, mtp=choice)
    return found


def load(path: Path, **options) -> LLM:
    return LLM(path, backend=lambda _: ReferenceBackend(), **({"context": 640} | options))


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 0.8, "seed": 3}], ids=["greedy", "sampled"])
def test_text_and_drafts_are_those_of_the_whole_file(files, sampling):
    ask = {"prompt_tokens": PROMPT, "max_tokens": 40, "ignore_eos": True} | sampling
    found, drafts = [], []
    for path, head in (("keep", None), ("none", files["only"])):
        recorder = Recorder(3)
        with load(files[path], draft_model=head, spec_type="mtp", policy=recorder) as llm:
            found.append(llm.generate(**ask))
        drafts.append(recorder.drafts)
    with load(files["none"]) as llm:
        assert llm.settings.drafter == "suffix"
        plain = llm.generate(drafter="none", **ask)
    assert found[0].tokens == found[1].tokens == plain.tokens
    assert drafts[0] == drafts[1]
    assert found[0].speculation.accepted == found[1].speculation.accepted > 0
    assert found[0].sources == found[1].sources


def test_a_head_given_drafts_by_itself(files):
    with load(files["none"], draft_model=str(files["only"])) as llm:
        assert llm.settings.drafter == "suffix+mtp"
        assert llm.path == files["none"]
        assert llm.tokenizer.vocab_size == 300
    with load(files["none"], draft_model=files["only"], spec_type="none") as llm:
        assert llm.settings.drafter == "none"


def test_heads_that_are_none(files):
    with pytest.raises(ConfigError, match=r"draft_model is .*has MTP layers of its own"):
        load(files["keep"], draft_model=files["only"])
    with pytest.raises(FetchError, match="no-such-head"):
        load(files["none"], draft_model="no-such-head")
