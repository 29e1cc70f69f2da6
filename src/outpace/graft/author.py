"""A model at its own text: many answers at a time, and what it said at each position, from the steps that wrote them.

What a position gives depends on its own text alone (a row's result is the same in whatever step it is computed), so
nothing has to be read again once it is written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outpace.backends.backend import Limits
from outpace.gguf.metadata import Metadata
from outpace.gguf.weights import Weights
from outpace.graft.shards import Shard
from outpace.graph.passes import optimise
from outpace.graph.step import PAGE, Segment, Step
from outpace.graph.trace import trace
from outpace.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from outpace.backends.backend import Backend
    from outpace.graft.design import Design

# Tokens of a text: prompts of at most so many, and answers. A small model's greedy answers go round in circles later
# on, where every guess is right and nothing is learned.
MOST_PROMPT, MOST_ANSWER = 384, 192
# Likeliest tokens that are kept of each position; the rest is one bucket.
TOP = 16


class _Text:
    """A text being written.

    State: its tokens, how many of them the model has read, and what each step gave: hidden states of all rows, and of
    the last one the likeliest tokens and their log-probabilities.
    """

    def __init__(self, number: int, prompt: Sequence[int], place: int, noise: NDArray[np.float64]) -> None:
        self.number, self.place, self._noise = number, place, noise
        self.tokens = list(prompt)
        self.n_prompt, self.n_read = len(prompt), 0
        self.hidden: list[NDArray[np.float16]] = []
        self.best: list[NDArray[np.int32]] = []
        self.logprobs: list[NDArray[np.float16]] = []

    @property
    def n_answer(self) -> int:
        return len(self.tokens) - self.n_prompt

    @property
    def noise(self) -> float:
        """Noise of the next token, in [0, 1)."""
        return float(self._noise[self.n_answer])


def most_tokens(metadata: Metadata) -> tuple[int, int]:
    """Return the most tokens of a prompt and of its answer, by the context that a model was trained for."""
    context = metadata.int(f"{metadata.str('general.architecture')}.context_length")
    most_prompt = min(MOST_PROMPT, context // 2)
    return most_prompt, min(MOST_ANSWER, context - most_prompt)


class Author:
    """A model made to write.

    State: the executable's memory, a place of it for each text at a time.
    """

    def __init__(self, design: Design, backend: Backend, parallel: int) -> None:
        """Load the model.

        Args:
            design: The model.
            backend: What runs it.
            parallel: Texts written at a time.
        """
        metadata = design.file.metadata
        self._stops = Tokenizer.from_metadata(metadata).stop_ids
        most_prompt, self._most_answer = most_tokens(metadata)
        self._n_pages = -(-(most_prompt + self._most_answer) // PAGE)
        self._parallel, self._width = parallel, design.config.d_model
        weights, trunk = Weights(design.file), design.definition.trunk
        plan = optimise(trace("trunk", lambda ops: trunk(ops, weights, design.config)))
        limits = Limits(parallel + most_prompt, parallel, parallel * self._n_pages, n_slots=parallel)
        self._executable = backend.compile(plan, design.file, limits)

    def write(
        self, prompts: Sequence[Sequence[int]], temperature: float, seed: int, report: Callable[[int], None]
    ) -> Shard:
        """Answer prompts.

        Args:
            prompts: Tokens of each, at least one and at most `most_tokens` says.
            temperature: What answers are sampled at; 0 for the likeliest tokens.
            seed: Of the noise: text i's is of the seed and i.
            report: Told how many tokens were written since it was told last.

        Returns:
            The texts in the order of their prompts.
        """
        waiting = deque(enumerate(prompts))
        free = list(range(self._parallel))
        running: list[_Text] = []
        done: dict[int, _Text] = {}
        while waiting or running:
            # A step has memory for one prompt beside a row for everyone else.
            if free and waiting:
                number, prompt = waiting.popleft()
                noise = np.random.default_rng([seed, number]).random(self._most_answer + 1)
                running.append(_Text(number, prompt, free.pop(), noise))
            chosen = self._step(running, temperature)
            going = []
            for text, token in zip(running, chosen, strict=True):
                # The token that a full answer would go on with is not written; what led to it is kept.
                if token in self._stops or text.n_answer == self._most_answer:
                    done[text.number] = text
                    free.append(text.place)
                else:
                    text.tokens.append(token)
                    going.append(text)
            running = going
            report(len(going))
        return self._shard([done[i] for i in range(len(prompts))])

    def _step(self, texts: Sequence[_Text], temperature: float) -> list[int]:
        """Let the model read what it has not read of each text; return the token that each goes on with."""
        tokens: list[int] = []
        segments, wanted = [], []
        for text in texts:
            new = text.tokens[text.n_read :]
            first = text.place * self._n_pages
            pages = np.arange(first, first + self._n_pages, dtype=np.int32)
            segments.append(Segment(text.n_read, len(new), pages, text.place))
            tokens += new
            wanted.append(len(tokens) - 1)
        result = self._executable.run(Step(tokens, segments, wanted, range(len(tokens))))
        assert result.hidden is not None
        logits = torch.from_numpy(result.logits)
        found, best = logits.topk(min(TOP, logits.shape[1]))
        logprobs = found - logits.logsumexp(-1, keepdim=True)
        at = 0
        for text, tokens_of, logprobs_of in zip(
            texts, best.numpy().astype(np.int32), logprobs.numpy().astype(np.float16), strict=True
        ):
            n = len(text.tokens) - text.n_read
            text.hidden.append(result.hidden[at : at + n].astype(np.float16))
            text.best.append(tokens_of)
            text.logprobs.append(logprobs_of)
            text.n_read = len(text.tokens)
            at += n
        if not temperature:
            return list(map(int, best[:, 0]))
        return _sampled(logits, best, temperature, [text.noise for text in texts])

    def _shard(self, texts: Sequence[_Text]) -> Shard:
        lengths = np.array([len(each.tokens) for each in texts], np.int32)
        n_prompt = np.array([each.n_prompt for each in texts], np.int32)
        top = len(texts[0].best[0])
        best = np.zeros((lengths.sum(), top), np.int32)
        logprobs = np.zeros((lengths.sum(), top), np.float16)
        for text, end in zip(texts, np.cumsum(lengths).tolist(), strict=True):
            rows = slice(end - len(text.best), end)
            best[rows], logprobs[rows] = text.best, text.logprobs
        tokens = np.concatenate([np.array(each.tokens, np.int32) for each in texts])
        hidden = np.concatenate([rows for each in texts for rows in each.hidden])
        return Shard(tokens, lengths, n_prompt, hidden, best, logprobs)


def _sampled(logits: Tensor, best: Tensor, temperature: float, noise: Sequence[float]) -> list[int]:
    """Return the token at which the sum of shares passes each noise, the likeliest tokens [n, K] first."""
    shares = (logits / temperature).softmax(-1)
    sums = shares.gather(1, best).cumsum(-1).numpy()
    tokens = []
    for row, likeliest, found, u in zip(shares, best, sums, noise, strict=True):
        among = likeliest
        if u >= found[-1]:
            # Seldom: then the sum over all others is worth its time.
            others = row.index_fill(0, likeliest, 0.0).numpy().cumsum(dtype=np.float64)
            found, u, among = others, (u - found[-1]) / max(1 - found[-1], 1e-9) * others[-1], torch.arange(len(row))
        tokens.append(int(among[min(int(np.searchsorted(found, u, "right")), len(found) - 1)]))
    return tokens
