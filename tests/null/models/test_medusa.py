"""Files with Medusa heads that cannot be: each is refused in words."""

from pathlib import Path

import pytest
from tests.support import medusa, tiny

from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.models import load_plan
from outpace.models.numbers import MOST_MEDUSA


def write(path: Path, n: int | None, n_tensors: int = 2, leave_out: str = "") -> Path:
    keys = tiny.metadata("qwen3") | ({} if n is None else {"qwen3.medusa.head_count": n})
    own = tiny.arrays(tiny.shapes("qwen3")) | medusa.arrays(n_tensors, 32)
    return tiny.write(path, keys, {name: each for name, each in own.items() if name != leave_out})


def refused(path: Path, error: type[Exception], words: str) -> None:
    with open_gguf(path) as file, pytest.raises(error, match=words):
        load_plan(file)


def test_counts_and_tensors_that_do_not_agree(tmp_path):
    path = tmp_path / "heads.gguf"
    for n in (-1, MOST_MEDUSA + 1):
        refused(write(path, n), ModelFileError, rf"qwen3\.medusa\.head_count is {n}; expected a number from 0 to 16")
    refused(write(path, 3), ModelFileError, r"tensor 'medusa\.2\.weight'.*expected shape \[32, 32\]")
    refused(write(path, 2, leave_out="medusa.1.bias"), ModelFileError, r"tensor 'medusa\.1\.bias'")
    # Heads that no key counts: a bias that nobody reads could be the model's.
    refused(write(path, None), UnsupportedError, r"qwen3 with the tensor 'medusa\.0\.bias'")


def test_heads_alone_are_no_model(tmp_path):
    keys = tiny.metadata("qwen3") | {"qwen3.medusa.head_count": 2}
    path = tiny.write(tmp_path / "heads.gguf", keys, medusa.arrays(2, 32))
    refused(path, ModelFileError, r"holds Medusa heads alone: .* with --draft-model \(-md\)")


def test_a_file_without_a_count_has_none(tmp_path):
    with open_gguf(tiny.write_tiny(tmp_path / "tiny.gguf", "llama")) as file:
        model = load_plan(file)
    assert model.config.n_medusa == 0 and model.medusa is None and "hidden" not in model.plan.outputs
