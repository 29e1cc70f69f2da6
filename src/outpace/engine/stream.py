"""Answers as they are written, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any

from outpace.engine import loop
from outpace.engine.engine import Engine
from outpace.engine.result import Piece, Result, result_of
from outpace.engine.sequence import Sequence
from outpace.errors import RequestError

# Makes a piece without the constructor that named tuples have, which is Python code; see `engine.runner`.
_tuple = tuple.__new__


class Stream:
    """Answers as they are written: iterate for pieces; then `result` (or `results`) has the whole.

    Leaving early (`close`, an exception, ^C) cancels what is not finished; `result` then says `cancelled`.
    """

    def __init__(
        self,
        engine: Engine,
        sequences: list[tuple[Sequence, tuple[str, ...]]],
        load_s: float,
        is_many: bool,
        on_prompt: Callable[[int, int], None] | None,
    ) -> None:
        self._engine, self._load_s, self._is_many, self._on_prompt = engine, load_s, is_many, on_prompt
        self._sequences = [sequence for sequence, _ in sequences]
        self._notes = [notes for _, notes in sequences]
        self._texts: list[list[str]] = [[] for _ in sequences]
        self._pieces = self._write()

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is not finished and give its memory back."""
        self._pieces.close()
        for sequence in self._sequences:
            self._engine.cancel(sequence)

    def finish(self) -> Any:
        """Write to the end; return the result, or the results where several prompts were given."""
        for _ in self._pieces:
            pass
        return self.results if self._is_many else self.result

    @property
    def results(self) -> list[Result]:
        """The answers, in the order of the prompts.

        Raises:
            RequestError: The stream was not read to its end or closed.
        """
        if any(each.finish_reason is None for each in self._sequences):
            raise RequestError("the answer is not finished; read the stream to its end or close it first")
        joined = ["".join(texts) for texts in self._texts]
        parts = zip(self._sequences, joined, self._notes, strict=True)
        return [result_of(sequence, text, self._load_s, notes) for sequence, text, notes in parts]

    @property
    def result(self) -> Result:
        """The answer to a single prompt; see `results`."""
        return self.results[0]

    def _write(self) -> Generator[Piece, None, None]:
        written = [0] * len(self._sequences)
        steps = loop.run(self._engine, self._sequences)
        try:
            for _ in steps:
                i = -1
                for sequence in self._sequences:
                    i += 1
                    n = len(sequence.sources)
                    if n == written[i]:
                        if n == 0 and self._on_prompt is not None:
                            self._on_prompt(sequence.n_cached, sequence.n_prompt)
                        continue
                    # Tokens and their sources are written together, so as many are new of the one as of the other.
                    tokens, sources = sequence.tokens[written[i] - n :], sequence.sources[written[i] :]
                    written[i] = n
                    text = sequence.output.take()
                    self._texts[i].append(text)
                    yield _tuple(Piece, (text, tokens, sources, i))
        finally:
            steps.close()
            for texts, sequence in zip(self._texts, self._sequences, strict=True):
                # What cancelling let go of.
                texts.append(sequence.output.take())
