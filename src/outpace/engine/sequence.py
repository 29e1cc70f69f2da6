"""One sequence: its tokens, how far they are committed, where their pages are, and how it ended."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from collections.abc import Sequence as List
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from outpace.engine.metrics import DraftRecord
from outpace.graph.step import PAGE, Logits, PageTable, StepResult
from outpace.speculate.accept import accept
from outpace.speculate.drafter import NOTHING, Draft, Drafter

if TYPE_CHECKING:
    from outpace.engine.output import Output
    from outpace.sampling.params import SamplingParams
    from outpace.sampling.sampler import Choice, Sampler
    from outpace.speculate.speculator import DraftState, Guesser
    from outpace.speculate.vocabulary import Tokens

FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]

# Who a token came from, where nobody drafted it.
PLAIN = ""

# The tokens one sequence puts into one step: whose they are; known ones, from its first uncommitted one on; guesses,
# only where `known` reaches its last token; and whether it does, so that logits are wanted. A bare tuple like a `Turn`.
Feed: TypeAlias = "tuple[Sequence, list[int], Draft, bool]"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the engine.

    Attributes:
        tokens: The prompt, at least one token.
        sampling: How tokens are chosen.
        max_tokens: Most tokens to write; None for as many as the context holds.
        stop: Texts that end the answer; they are not part of it.
        ignore_eos: Go on past the tokens that end a text.
    """

    tokens: tuple[int, ...]
    sampling: SamplingParams
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


class Sequence:
    """A request's life in the engine; only the engine changes it.

    Attributes:
        request: What was asked.
        tokens: Prompt and output; the token chosen last is here before it is in the cache.
        n_prompt: How many of them are the prompt.
        most_tokens: Length at which it ends.
        n_cached: Committed positions: the cache holds tokens[:n_cached].
        pages: Page table, large enough for `most_tokens`; the first `n_pages` entries count.
        n_full: Pages at its front that are full and known to the memory's index; `content` says what is in them.
        slot: Index of its recurrent state while it runs.
        n_pending: How many of the guesses staged by its last step were accepted; its next step takes them in.
        n_kept: Page border of the last snapshot that it left or began from; without any, of what its head has left.
        trail: Identity of the text before the one it left while decoding; 0 for none.
        n_shared: Positions that were found in the cache instead of being computed.
        sources: For each token of the output the name of the drafter that guessed it, or `PLAIN`.
        choices: For each token of the output its log-probabilities, where they were asked for.
        output: Its text.
        drafter: Who guesses ahead of it; has observed `n_observed` of its tokens.
        chain: Its sampler's way of guessing on by itself, if it has one.
        head: What the speculator (the model's own head, say) knows of it, if one drafts.
        record: How its drafts fared.
        unchecked: The nearest guess of a draft that was not put to the test.
        notes: What its requester should know, in words.
        finish_reason: Why it ended; None while it lives.
        started_s, first_s, ended_s: When its first step began, its first token came, and it ended (perf_counter).
    """

    __slots__ = (
        "_accept",
        "_choose",
        "_guess",
        "_window",
        "chain",
        "choices",
        "content",
        "drafter",
        "ended_s",
        "finish_reason",
        "first_s",
        "head",
        "most_tokens",
        "n_cached",
        "n_full",
        "n_kept",
        "n_observed",
        "n_pages",
        "n_pending",
        "n_prompt",
        "n_shared",
        "notes",
        "output",
        "pages",
        "record",
        "request",
        "slot",
        "sources",
        "started_s",
        "tokens",
        "trail",
        "unchecked",
    )

    def __init__(self, request: Request, sampler: Sampler, drafter: Drafter, output: Output, most_tokens: int) -> None:
        self.request = request
        self.tokens = list(request.tokens)
        self.n_prompt = len(self.tokens)
        self.most_tokens = most_tokens
        self.n_cached = 0
        self.pages: PageTable = array("i", bytes(4 * -(-most_tokens // PAGE)))
        self.n_pages = self.n_full = self.content = self.n_shared = 0
        self.slot = self.n_pending = self.n_kept = self.trail = 0
        self.sources: list[str] = []
        self.choices: list[Choice] = []
        self.output = output
        self.drafter = drafter
        self.head: DraftState | None = getattr(drafter, "state", None)
        self.n_observed = 0
        self.record = DraftRecord()
        self.unchecked = NOTHING
        self.notes: tuple[str, ...] = ()
        self.finish_reason: FinishReason | None = None
        self.started_s = self.first_s = self.ended_s = 0.0
        last_n = request.sampling.repeat_last_n
        self._window = 0 if not sampler.needs_history else most_tokens if last_n < 0 else last_n
        is_recorded = request.sampling.logprobs is not None
        self._choose = self._recorded(sampler) if is_recorded else sampler.choose
        self._accept = None if is_recorded else sampler.accept
        self._guess = sampler.guess
        self.chain = sampler.chain

    @property
    def is_decoding(self) -> bool:
        """Whether all but the token chosen last is cached."""
        return self.n_cached + 1 == len(self.tokens) > self.n_prompt

    def accept(self, draft: List[int], result: StepResult, first_row: int) -> tuple[int, int]:
        """Return how many tokens of a draft plain decoding would have chosen, and the one it chooses after them.

        Args:
            draft: The guesses after its last token.
            result: The step's, with its logits.
            first_row: Row of its last known token; those of its draft follow.
        """
        if self._accept is not None and result.program is not None:
            tokens, window = self.tokens, self._window
            recent = tokens[-window:] if window else ()
            kept = self._accept(draft, result.program, first_row, len(tokens), recent, window)
            if kept[1] >= 0:
                return kept
        # Also for a row that has no token to give: this says why.
        return accept(draft, self.chooser(draft, result.logits, first_row))

    def chooser(self, draft: List[int], logits: Logits, first_row: int) -> Callable[[int], int]:
        """Return what `speculate.accept` asks: the token that row i chooses, as plain decoding would (see `accept`)."""
        choose, position, window = self._choose, len(self.tokens), self._window
        if not window:
            return lambda i: choose(logits[first_row + i], position + i)
        recent = self.tokens[-window:]
        return lambda i: choose(logits[first_row + i], position + i, [*recent, *draft[:i]][-window:])

    def guesser(self) -> Guesser:
        """Return what `speculator.Ask` asks: guesses are chosen as the tokens themselves will be, with their noise."""
        sample, position, window = self._guess, len(self.tokens), self._window
        if not window:
            return lambda logits, tokens, guesses: sample(logits, tokens, position + len(guesses))
        recent = self.tokens[-window:]

        def guess(logits: Logits, tokens: Tokens | None, guesses: List[int]) -> tuple[int, float] | None:
            return sample(logits, tokens, position + len(guesses), [*recent, *guesses][-window:])

        return guess

    def _recorded(self, sampler: Sampler) -> Callable[..., int]:
        """Return a `choose` that keeps each choice's log-probabilities."""

        def choose(*args: object) -> int:
            choice = sampler.choose_with_logprobs(*args)  # type: ignore[arg-type]  # the arguments of `choose`
            self.choices.append(choice)
            return choice.token

        return choose
