"""A list of tokens in the making: texts, types and scores by id, from the several files that may speak of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from outpace.convert.settings import read_json
from outpace.errors import ModelFileError
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed
from outpace.text.vocabulary import TokenType

MAX_TOKENS: Final = 1 << 22
_UNSCORED: Final = -1000.0  # below every piece that merging may make


class Vocabulary:
    """Tokens by id.

    Attributes:
        path: The file that speaks of most of them.
        texts: Their texts.
        types: Their types.
        scores: Their scores, where merging goes by scores.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[int, str] = {}
        self.types: dict[int, TokenType] = {}
        self.scores: dict[int, float] = {}

    def add(self, token: Any, text: Any, kind: TokenType, score: float = _UNSCORED) -> None:
        """Say what a token is; the last word counts.

        Raises:
            ModelFileError: The id or the text is none.
        """
        if type(token) is not int or not 0 <= token < MAX_TOKENS or not isinstance(text, str):
            raise ModelFileError(self.path, f"token {token!r:.40} with the text {text!r:.40} is none")
        self.texts[token], self.types[token], self.scores[token] = text, kind, score

    def add_special(self, folder: Path, is_spaced: bool) -> None:
        """Take in the tokens that were added to those of the model: control tokens, and such as are found as a whole.

        Args:
            folder: Where the files are.
            is_spaced: Whether spaces are written as U+2581 in the texts.
        """
        added: dict[Any, dict[str, Any]] = {}
        for content, token in read_json(folder / "added_tokens.json").items():
            added[token] = {"content": content}
        for each in _dicts(read_json(folder / "tokenizer.json").get("added_tokens")):
            added[each.get("id")] = each
        decoder = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder")
        for token, each in (decoder if isinstance(decoder, dict) else {}).items():
            if isinstance(each, dict) and token.isdecimal():
                added[int(token)] = each
        for token, each in added.items():
            text: Any = each.get("content")
            is_special = each.get("special") is True
            if self.types.get(token) in (TokenType.UNKNOWN, TokenType.BYTE):
                continue
            if is_spaced and not is_special and isinstance(text, str):
                text = text.replace("\u2581", " ")
            self.add(token, text, TokenType.CONTROL if is_special else TokenType.USER_DEFINED)

    def id_of(self, text: str) -> int | None:
        """Return the id of a text, None where no token has it."""
        return next((token for token, each in self.texts.items() if each == text), None)

    def keys(self, n_vocab: int, has_scores: bool) -> dict[str, Any]:
        """Return the lists of a file, as long as the embedding: what nobody spoke of is an unused token.

        Raises:
            ModelFileError: A token is outside the embedding, or cannot be written as UTF-8.
        """
        if self.texts and max(self.texts) >= n_vocab:
            token = max(self.texts)
            problem = f"token {token} ({self.texts[token]!r:.40}) is outside the embedding of {n_vocab} tokens"
            raise ModelFileError(self.path, problem)
        texts = [self.texts.get(token, f"[PAD{token}]") for token in range(n_vocab)]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise ModelFileError(self.path, f"a token holds half of a surrogate pair ({error.reason})") from None
        types = [self.types.get(token, TokenType.UNUSED) for token in range(n_vocab)]
        found: dict[str, Any] = {
            "tokenizer.ggml.tokens": Typed(ValueType.STRING, texts),
            "tokenizer.ggml.token_type": np.array(types, np.int32),
        }
        if has_scores:
            scores = [self.scores.get(token, _UNSCORED) for token in range(n_vocab)]
            found["tokenizer.ggml.scores"] = np.array(scores, np.float32)
        return found


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
