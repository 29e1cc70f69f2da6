"""What a head or a draft model is worth: how often it is right, by depth and kind of text, and how fast text is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from outpace.errors import RequestError
from outpace.graft.acceptance import Acceptance
from outpace.graft.writer import SPECULATED, WAYS, Answer, Way, Writer
from outpace.spread import Spread, direction

# What is told of two ways' speeds, the first over the second.
RATIOS: tuple[tuple[Way, Way], ...] = (
    *((head, "plain") for head in SPECULATED),
    *(("suffix", "plain"), ("auto", "plain"), ("auto", "suffix")),
)

# The answers to one prompt, by way and in the order of the rounds.
Taken: TypeAlias = Mapping[Way, Sequence[Answer]]


@dataclass(frozen=True, slots=True)
class Part:
    """Some prompts of what was measured.

    Attributes:
        prompts: How many.
        acceptance: How guesses fared at the fixed depth.
        per_s: For each way, tokens a second over all of the answers.
        ratios: For each pair of ways, the ratio of their speeds prompt by prompt; only where there are any.
    """

    prompts: int
    acceptance: Acceptance
    per_s: Mapping[Way, float]
    ratios: Mapping[tuple[Way, Way], Spread]

    @classmethod
    def of(cls, taken: Sequence[Taken], depth: int) -> Part:
        """Sum up the answers to some prompts; the rounds of a prompt count by their median time."""
        ways = [way for way in WAYS if all(way in each for each in taken)]
        seconds = {way: [statistics.median(a.seconds for a in each[way]) for each in taken] for way in ways}
        n = [next(iter(each.values()))[0].n_timed for each in taken]
        guessing = [each[head][0] for each in taken for head in SPECULATED if head in each]
        acceptance = Acceptance.of(
            sum(each.rounds for each in guessing), [draft for each in guessing for draft in each.drafts], depth
        )
        ratios: dict[tuple[Way, Way], Spread] = {}
        for a, b in RATIOS:
            if a in ways and b in ways:
                # An answer of one token tells nothing of speed.
                pairs = zip(seconds[b], seconds[a], n, strict=True)
                values = [slow / fast for slow, fast, n_timed in pairs if n_timed and fast and slow]
                ratios |= {(a, b): Spread.of(values)} if values else {}
        per_s = {way: sum(n) / sum(seconds[way]) if sum(seconds[way]) else 0.0 for way in ways}
        return cls(len(taken), acceptance, per_s, ratios)

    def as_json(self) -> dict[str, Any]:
        """Return it as `graft measure --json` has it."""
        found: dict[str, Any] = {"prompts": self.prompts} | self.acceptance.as_json()
        found |= {f"{way}_per_s": round(rate, 2) for way, rate in self.per_s.items()}
        for (a, b), ratio in self.ratios.items():
            name = f"{a}_over_{b}"
            found[name] = float(f"{ratio.median:.4g}")
            found[f"{name}_interval"] = [float(f"{end:.4g}") for end in (ratio.low, ratio.high)]
        if ("auto", "plain") in self.ratios:
            found["auto_is"] = direction(self.ratios["auto", "plain"])
        return found


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        kinds: By kind of text.
        all: Of all together.
        depth: Tokens that were drafted a round for the acceptance.
        different: Prompts whose answers differ by way; there should be none.
    """

    kinds: Mapping[str, Part]
    all: Part
    depth: int
    different: tuple[str, ...]

    @property
    def is_same_text(self) -> bool:
        """Whether every prompt got one answer, whichever way it was written."""
        return not self.different

    def as_json(self) -> dict[str, Any]:
        """Return it as the last line of `graft measure --json` has it."""
        kinds = {kind: part.as_json() for kind, part in self.kinds.items()}
        return {"kinds": kinds, "all": self.all.as_json(), "depth": self.depth, "same_text": self.is_same_text}


def measure(
    writer: Writer,
    prompts: Mapping[str, Sequence[str]],
    *,
    n: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    repeat: int = 1,
    ways: Sequence[Way] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Let a model answer prompts in several ways, in turns, and sum up how its head fared.

    Args:
        writer: The model; its `depth` is that of the acceptance.
        prompts: What users say, by kind of text (`prompts.held_out()`).
        n: Most tokens of an answer.
        temperature: 0 takes the likeliest token.
        seed: Of the noise.
        repeat: How often everything is asked.
        ways: Which ways of answering are measured; `(writer.kind,)` for the acceptance alone, None for all.
        progress: Called with answers written and answers in all.

    Raises:
        RequestError: There is no prompt, or one does not fit into the context.

    Cost: an answer for every prompt, way and repetition, and one of each way to warm up.
    """
    asked = [(kind, text, writer.tokens(text)) for kind, texts in prompts.items() for text in texts]
    if not asked:
        raise RequestError("there is no prompt to measure with; at least one is needed")
    for _, text, tokens in asked:
        if len(tokens) >= writer.llm.context:
            problem = f"has {len(tokens)} tokens, and the context is of {writer.llm.context}"
            raise RequestError(f"the prompt {text[:60]!r} {problem}; shorten it, or ask for a larger context (-c)")
    ways = ways or writer.ways
    taken: list[dict[Way, list[Answer]]] = [{way: [] for way in ways} for _ in asked]

    def answer(way: Way, tokens: Sequence[int]) -> Answer:
        return writer.answer(way, tokens, n, temperature=temperature, seed=seed)

    done, total = 0, len(asked) * len(ways) * repeat
    if len(ways) > 1:
        for way in ways:
            answer(way, asked[0][2])
    for i in range(repeat):
        for j, (_, _, tokens) in enumerate(asked):
            # The order is turned round each time, so that drift is nobody's.
            for way in ways if (i + j) % 2 == 0 else reversed(ways):
                taken[j][way].append(answer(way, tokens))
                done += 1
                if progress is not None:
                    progress(done, total)
    by_kind = {kind: [t for t, (k, _, _) in zip(taken, asked, strict=True) if k == kind] for kind in prompts}
    different = [
        text
        for each, (_, text, _) in zip(taken, asked, strict=True)
        if len({a.tokens for answers in each.values() for a in answers}) > 1
    ]
    kinds = {kind: Part.of(some, writer.depth) for kind, some in by_kind.items() if some}
    return Measured(kinds, Part.of(taken, writer.depth), writer.depth, tuple(different))
