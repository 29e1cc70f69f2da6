"""Which of the known ways of cutting text a tokenizer.json has: the one that cuts a probe in the same places."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from outpace.errors import ModelFileError, UnsupportedError
from outpace.text.pretokenizers import PreTokenizer, known_pretokenizers

# Text on which no two of the known ways agree: case, contractions, digits, marks above letters, scripts, ends of lines.
PROBE: Final = (
    "It's IT'S we'll WE'LL they'Re it' s helloWorld HTTPServer ABCdef \u00e9t\u00e9 \u0130stanbul stra\u00dfe\u01c5x "
    "7 42 365 1024 65536 3.14 1,000 v2beta3 \u0967\u0968\u0969 "
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e01\u0e33\u0e25\u0e31\u0e07 e\u0301a\u0308 "
    "\u4f60\u597d\u4e16\u754c123 \u3053\u3093\u306b\u3061\u306f\u30ab\u30bf \uc548\ub155 "
    '\u0440\u0443\u0441\u0441\u043a\u0438\u0439 a/b//\n c:\\d (x)[y]{z} <=> +-*=~^|$%&@#!?;`quoted`"it" -- ... !!'
    "\n\n ?\r\n\t\ttab \n  \n   end  \u00a0 x\n_under_score \U0001f600\u200d\U0001f525 \u2014dash\u2026 \u20ac5 "
    "\uff01\uff1f \u3002 .Name #tag 'quote' \ufb01 \U00010400 \u1c90  \n "
)


def recognise(path: Path, tokenizer: Mapping[str, Any]) -> str:
    """Return the name of a tokenizer's way of cutting, as `tokenizer.ggml.pre` has it.

    Args:
        path: Its tokenizer.json, for messages.
        tokenizer: What that file holds.

    Raises:
        UnsupportedError: It cuts like none of those we know; lists them.
        ModelFileError: The file's own way cannot be built.
    """
    model = tokenizer.get("model")
    ignores_merges = bool(model.get("ignore_merges")) if isinstance(model, dict) else False
    wanted = _cuts_of_file(path, tokenizer.get("pre_tokenizer"))
    known = known_pretokenizers()
    for each in known:
        if each.ignore_merges == ignores_merges and cuts(each) == wanted:
            return each.name
    raise UnsupportedError("a way of cutting text as in", f"{path} (--pre names one)", [each.name for each in known])


def cuts(pre: PreTokenizer) -> list[tuple[int, int]]:
    """Return where the pieces of the probe begin and end."""
    from tokenizers import Regex, pre_tokenizers

    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
    return _places(pre_tokenizers.Sequence(steps))


def _cuts_of_file(path: Path, described: Any) -> list[tuple[int, int]]:
    from tokenizers import Tokenizer

    empty = {"type": "BPE", "vocab": {}, "merges": []}
    bare = {"version": "1.0", "added_tokens": [], "model": empty, "pre_tokenizer": described}
    try:
        return _places(Tokenizer.from_str(json.dumps(bare)).pre_tokenizer)
    except Exception as error:  # noqa: BLE001  the library raises nothing more exact
        raise ModelFileError(path, f"cannot be built: {error}", "'pre_tokenizer'") from None


def _places(pre: Any) -> list[tuple[int, int]]:
    return [place for _, place in pre.pre_tokenize_str(PROBE)] if pre is not None else []
