"""Text to token ids and back, built from a file's metadata alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from outpace.errors import RequestError, UnsupportedError
from outpace.text.encoders import Encoder, byte_level_encoder, sentencepiece_encoder
from outpace.text.pretokenizers import find_pretokenizer
from outpace.text.vocabulary import TokenType, Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from outpace.gguf.metadata import Metadata

MODELS: Final = ("gpt2", "llama")


class Tokenizer:
    """The tokenizer of one model file.

    Text is taken as it is: nothing is normalised, so the bytes of a prompt are the bytes its tokens stand for.
    Control and user-defined tokens are found in the text first (leftmost, then longest), the rest goes to byte-pair
    merging.

    Attributes:
        name: The file's `tokenizer.ggml.model`.
        pre: The file's `tokenizer.ggml.pre`, `default` where it has none; None for SentencePiece.
        vocab_size: Number of tokens.
        bos_id: Begin-of-sequence, if any.
        eos_id: End-of-sequence, if any.
        add_bos: Whether `encode` starts with `bos_id`.
        add_eos: Whether `encode` ends with `eos_id`.
        adds_space: Whether `encode` puts a space before text, at the start and after special tokens (SentencePiece);
            `decode` gives that space back.
        stop_ids: Tokens that end an answer: end of sequence, of turn, of message, and tokens known by name.
        special_ids: Control and unknown tokens, which `skip_special` hides.
    """

    def __init__(
        self,
        name: str,
        pre: str | None,
        vocabulary: Vocabulary,
        encoder: Encoder,
        *,
        add_bos: bool,
        add_eos: bool,
        adds_space: bool,
    ) -> None:
        self.name, self.pre = name, pre
        self.vocab_size = len(vocabulary.texts)
        self.bos_id, self.eos_id, self.stop_ids = vocabulary.bos_id, vocabulary.eos_id, vocabulary.stop_ids
        self.add_bos, self.add_eos, self.adds_space = add_bos, add_eos, adds_space
        self.special_ids = frozenset(vocabulary.ids_of(TokenType.CONTROL, TokenType.UNKNOWN))
        self._vocabulary, self._encoder = vocabulary, encoder
        self._bytes: dict[int, bytes] = {}
        # For streams that hide special tokens and for those that show them: texts of tokens that are whole characters.
        self.whole_texts: tuple[dict[int, str], dict[int, str]] = ({}, {})

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Tokenizer:
        """Build the tokenizer a file describes.

        Args:
            metadata: The file's key-value pairs.

        Raises:
            UnsupportedError: The tokenizer model or the pre-tokenizer is not one we know; names those we do.
            ModelFileError: Its lists are missing or do not fit together.

        Cost: about 1 microsecond a token for the GPT-2 type, whose merges are only ranked here; more for SentencePiece.
        """
        name = metadata.str("tokenizer.ggml.model")
        if name not in MODELS:
            raise UnsupportedError("tokenizer", name, MODELS)
        is_byte_level = name == "gpt2"
        pre = find_pretokenizer(metadata.str("tokenizer.ggml.pre", "default")) if is_byte_level else None
        vocabulary = read_vocabulary(metadata, is_byte_level=is_byte_level)
        encoder = byte_level_encoder(metadata, vocabulary, pre) if pre else sentencepiece_encoder(metadata, vocabulary)
        has_bos, has_eos = vocabulary.bos_id is not None, vocabulary.eos_id is not None
        return cls(
            name,
            pre.name if pre else None,
            vocabulary,
            encoder,
            add_bos=has_bos and metadata.bool("tokenizer.ggml.add_bos_token", pre.add_bos if pre else True),
            add_eos=has_eos and metadata.bool("tokenizer.ggml.add_eos_token", False),
            adds_space=not is_byte_level and metadata.bool("tokenizer.ggml.add_space_prefix", True),
        )

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Return the ids of a text.

        Args:
            text: Any text. A byte the vocabulary has no token for is left out, as every reference does.
            add_special: Add the begin and end tokens the file asks for. A text that begins with the begin token (a
                chat template often writes it) does not get a second one.
            parse_special: Read control tokens written out in the text as tokens; user-defined ones always are.

        Raises:
            RequestError: The text holds half of a surrogate pair, which no byte sequence stands for.
        """
        pattern = self._all_special if parse_special else self._user_defined
        ids: list[int] = []
        at = 0
        for match in pattern.finditer(text) if pattern else ():
            if match.start() > at:
                ids += self._encode_plain(text[at : match.start()], at)
            ids.append(self._vocabulary.ids[match[0]])
            at = match.end()
        if at < len(text):
            ids += self._encode_plain(text[at:], at)
        if add_special and self.add_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids.insert(0, self.bos_id)
        if add_special and self.add_eos and self.eos_id is not None and ids[-1:] != [self.eos_id]:
            ids.append(self.eos_id)
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Return the text of some ids: their bytes, joined; what is not UTF-8 becomes U+FFFD.

        Raises:
            RequestError: An id is outside the vocabulary.
        """
        return b"".join([self.token_bytes(token, skip_special) for token in ids]).decode("utf-8", "replace")

    def token_bytes(self, token: int, skip_special: bool = False) -> bytes:
        """Return the exact bytes of a token, none for a hidden special token or an unused one.

        Raises:
            RequestError: The id is outside the vocabulary.

        Cost: under a microsecond once a token has been seen.
        """
        if skip_special and token in self.special_ids:
            return b""
        found = self._bytes.get(token)
        if found is None:
            if not 0 <= token < self.vocab_size:
                raise RequestError(f"token {token} is outside the vocabulary (0 to {self.vocab_size - 1})")
            found = self._bytes[token] = self._vocabulary.token_bytes(token)
        return found

    def id_of(self, text: str) -> int | None:
        """Return the id of the token written exactly so in the file, if there is one."""
        return self._vocabulary.ids.get(text)

    @cached_property
    def _all_special(self) -> re.Pattern[str] | None:
        return self._any_of(TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)

    @cached_property
    def _user_defined(self) -> re.Pattern[str] | None:
        return self._any_of(TokenType.USER_DEFINED)

    def _any_of(self, *types: TokenType) -> re.Pattern[str] | None:
        texts = {self._vocabulary.texts[token] for token in self._vocabulary.ids_of(*types)} - {""}
        return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True)))) if texts else None

    def _encode_plain(self, text: str, at: int) -> list[int]:
        """Encode a stretch without special tokens; `at` is where it begins, for the message."""
        if not self._vocabulary.is_byte_level:
            text = (" " * self.adds_space + text).replace(" ", "▁")
        try:
            return self._encoder(text)
        except (TypeError, UnicodeEncodeError):
            index = next((i for i, letter in enumerate(text) if "\ud800" <= letter <= "\udfff"), None)
            if index is None:
                raise
            where = at + index - (self.adds_space and not self._vocabulary.is_byte_level)
            raise RequestError(f"character {where} of the text is half of a surrogate pair, not a character") from None
