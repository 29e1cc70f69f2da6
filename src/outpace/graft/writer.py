"""A model that answers plainly, with a head or a draft model at a fixed depth, with copies alone, or as a run would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, cast

from outpace.config import RunConfig
from outpace.errors import ConfigError, ModelFileError
from outpace.gguf.beside import open_with_draft, parts
from outpace.gguf.heads import NAMES, check_kind, kinds_of
from outpace.graft.acceptance import Witness
from outpace.hub import resolve as find
from outpace.llm import LLM
from outpace.text.chat import ChatTemplate

Way: TypeAlias = Literal["plain", "mtp", "medusa", "draft", "suffix", "auto"]
WAYS: Final[tuple[Way, ...]] = ("plain", "mtp", "medusa", "draft", "suffix", "auto")
# Those of them that draft at a fixed depth: the kinds of heads, and a draft model.
SPECULATED: Final[tuple[Way, ...]] = ("mtp", "medusa", "draft")

# By the names of `LLM.stream`, where they are others; None for what the settings say.
_DRAFTERS: Final[dict[Way, str | None]] = {"plain": "none", "auto": None}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, with what writing it took.

    Attributes:
        tokens: What was written, the token that ended it included.
        n_timed: Tokens after the first, which the prompt's last step writes.
        seconds: What those took.
        rounds: Steps that wrote them.
        drafts: Of those of a head at a fixed depth that drafted: guesses tested and kept.
        tokens_per_round: Tokens for each of the steps.
    """

    tokens: tuple[int, ...]
    n_timed: int
    seconds: float
    rounds: int
    drafts: tuple[tuple[int, int], ...]
    tokens_per_round: float


class Writer:
    """A loaded model that answers in each of its `ways`; all of its texts are the same.

    Attributes:
        llm: The model.
        kind: Who drafts, of `SPECULATED`.
        depth: How many tokens that one drafts each round.

    State: the model's, and what its automatic policy learns from `suffix` and `auto`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        depth: int = 3,
        kind: str | None = None,
        draft_model: str | Path | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        **options: Any,
    ) -> None:
        """Load a model; `options` are those of `RunConfig`, `kind` one of its heads where it has several.

        Raises:
            ModelFileError: It has no head and there is no draft model, or it has no head of this kind.
            ConfigError: The depth is out of range.
        """
        most = RunConfig.spec_draft_n_max
        if not 1 <= depth <= most:
            raise ConfigError("--depth", depth, f"a depth from 1 to {most}")
        path = find(str(model), progress=progress)
        beside = None if draft_model is None else find(str(draft_model), progress=progress)
        with open_with_draft(path, beside) as both:
            file, small = parts(both)
            kinds = kinds_of(file.metadata)
            if kind is not None and check_kind(kind) not in kinds:
                raise ModelFileError(path, f"there are no {NAMES[kind]} in this file to measure")
            if not kinds and small is None:
                problem = (
                    "there is no head in this file to measure; `outpace graft train` makes one for it, and "
                    "--draft-model takes one from another file, or a smaller model"
                )
                raise ModelFileError(path, problem)
            self._template = ChatTemplate.from_metadata(file.metadata)
        self.kind: Way = cast("Way", kind or ("draft" if small is not None else kinds[0]))
        self.llm = LLM(path, draft_model=beside, progress=progress, spec_type=f"suffix+{self.kind}", **options)
        self._automatic = self.llm.policy
        self.depth = depth

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways in which it answers."""
        return tuple(way for way in WAYS if way == self.kind or way not in SPECULATED)

    def tokens(self, prompt: str) -> list[int]:
        """Return what a user says as the model reads it, through the file's chat template if it has one."""
        if self._template is not None:
            prompt = self._template.render([{"role": "user", "content": prompt}])
        return self.llm.tokenizer.encode(prompt)

    def answer(self, way: Way, prompt: Sequence[int], n: int, *, temperature: float = 0.0, seed: int = 0) -> Answer:
        """Answer a prompt.

        Args:
            way: How.
            prompt: Its tokens.
            n: Most tokens to write; a token that ends the text ends it sooner.
            temperature: 0 takes the likeliest token.
            seed: Of the noise.
        """
        witness = Witness(self.depth)
        self.llm.policy = witness if way == self.kind else self._automatic
        try:
            result = self.llm.generate(
                prompt_tokens=prompt, max_tokens=n, temperature=temperature, seed=seed, drafter=_DRAFTERS.get(way, way)
            )
        finally:
            self.llm.policy = self._automatic
        timings, speculation = result.timings, result.speculation
        return Answer(
            tuple(result.tokens),
            timings.predicted_n - 1,
            timings.predicted_s,
            speculation.rounds,
            tuple(witness.rounds),
            speculation.tokens_per_round,
        )

    def close(self) -> None:
        """Let go of the model."""
        self.llm.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
