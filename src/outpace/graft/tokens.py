"""Whether a head was made for a model's tokens: the same number everywhere, or the row of a token is another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outpace.errors import ModelFileError
from outpace.gguf.writer import Typed

_MODEL, _TOKENS, _MERGES = (f"tokenizer.ggml.{name}" for name in ("model", "tokens", "merges"))


@dataclass(frozen=True)
class Tokens:
    """What a file says about its tokens.

    Attributes:
        path: The file, or folder.
        model: The kind of its tokenizer, None where it has none.
        tokens: Their texts by number, None where it has none.
        merges: What is merged, best first; None where that goes by scores.
        n: How many tokens there are, None where nothing says so.
    """

    path: Path
    model: str | None
    tokens: Sequence[str] | None
    merges: Sequence[str] | None
    n: int | None

    @classmethod
    def of(cls, path: Path, keys: Mapping[str, Any]) -> Tokens:
        """Take them from a file's keys, or from those that a folder would be converted to."""
        arch, tokens = _value(keys, "general.architecture"), _value(keys, _TOKENS)
        n = len(tokens) if tokens is not None else _value(keys, f"{arch}.vocab_size")
        return cls(path, _value(keys, _MODEL), tokens, _value(keys, _MERGES), n)


def check(model: Tokens, head: Tokens) -> str | None:
    """Compare a model's tokens with those that a head was made for; return what could not be compared, if anything.

    Raises:
        ModelFileError: They differ; names the first that does.
    """
    if None not in (model.n, head.n) and model.n != head.n:
        key = f"metadata '{_TOKENS}'" if head.tokens is not None else "its vocabulary"
        problem = f"the head is for {head.n} tokens, and {model.path} has {model.n}"
        raise ModelFileError(head.path, problem, key)
    if head.tokens is None or model.tokens is None:
        without = head.path if head.tokens is None else model.path
        if None in (model.n, head.n):
            return f"{without} does not say what its tokens are: nothing was compared"
        return f"{without} has no tokenizer: only the number of tokens was compared, which is {model.n} in both"
    if model.model != head.model:
        problem = f"the head is for a tokenizer of the kind '{head.model}', and that of {model.path} is '{model.model}'"
        raise ModelFileError(head.path, problem, f"metadata '{_MODEL}'")
    _same(_TOKENS, "token", model.path, model.tokens, head.path, head.tokens)
    if model.merges is not None and head.merges is not None:
        _same(_MERGES, "merge", model.path, model.merges, head.path, head.merges)
    return None


def _same(key: str, what: str, path: Path, ours: Sequence[str], of: Path, theirs: Sequence[str]) -> None:
    where = f"metadata '{key}'"
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            problem = f"{what} {i} of the head's tokenizer is {b!r:.60}, and in {path} it is {a!r:.60}"
            raise ModelFileError(of, problem, where)
    if len(ours) != len(theirs):
        problem = f"the head's tokenizer has {len(theirs)} {what}s, and that of {path} has {len(ours)}"
        raise ModelFileError(of, problem, where)


def _value(keys: Mapping[str, Any], key: str) -> Any:
    found = keys.get(key)
    return found.value if isinstance(found, Typed) else found
