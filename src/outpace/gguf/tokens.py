"""Whether what drafts was made for a model's tokens: the same number everywhere, or the row of a token is another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from outpace.errors import ModelFileError
from outpace.gguf.writer import Typed

_MODEL, _TOKENS, _MERGES, _TYPES, _SCORES, _PRE = (
    f"tokenizer.ggml.{name}" for name in ("model", "tokens", "merges", "token_type", "scores", "pre")
)

# The kind of a token that text is cut into, and of one that no text has: it fills up a vocabulary to a round size.
_NORMAL, _UNUSED = 1, 5


@dataclass(frozen=True)
class Tokens:
    """What a file says about its tokens.

    Attributes:
        path: The file, or folder.
        model: The kind of its tokenizer, None where it has none.
        tokens: Their texts by number, None where it has none.
        merges: What is merged, best first; None where that goes by scores.
        n: How many tokens there are, None where nothing says so.
        types: Their kinds by number, None where nothing says so.
        scores: How much each is preferred where text is cut by that; None where it is not.
        pre: The name of the way text is cut before it is merged, None where nothing says so.
    """

    path: Path
    model: str | None
    tokens: Sequence[str] | None
    merges: Sequence[str] | None
    n: int | None
    types: Sequence[int] | None = None
    scores: Sequence[float] | None = None
    pre: str | None = None

    @classmethod
    def of(cls, path: Path, keys: Mapping[str, Any]) -> Tokens:
        """Take them from a file's keys, or from those that a folder would be converted to."""
        arch, tokens = _value(keys, "general.architecture"), _value(keys, _TOKENS)
        n = len(tokens) if tokens is not None else _value(keys, f"{arch}.vocab_size")
        model, merges, types, scores, pre = (_value(keys, key) for key in (_MODEL, _MERGES, _TYPES, _SCORES, _PRE))
        return cls(path, model, tokens, merges, n, types, scores, pre)

    def without_padding(self) -> Tokens:
        """Return them without the unused ones at their end."""
        if self.tokens is None or self.types is None or len(self.types) != len(self.tokens):
            return self
        n = len(self.tokens)
        while n and self.types[n - 1] == _UNUSED:
            n -= 1
        scores = None if self.scores is None else self.scores[:n]
        return replace(self, tokens=self.tokens[:n], n=n, types=self.types[:n], scores=scores)


def check(model: Tokens, other: Tokens, what: str = "head") -> str | None:
    """Compare a model's tokens with those that a drafter was made for; return what a user should know, if anything.

    Refused is what makes a number another text, or a text other numbers. Another name for the way of cutting need not:
    converters call one way by several names, and where it does differ, some drafts are wrong.

    Args:
        model: The model's.
        other: Those of what drafts.
        what: What that is called.

    Raises:
        ModelFileError: They differ; names the first that does.
    """
    if None not in (model.n, other.n) and model.n != other.n:
        if model.tokens is not None and other.tokens is not None:
            _same(_TOKENS, "token", model.path, model.tokens, other.path, other.tokens, what)
        key = f"metadata '{_TOKENS}'" if other.tokens is not None else "its vocabulary"
        raise ModelFileError(other.path, f"the {what} is for {other.n} tokens, and {model.path} has {model.n}", key)
    if other.tokens is None or model.tokens is None:
        without = other.path if other.tokens is None else model.path
        if None in (model.n, other.n):
            return f"{without} does not say what its tokens are: nothing was compared"
        return f"{without} has no tokenizer: only the number of tokens was compared, which is {model.n} in both"
    if model.model != other.model:
        problem = (
            f"the {what} is for a tokenizer of the kind '{other.model}', and that of {model.path} is '{model.model}'"
        )
        raise ModelFileError(other.path, problem, f"metadata '{_MODEL}'")
    _same(_TOKENS, "token", model.path, model.tokens, other.path, other.tokens, what)
    if model.merges is not None and other.merges is not None:
        _same(_MERGES, "merge", model.path, model.merges, other.path, other.merges, what)
        _count(_MERGES, "merge", model.path, model.merges, other.path, other.merges, what)
    elif model.scores is not None and other.scores is not None:
        ours = _scores(model.scores, model.types)
        theirs = _scores(other.scores, other.types)
        _same(_SCORES, "score", model.path, ours, other.path, theirs, what)
    if None not in (model.pre, other.pre) and model.pre != other.pre:
        return (
            f"text is cut as '{model.pre}' in {model.path} and as '{other.pre}' in {other.path}: "
            f"where those differ, the {what} guesses wrong"
        )
    return None


def _scores(scores: Sequence[float], types: Sequence[int] | None) -> list[float]:
    """Return the scores of those tokens that text is cut into: for the others converters write what they like."""
    found = np.array(scores, np.float32)
    if types is not None and len(types) == len(found):
        found[np.asarray(types) != _NORMAL] = 0
    rounded: list[float] = found.tolist()
    return rounded


def _same(key: str, each: str, path: Path, ours: Sequence[Any], of: Path, theirs: Sequence[Any], what: str) -> None:
    """Refuse the first that differs, of as many as both have."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            problem = f"{each} {i} of the {what}'s tokenizer is {b!r:.60}, and in {path} it is {a!r:.60}"
            raise ModelFileError(of, problem, f"metadata '{key}'")


def _count(key: str, each: str, path: Path, ours: Sequence[str], of: Path, theirs: Sequence[str], what: str) -> None:
    if len(ours) != len(theirs):
        problem = f"the {what}'s tokenizer has {len(theirs)} {each}s, and that of {path} has {len(ours)}"
        raise ModelFileError(of, problem, f"metadata '{key}'")


def _value(keys: Mapping[str, Any], key: str) -> Any:
    found = keys.get(key)
    return found.value if isinstance(found, Typed) else found
