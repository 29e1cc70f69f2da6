"""What comes back: pieces as they are written, and the whole answer with its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from outpace.engine.metrics import Speculation, Timings
from outpace.engine.sequence import FinishReason, Sequence

if TYPE_CHECKING:
    from outpace.sampling.sampler import Choice


@dataclass(frozen=True, slots=True)
class Result:
    """One answer.

    Attributes:
        text: What was written, without the stop string that ended it.
        tokens: The tokens chosen, the one that ended it included.
        finish_reason: `stop` (an end token or stop string), `length` (max_tokens or the context), or `cancelled`.
        logprobs: For each token its log-probability and the likeliest tokens, if they were asked for.
        sources: For each token the name of the drafter that guessed it, or "".
        timings: What it took.
        speculation: How the drafts fared.
        notes: What of the request was changed, in words.
    """

    text: str
    tokens: list[int]
    finish_reason: FinishReason
    logprobs: list[Choice] | None
    sources: list[str]
    timings: Timings
    speculation: Speculation
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the last line of `--json` has it."""
        found: dict[str, Any] = {
            "text": self.text,
            "tokens": self.tokens,
            "finish_reason": self.finish_reason,
            "timings": self.timings.as_json(),
            "speculation": self.speculation.as_json(),
        }
        if self.logprobs is not None:
            found["logprobs"] = [{"token": c.token, "logprob": c.logprob, "top": list(c.top)} for c in self.logprobs]
        return found | ({"notes": list(self.notes)} if self.notes else {})


def result_of(sequence: Sequence, text: str, load_s: float, notes: tuple[str, ...] = ()) -> Result:
    """Return the answer that a sequence which has ended has become."""
    assert sequence.finish_reason is not None
    tokens = sequence.tokens[sequence.n_prompt :]
    first_s = sequence.first_s or sequence.ended_s
    timings = Timings(
        load_s,
        sequence.n_prompt,
        first_s - sequence.started_s if sequence.started_s else 0.0,
        len(tokens),
        sequence.ended_s - first_s,
    )
    has_logprobs = sequence.request.sampling.logprobs is not None
    return Result(
        text,
        tokens,
        sequence.finish_reason,
        # Rows after the token that ended the text were looked at too, but are no part of it.
        sequence.choices[: len(tokens)] if has_logprobs else None,
        sequence.sources,
        timings,
        Speculation.of(sequence.drafter.name, sequence.record),
        notes + sequence.notes,
    )


class Piece(NamedTuple):
    """What one step added to one answer.

    Attributes:
        text: Text that became readable; "" while a character or a possible stop string is incomplete.
        tokens: The tokens chosen.
        sources: For each of them the name of the drafter that guessed it, or "".
        index: Which of several prompts it answers.
    """

    text: str
    tokens: list[int]
    sources: list[str]
    index: int = 0  # type: ignore[assignment]  # in place of what tuples have under that name
