"""Text to train on, written by the model itself, in shards that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from outpace.convert.write import Progress
from outpace.errors import ConfigError
from outpace.gguf.metadata import Metadata
from outpace.graft.author import Author, most_tokens
from outpace.graft.shards import open_shard, save_shard, shard_path
from outpace.text.chat import ChatTemplate
from outpace.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from outpace.backends.backend import Backend
    from outpace.graft.design import Design

# Texts of a shard for each that is written at a time: more leave the model less often half empty.
ROUNDS = 8
TEMPERATURE = 0.8
# Shards in a row without one token of an answer, after which none is expected any more.
MOST_EMPTY = 4


class Plan(NamedTuple):
    """What a shard's texts go on from.

    Attributes:
        prompts: Prompts, in text.
        temperature: Of all its answers; 0 for greedy ones.
        seed: Of their noise.
    """

    prompts: list[str]
    temperature: float
    seed: int


def plans(prompts: Iterator[str] | list[str], n: int, seed: int) -> Iterator[Plan]:
    """Yield what each shard of n texts goes on from, without end.

    Prompts that never end are answered once each, greedily in every other shard and sampled in those between. Those
    of a list are answered greedily at first, then sampled, with other noise each time round.
    """
    if isinstance(prompts, list):
        for turn in count():
            for at in range(0, len(prompts), n):
                yield Plan(prompts[at : at + n], TEMPERATURE if turn else 0.0, seed + turn)
    else:
        for i in count():
            yield Plan(list(islice(prompts, n)), TEMPERATURE if i % 2 else 0.0, seed + i)


class PromptReader:
    """How a model reads what a user asks: through its chat template, if it has one."""

    def __init__(self, metadata: Metadata) -> None:
        """Take what a model's file says of itself."""
        self._tokenizer, self._template = Tokenizer.from_metadata(metadata), ChatTemplate.from_metadata(metadata)
        self.most, _ = most_tokens(metadata)

    def __call__(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt; none where it is too long to be answered."""
        text = self._template.render([{"role": "user", "content": prompt}]) if self._template else prompt
        tokens = self._tokenizer.encode(text)
        return tokens if len(tokens) <= self.most else []


def write_text(
    folder: Path,
    design: Design,
    backend: Backend,
    prompts: Iterator[str] | list[str],
    n_tokens: int,
    *,
    seed: int,
    parallel: int,
    progress: Progress,
) -> int:
    """Write shards until they hold enough tokens; those that are there are kept.

    Args:
        folder: Where they are.
        design: The model.
        backend: What runs it.
        prompts: What to answer: without end, or again and again.
        n_tokens: How many tokens of answers.
        seed: Of the noise of sampled answers.
        parallel: Texts written at a time.
        progress: Told what is done, tokens done and tokens in all.

    Returns:
        How many shards hold them.

    Raises:
        ConfigError: No prompt is short enough, or the model answers none.
    """
    author: Author | None = None
    read = PromptReader(design.file.metadata)
    done = n_empty = 0

    def report(n: int) -> None:
        nonlocal done
        done += n
        progress("writing text", min(done, n_tokens), n_tokens)

    for i, plan in enumerate(plans(prompts, ROUNDS * parallel, seed)):
        if shard_path(folder, i).exists():
            n_written = open_shard(folder, i).n_written
            # An earlier run's, which tells nothing of the speed.
            done += n_written
        else:
            report(0)
            given = [tokens for prompt in plan.prompts if (tokens := read(prompt))]
            if not given:
                raise ConfigError("the prompts", plan.prompts[0][:60], f"prompts of at most {read.most} tokens")
            author = author or Author(design, backend, parallel)
            before = done
            save_shard(folder, i, author.write(given, plan.temperature, plan.seed, report))
            n_written = done - before
        n_empty = 0 if n_written else n_empty + 1
        if n_empty == MOST_EMPTY:
            expected = f"prompts that the model answers: in {n_empty} rounds it has ended each answer at once"
            raise ConfigError("the prompts", plan.prompts[0][:60], expected)
        if done >= n_tokens:
            return i + 1
    raise AssertionError("plans have no end")
