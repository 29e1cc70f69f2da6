"""P1 on the real model: whatever else changes, the tokens do not. `python -m bench.same_text` runs the full matrix."""

from pathlib import Path

import pytest
from bench import same_text
from bench.tasks.prompts import Prompt

from outpace import _native

N_TOKENS = 40
PROMPTS = [
    Prompt("edit", "code", True, "def f(items):\n    return items[0] + items[1]\n\ndef f(products):\n    return"),
    Prompt("tale", "prose", False, "The last train had left when"),
]
FAST = tuple(tier for tier in _native.supported_tiers() if tier != "portable")


@pytest.fixture(scope="module")
def runner(smollm2_path: Path):
    found = same_text.Runner(smollm2_path, PROMPTS, N_TOKENS)
    yield found
    found.close()


def test_every_two_settings_meet_and_no_token_changes(runner: same_text.Runner):
    factors = same_text.FACTORS | {"tier": FAST or ("portable",)}
    cells = same_text.pairwise(factors)
    differences = same_text.compare(runner, cells, factors["tier"][0], PROMPTS)
    assert not differences, "\n".join(map(str, differences))


def test_drafts_were_kept_and_temperature_matters(runner: same_text.Runner):
    """Without this the comparison could be of nothing with nothing."""
    plain = same_text.Cell((FAST or ("portable",))[0], 1, "f16", "none", "alone", 0.0)
    written = runner(plain)
    assert all(len(tokens) == N_TOKENS for tokens in written)
    hot = runner(same_text.replace(plain, temperature=1.2))
    assert hot != written
    llm = runner._model(same_text.replace(plain, drafter="suffix 4"))
    result = llm.generate(PROMPTS[0].text, max_tokens=N_TOKENS, ignore_eos=True, temperature=0)
    assert result.speculation.accepted > 0
    assert result.tokens == written[0]


def test_tiers_agree_to_the_bit(smollm2_path: Path):
    found = same_text.tier_bits(smollm2_path, _native.supported_tiers(), "f16", [10, 2000, 30000])
    assert set(found.values()) == {0}, found


def test_pairwise_meets_every_pair():
    factors = {**same_text.FACTORS, "tier": ("a", "b", "c")}
    cells = same_text.pairwise(factors)
    names = list(factors)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            met = {(getattr(cell, first), getattr(cell, second)) for cell in cells}
            assert len(met) == len(factors[first]) * len(factors[second])
    assert len(cells) < 25
