"""Who drafts: what the files of a run offer, what was asked for, and the speculator that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from outpace.backends.backend import DraftExecutable
from outpace.config import RunConfig
from outpace.errors import ConfigError
from outpace.graph.passes import projection, trim_head
from outpace.graph.plan import Plan
from outpace.models import Model
from outpace.speculate.draft_model import DraftModel
from outpace.speculate.medusa import Medusa
from outpace.speculate.mtp import Head
from outpace.speculate.speculator import SPECULATORS, Speculator
from outpace.speculate.vocabulary import size

# Of several, the one that is taken where nobody asked for one: what a user gave, then what the file has. Why it is
# there, and what is missing where it is asked for and is not.
_OFFERS = MappingProxyType(
    {
        "draft": ("a draft model was given", "no draft model was given (--draft-model)"),
        "mtp": (
            "the file has a multi-token-prediction layer",
            "the file has no multi-token-prediction layer",
        ),
        "medusa": ("the file has Medusa heads", "the file has no Medusa heads"),
    }
)


def drafting(plan: Plan, *, is_listed: bool = False) -> Plan:
    """Return a draft program as it is run: with a vocabulary projection of the most useful rows in 4 bits.

    The projection is most of what a guess costs. A guess that it cannot make costs acceptance, never text.

    Args:
        plan: The program.
        is_listed: Whether the file lists the tokens that its heads learned to guess.
    """
    n_vocab = projection(plan).shape[0]
    n = size(n_vocab, is_listed=is_listed)
    return plan if n == n_vocab else trim_head(plan, n)


def offered(model: Model, small: Model | None) -> dict[str, Plan]:
    """Return the draft programs that there are, as they are run, by the names of their speculators.

    Args:
        model: The model.
        small: The draft model beside it.
    """
    plans = {"mtp": model.draft, "medusa": model.medusa, "draft": small.plan if small else None}
    return {name: drafting(plan, is_listed=name in model.listed) for name, plan in plans.items() if plan is not None}


def speculator_of(drafter: str) -> str:
    """Return the name of the speculator that a drafter has, "" if it has none."""
    last = drafter.rpartition("+")[2]
    return last if last in SPECULATORS else ""


def chosen(config: RunConfig, drafts: Mapping[str, Plan], reasons: dict[str, str]) -> str:
    """Return who drafts, and put why into `reasons`.

    Raises:
        ConfigError: Somebody is asked for who is not there.
    """
    reasons["drafter"] = "as asked for"
    if config.spec_type == "none" or config.spec_draft_n_max == 0:
        return "none"
    if config.spec_type != "auto":
        name = speculator_of(config.spec_type)
        if name and name not in drafts:
            raise ConfigError("spec_type", config.spec_type, f"another, for {_OFFERS[name][1]}")
        return config.spec_type
    for name, (why, _) in _OFFERS.items():
        if name in drafts:
            reasons["drafter"] = f"{why}; copies are taken where they promise more"
            return f"suffix+{name}"
    reasons["drafter"] = "costs nothing where the text does not repeat"
    return "suffix"


def make(name: str, program: DraftExecutable, model: Model, small: Model | None) -> Speculator[Any]:
    """Return a speculator.

    Args:
        name: One of `SPECULATORS`.
        program: What runs it.
        model: The model that it drafts for.
        small: The draft model, where it is one.
    """
    max_rows, n_vocab, listed = program.limits.max_rows, model.config.n_vocab, model.listed.get(name)
    if name == "mtp":
        return Head(program, model.config.d_model, max_rows, n_vocab, listed)
    if name == "medusa":
        return Medusa(program, model.config.n_medusa, n_vocab, listed)
    assert name == "draft" and small is not None, f"nobody is called {name}"
    return DraftModel(program, small.config.n_ctx_train, max_rows, n_vocab, small.config.n_vocab)
