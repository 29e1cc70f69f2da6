"""Text to train on, written by the model itself through the engine, in shards that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outpace.errors import ConfigError
from outpace.graft.asking import Asker
from outpace.graft.work import whole_file
from outpace.llm import LLM
from outpace.sampling.params import SamplingParams
from outpace.text.chat import ChatTemplate

if TYPE_CHECKING:
    from outpace.gguf.file import GGUFFile
    from outpace.text.tokenizer import Tokenizer

# Tokens of a text: prompts of at most so many, and answers of at most so many.
MOST_PROMPT, MOST_ANSWER = 384, 384
# Texts of a shard for each sequence that is written at a time: more leave the engine less often half empty.
ROUNDS = 8
TEMPERATURE = 0.8
# Seeds of a shard: more than it has texts.
SEEDS = 1 << 20

Progress = Callable[[str, int, int], None]


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


class Texts(NamedTuple):
    """Written texts, one after another.

    Attributes:
        tokens: int32 [T].
        lengths: Tokens of each text, prompt and answer [n].
        n_prompt: Tokens of each prompt [n].
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]
    n_prompt: NDArray[np.int32]

    @property
    def n_written(self) -> int:
        """Tokens of all answers."""
        return int(self.lengths.sum() - self.n_prompt.sum())


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


def shard_path(folder: Path, i: int) -> Path:
    """Return where shard i of the text is."""
    return folder / f"text-{i:05}.npz"


def load(path: Path) -> Texts:
    """Return a shard."""
    with np.load(path) as found:
        return Texts(found["tokens"], found["lengths"], found["n_prompt"])


def write_texts(
    folder: Path,
    model: Path,
    file: GGUFFile,
    prompts: Iterator[str] | list[str],
    n_tokens: int,
    *,
    seed: int,
    parallel: int,
    threads: int | None,
    progress: Progress,
) -> int:
    """Write shards until they hold enough tokens; those that are there are kept.

    Args:
        folder: Where they are.
        model: The model's file.
        file: The same, opened.
        prompts: What to answer: without end, or again and again. Of those without end the model asks half itself,
            where it has a chat template.
        n_tokens: How many tokens of answers.
        seed: Of the noise of sampled answers.
        parallel: Texts written at a time.
        threads: Threads that compute; None for the engine's choice.
        progress: Told what is done, tokens done and tokens in all.

    Returns:
        How many shards hold them.

    Raises:
        ConfigError: No prompt is short enough.
    """
    llm: LLM | None = None
    template = ChatTemplate.from_metadata(file.metadata)
    n_texts, is_asked = ROUNDS * parallel, not isinstance(prompts, list) and template is not None
    done = 0
    try:
        for i, plan in enumerate(plans(prompts, n_texts // 2 if is_asked else n_texts, seed)):
            path = shard_path(folder, i)
            if not path.exists():
                if llm is None:
                    context = min(file.metadata.int(f"{file.metadata.str('general.architecture')}.context_length"), 768)
                    llm = LLM(model, parallel=parallel, threads=threads, context=context, progress=progress)
                    given = _prompter(template, llm.tokenizer, min(MOST_PROMPT, context // 2))
                    asker = Asker(llm, template) if template and is_asked else None
                own = asker.ask(n_texts - len(plan.prompts), plan.seed * SEEDS + SEEDS // 2) if asker else []
                texts = _answers(llm, given([*plan.prompts, *own]), plan, _Report(progress, done, n_tokens))
                with whole_file(path) as part, part.open("wb") as out:
                    np.savez(out, **texts._asdict())
            done += load(path).n_written
            progress("writing text", min(done, n_tokens), n_tokens)
            if done >= n_tokens:
                return i + 1
    finally:
        if llm is not None:
            llm.close()
    raise AssertionError("plans have no end")


class _Report:
    """Counts tokens up from those of the shards before."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def __call__(self, n: int) -> None:
        self._done += n
        self._progress("writing text", min(self._done, self._total), self._total)


def _prompter(template: ChatTemplate | None, tokenizer: Tokenizer, most: int) -> Callable[[list[str]], list[list[int]]]:
    """Return what makes tokens of prompts, through the file's chat template if it has one; long ones are left out."""

    def encode(prompts: list[str]) -> list[list[int]]:
        texts = [template.render([{"role": "user", "content": each}]) for each in prompts] if template else prompts
        found = [tokens for tokens in map(tokenizer.encode, texts) if 0 < len(tokens) <= most]
        if not found:
            raise ConfigError("the prompts", prompts[0][:60], f"prompts of at most {most} tokens")
        return found

    return encode


def _answers(llm: LLM, prompts: list[list[int]], plan: Plan, report: Callable[[int], None]) -> Texts:
    # Noise is of a seed and a position: with one seed for all, the answers of a shard would lean to the same tokens.
    seeds = range(plan.seed * SEEDS, plan.seed * SEEDS + len(prompts))
    params = [SamplingParams(temperature=plan.temperature, seed=seed % 2**64) for seed in seeds]
    stream = llm.stream(prompt_tokens=prompts, max_tokens=MOST_ANSWER, params=params)
    for piece in stream:
        report(len(piece.tokens))
    texts = [[*prompt, *result.tokens] for prompt, result in zip(prompts, stream.results, strict=True)]
    return Texts(
        np.concatenate([np.array(each, np.int32) for each in texts]),
        np.array([len(each) for each in texts], np.int32),
        np.array([len(each) for each in prompts], np.int32),
    )
