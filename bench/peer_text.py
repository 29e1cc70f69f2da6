"""Our greedy text beside the peer's on the same file, choice by choice; where they part, how near the choice was.

Both get the same tokens, which both must read in the same text, and tokens that end a text are forbidden to both. The
peer keeps keys and values in float32; the most exact that we have is float16. Where the choices differ our answer goes
on for both, so that every choice is compared, and float32 arithmetic on the same weights is asked as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.harness import say, table
from bench.peer import Peer
from bench.peer_server import Server
from bench.tasks.prompts import Prompt
from outpace import LLM
from outpace.backends.reference import ReferenceBackend

CONTEXT = 2048
# As many of the likeliest tokens are told, so that the other's choice is among them where it was near.
TOLD = 20


@dataclass(frozen=True, slots=True)
class Parting:
    """A choice that came out otherwise.

    Attributes:
        at: Tokens of the answer before it.
        ours, theirs: The tokens.
        our_gap: Our logit of our token less that of theirs.
        their_gap: Their logit of their token less their next one's; None if they did not tell.
        exact_gap: In float32: of our token less that of theirs; below 0 theirs is the right one.
    """

    at: int
    ours: int
    theirs: int
    our_gap: float
    their_gap: float | None
    exact_gap: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One prompt answered by both.

    Attributes:
        file: Which file.
        prompt: Which prompt.
        n: Choices compared.
        smallest_gap: Between the likeliest and the next, over all of them.
        apart: How far their gap was from ours where both chose the same, at most.
        partings: Choices that differ.
    """

    file: str
    prompt: str
    n: int
    smallest_gap: float
    apart: float
    partings: list[Parting]

    def as_json(self) -> dict[str, Any]:
        """Return it as data."""
        return asdict(self)


def compare(peer: Peer, path: Path, file: str, prompt: Prompt, n: int) -> Answer:
    """Answer a prompt on both sides.

    Args:
        peer: The other one.
        path: The model.
        file: What to call it.
        prompt: What to write on from.
        n: Choices.

    Raises:
        SystemExit: They read the prompt as different tokens.
    """
    ask: dict[str, Any] = {"ignore_eos": True, "temperature": 0.0, "logprobs": TOLD}
    partings: list[Parting] = []
    apart = 0.0
    with Server(peer, path, CONTEXT) as server, LLM(path, context=CONTEXT, spec_type="none") as llm:
        tokens = llm.tokenizer.encode(prompt.text)
        if server.tokens(prompt.text) != tokens:
            raise SystemExit(f"{prompt.name} is cut into other tokens by {peer.version()}")
        ask["logit_bias"] = tuple((token, -math.inf) for token in sorted(llm.tokenizer.stop_ids))
        answer = llm.generate(prompt_tokens=tokens, max_tokens=n, **ask)
        assert answer.logprobs is not None
        gaps = [choice.top[0][1] - choice.top[1][1] for choice in answer.logprobs]
        at = 0
        while at < n:
            # The first go is the whole text; after a parting, the rest of ours.
            theirs = server.write([*tokens, *answer.tokens[:at]], n - at)
            assert len(theirs.tokens) == n - at
            end = next((i for i, token in enumerate(theirs.tokens) if token != answer.tokens[at + i]), n - at)
            told = [(gap, gaps[at + i]) for i, gap in enumerate(theirs.gaps[:end]) if gap is not None]
            apart = max([apart, *(abs(gap - ours) for gap, ours in told)])
            at += end
            if at < n:
                pair = answer.tokens[at], theirs.tokens[end]
                exact = _exact_gap(path, [*tokens, *answer.tokens[:at]], pair, ask)
                ours = _gap(answer.logprobs[at].top, pair)
                partings.append(Parting(at, *pair, ours, theirs.gaps[end], exact))
                at += 1
    say(f"{file}, {prompt.name}: {n} choices, {len(partings)} differ")
    return Answer(file, prompt.name, n, min(gaps), apart, partings)


def _exact_gap(path: Path, tokens: Sequence[int], pair: tuple[int, int], ask: dict[str, Any]) -> float:
    """Return how far float32 puts the first of two tokens above the second."""
    options = {"context": CONTEXT, "spec_type": "none"}
    with LLM(path, backend=lambda _: ReferenceBackend(), **options) as llm:
        answer = llm.generate(prompt_tokens=list(tokens), max_tokens=1, **ask)
        assert answer.logprobs is not None
        return _gap(answer.logprobs[0].top, pair)


def _gap(top: Sequence[tuple[int, float]], pair: tuple[int, int]) -> float:
    told = dict(top)
    least = min(told.values())
    return told.get(pair[0], least) - told.get(pair[1], least)


def shown(answers: Sequence[Answer]) -> str:
    """Return the answers for people."""
    rows, lines = [], []
    for one in answers:
        first = one.partings[0].at if one.partings else "-"
        gaps = f"{one.smallest_gap:.0e}", f"{one.apart:.0e}"
        rows.append([f"{one.file}: {one.prompt}", one.n, len(one.partings), first, *gaps])
        lines += [
            f"{one.file}, {one.prompt}, token {p.at}: ours {p.ours} by {p.our_gap:.1e}, theirs {p.theirs} by "
            f"{'?' if p.their_gap is None else f'{p.their_gap:.1e}'}, in float32 ours by {p.exact_gap:+.1e}"
            for p in one.partings
        ]
    head = ["greedy, beside llama.cpp", "choices", "differ", "first", "smallest gap", "gaps apart"]
    return "\n".join([table(rows, head), *lines])
