"""How a run is set up: context, threads, KV type and drafting, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from outpace.errors import ConfigError, nearest

# How keys and values can be kept, the most exact first.
KV_TYPES = ("f16", "q8_0", "q4_0")
SPEC_TYPES = ("auto", "none", "suffix", "mtp", "suffix+mtp", "medusa", "suffix+medusa", "draft", "suffix+draft")

# llama.cpp's names for kinds of drafting that are the same idea.
SPEC_ALIASES = {
    "draft-mtp": "mtp",
    "draft-simple": "draft",
    "draft-model": "draft",
    "ngram-simple": "suffix",
    "ngram-map-k": "suffix",
    "ngram-mod": "suffix",
}
MOST_DRAFTED = 64
MOST_PARALLEL = 1024
MOST_THREADS = 1024


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run. None of them changes the text, except `kv_type` and what no longer fits the context.

    Attributes:
        context: Most tokens a sequence may have, prompt and answer together; None for what the model was trained on,
            or less where memory is short.
        threads: Number of threads; None to choose from OUTPACE_THREADS or the CPU.
        kv_type: How keys and values are kept: `f16`, `q8_0` or `q4_0`.
        spec_type: Who drafts: `auto` takes what the model and the text offer, `none` decodes plainly, `suffix` copies
            what followed the same tokens earlier, `mtp` is the model's own multi-token-prediction head, `medusa` its
            Medusa heads, `draft` a smaller model beside it, and `suffix+mtp` and the like whichever of both promises
            more. Some of llama.cpp's names are taken too (`draft-mtp`, `draft-simple`).
        spec_draft_n_max: Most tokens drafted in a round. 0 drafts nothing.
        spec_draft_n_min: Rounds that would draft fewer tokens than this draft nothing.
        spec_draft_p_min: Drafting stops at a token whose estimated chance of being right is below this.
        parallel: Most sequences that run at the same time.
    """

    context: int | None = None
    threads: int | None = None
    kv_type: str = "f16"
    spec_type: str = "auto"
    spec_draft_n_max: int = 16
    spec_draft_n_min: int = 0
    spec_draft_p_min: float = 0.0
    parallel: int = 1

    def __post_init__(self) -> None:
        if self.context is not None:
            whole("context", self.context, 1)
        if self.threads is not None:
            whole("threads", self.threads, 1, MOST_THREADS)
        _one_of("kv_type", self.kv_type, KV_TYPES)
        object.__setattr__(self, "spec_type", SPEC_ALIASES.get(self.spec_type, self.spec_type))
        _one_of("spec_type", self.spec_type, SPEC_TYPES)
        whole("spec_draft_n_max", self.spec_draft_n_max, 0, MOST_DRAFTED)
        whole("spec_draft_n_min", self.spec_draft_n_min, 0, MOST_DRAFTED)
        if self.spec_draft_n_min > self.spec_draft_n_max:
            expected = f"at most spec_draft_n_max ({self.spec_draft_n_max})"
            raise ConfigError("spec_draft_n_min", self.spec_draft_n_min, expected)
        _share("spec_draft_p_min", self.spec_draft_p_min)
        whole("parallel", self.parallel, 1, MOST_PARALLEL)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RunConfig:
        """Return the configuration that a caller's options make; an unknown name is an error.

        Raises:
            ConfigError: A name is not known, or a value is of the wrong type or out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                expected = f"no such setting (known: {', '.join(known)}){nearest(name, known)}"
                raise ConfigError(f"the setting {name}", options[name], expected)
        return cls(**options)


def whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ConfigError for a setting that is not a whole number from `least` to `most`."""
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least and (most is None or value <= most)
    if not fits:
        raise ConfigError(name, value, f"a whole number from {least} {'up' if most is None else f'to {most}'}")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(name, value, f"one of {', '.join(known)}{nearest(str(value), known)}")


def _share(name: str, value: object) -> None:
    # `not ... <=` also refuses NaN
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise ConfigError(name, value, "a number from 0 to 1")
