"""The tokens that a head learned to guess: they go where their head goes, and a list that cannot be is refused."""

import re
from pathlib import Path

import pytest
from tests.null.graft.test_detach import contents
from tests.support import medusa, tiny
from tests.support.rewritten import rewritten

from outpace.errors import ModelFileError
from outpace.gguf.file import open_gguf
from outpace.gguf.join import open_with_head
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed
from outpace.graft.attach import attach
from outpace.graft.blueprint import Blueprint
from outpace.graft.detach import detach
from outpace.graft.medusa import MedusaBlueprint
from outpace.models import load_plan

KEYS = {"mtp": "qwen35.nextn_draft_tokens", "medusa": "qwen35.medusa.draft_tokens"}


def write(folder: Path, lists: dict[str, list[int]]) -> Path:
    """A model with heads of both kinds (two layers and one more) and these lists."""
    both = medusa.with_heads(tiny.write_tiny(folder / "base.gguf", "qwen35"), folder / "both.gguf", 2)
    return rewritten(both, folder, {KEYS[kind]: Typed(ValueType.INT32, tokens) for kind, tokens in lists.items()})


def listed(path: Path) -> dict[str, list[int]]:
    with open_gguf(path) as file:
        return dict(load_plan(file).listed)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("tokens", [[5, 3, 60], [5, 3], [9], [], list(range(64))])
def test_a_list_goes_with_its_head(kind: str, tokens: list[int], tmp_path: Path):
    """Lists of as many tokens as there are layers too: what has an item for each layer is another thing."""
    (other,) = KEYS.keys() - {kind}
    whole = write(tmp_path, {kind: tokens, other: [7, 8]})
    assert listed(whole) == {kind: tokens, other: [7, 8]}
    trunk, head, out = tmp_path / "trunk.gguf", tmp_path / "head.gguf", tmp_path / "out.gguf"
    detach(whole, trunk, head, kinds=(kind,))
    assert listed(trunk) == {other: [7, 8]} and KEYS[kind] not in contents(trunk)[0]
    assert contents(head)[0][KEYS[kind]] == (ValueType.INT32, len(tokens), tokens)
    assert KEYS[other] not in contents(head)[0]
    with open_with_head(trunk, head) as one:
        assert load_plan(one).listed == {kind: tokens, other: [7, 8]}
    assert not any("draft_tokens" in note for note in attach(trunk, head, out).notes)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("design", [Blueprint, lambda file: MedusaBlueprint(file, 2)])
def test_a_head_trained_anew_does_not_keep_the_old_list(design, tmp_path: Path):
    with open_gguf(write(tmp_path, {"mtp": [5, 3, 60], "medusa": [7]})) as file:
        assert not any(key in design(file).keys for key in KEYS.values())


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("tokens", [[1, 2, 1], [64], [-1], [2**31 - 1, -(2**31)]])
def test_a_list_that_cannot_be_is_refused(kind: str, tokens: list[int], tmp_path: Path):
    whole = write(tmp_path, {kind: tokens})
    problem = rf"metadata '{re.escape(KEYS[kind])}': is not a list of different tokens below 64"
    with open_gguf(whole) as file, pytest.raises(ModelFileError, match=problem):
        load_plan(file)


def test_a_list_of_something_else_is_refused(tmp_path: Path):
    both = medusa.with_heads(tiny.write_tiny(tmp_path / "base.gguf", "qwen35"), tmp_path / "both.gguf", 2)
    for value in (3, ["a"], [0.5]):
        changed = rewritten(both, tmp_path, {KEYS["mtp"]: value})
        with open_gguf(changed) as file, pytest.raises(ModelFileError, match=re.escape(KEYS["mtp"])):
            load_plan(file)
