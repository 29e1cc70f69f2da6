"""Textbook tokenizers, slow and plain: what the fast ones must agree with."""

from collections.abc import Sequence
from itertools import pairwise

import regex
from tests.support.toy_metadata import byte_letters


def cut(text: str, patterns: Sequence[str]) -> list[str]:
    """Cut by each pattern in turn; matches and what lies between them are pieces."""
    pieces = [text]
    for pattern in patterns:
        compiled = regex.compile(pattern)
        finer = []
        for piece in pieces:
            at = 0
            for match in compiled.finditer(piece):
                finer += [piece[at : match.start()], match[0]]
                at = match.end()
            finer.append(piece[at:])
        pieces = [piece for piece in finer if piece]
    return pieces


class SlowBytePairs:
    """GPT-2's algorithm: while there is a known pair, join all of the best ranked one."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[str], whole_words: bool = False) -> None:
        self._ids = {token: i for i, token in enumerate(tokens)}
        self._ranks = {tuple(merge.split(" ")): i for i, merge in enumerate(merges)}
        self._letters, self._whole_words = byte_letters(), whole_words

    def encode(self, words: Sequence[str]) -> list[int]:
        ids = []
        for word in words:
            letters = [self._letters[byte] for byte in word.encode()]
            if self._whole_words and "".join(letters) in self._ids:
                letters = ["".join(letters)]
            ids += [self._ids[part] for part in self._merge(letters) if part in self._ids]
        return ids

    def _merge(self, parts: list[str]) -> list[str]:
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, 1 << 60))
            if best not in self._ranks:
                return parts
            joined, at = [], 0
            while at < len(parts):
                is_pair = tuple(parts[at : at + 2]) == best
                joined.append("".join(best) if is_pair else parts[at])
                at += 2 if is_pair else 1
            parts = joined
        return parts


class SlowSentencePiece:
    """SentencePiece's merging: join the neighbours whose joint piece scores highest, leftmost first."""

    def __init__(self, tokens: Sequence[str], scores: Sequence[float], is_normal: Sequence[bool]) -> None:
        self._all = {token: i for i, token in enumerate(tokens)}
        self._ids = {token: i for i, token in enumerate(tokens) if is_normal[i]}
        self._scores = scores

    def encode(self, text: str) -> list[int]:
        parts = list(text)
        while True:
            known = [
                (-self._scores[self._ids[a + b]], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in self._ids
            ]
            if not known:
                break
            at = min(known)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids = []
        for part in parts:
            if part in self._ids:
                ids.append(self._ids[part])
            else:
                ids += [self._all[f"<0x{byte:02X}>"] for byte in part.encode()]
        return ids
