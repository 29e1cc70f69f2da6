"""Whether what drafts was made for a model's tokens: the same number everywhere, or the row of a token is another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outpace.errors import ModelFileError
from outpace.gguf.writer import Typed

_MODEL, _TOKENS, _MERGES, _TYPES = (f"tokenizer.ggml.{name}" for name in ("model", "tokens", "merges", "token_type"))

# The kind of a token that no text has: it fills up a vocabulary to a round size.
_UNUSED = 5


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
    """

    path: Path
    model: str | None
    tokens: Sequence[str] | None
    merges: Sequence[str] | None
    n: int | None
    types: Sequence[int] | None = None

    @classmethod
    def of(cls, path: Path, keys: Mapping[str, Any]) -> Tokens:
        """Take them from a file's keys, or from those that a folder would be converted to."""
        arch, tokens = _value(keys, "general.architecture"), _value(keys, _TOKENS)
        n = len(tokens) if tokens is not None else _value(keys, f"{arch}.vocab_size")
        return cls(path, _value(keys, _MODEL), tokens, _value(keys, _MERGES), n, _value(keys, _TYPES))

    def without_padding(self) -> Tokens:
        """Return them without the unused ones at their end."""
        if self.tokens is None or self.types is None or len(self.types) != len(self.tokens):
            return self
        n = len(self.tokens)
        while n and self.types[n - 1] == _UNUSED:
            n -= 1
        return Tokens(self.path, self.model, self.tokens[:n], self.merges, n, self.types[:n])


def check(model: Tokens, other: Tokens, what: str = "head") -> str | None:
    """Compare a model's tokens with those that a drafter was made for; return what could not be compared, if anything.

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
    return None


def _same(key: str, each: str, path: Path, ours: Sequence[str], of: Path, theirs: Sequence[str], what: str) -> None:
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
