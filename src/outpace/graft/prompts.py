"""Prompts: sixty to judge a head by, an endless stream of others to train it on, and a user's own from a file."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from outpace.errors import ConfigError

Kind: TypeAlias = Literal["code", "factual", "prose"]
KINDS: tuple[Kind, ...] = ("code", "factual", "prose")

_TEXTS = Path(__file__).parent / "texts"

# How much of the training prompts each section of forms.txt is.
_SHARES = {
    "code": 26,
    "factual": 20,
    "prose": 20,
    "lists": 10,
    "explaining": 8,
    "rewriting": 7,
    "dialogues": 5,
    "languages": 4,
}

# Of two prompts with so many words in a row in common, one may not be learned from if the other is to judge.
_RUN = 8

# A prompt that has this share of a held-out one's telling words asks the same, however it is put.
_SAME_TOPIC = 0.75

# Words that tell a form and not a topic.
_FORM_WORDS = frozenset((_TEXTS / "form_words.txt").read_text(encoding="utf-8").split())


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A prompt that no head is trained on.

    Attributes:
        kind: What kind of text answers it.
        text: What the user says.
    """

    kind: Kind
    text: str


def _sections(name: str) -> dict[str, str]:
    """Return the sections of a text file of ours by name; a backslash at the end of a line joins it to the next."""
    text = (_TEXTS / name).read_text(encoding="utf-8").replace("\\\n", "")
    parts = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip("\n") for part in parts[2::2]), strict=True))


def _blocks(text: str) -> list[str]:
    return [block.strip("\n") for block in re.split(r"^---\n", text, flags=re.MULTILINE)]


HELD_OUT: tuple[HeldOut, ...] = tuple(
    HeldOut(kind, text) for kind in KINDS for text in _blocks(_sections("held_out.txt")[kind])
)


def held_out(most: int | None = None) -> dict[str, list[str]]:
    """Return the held-out prompts by kind: the first `most` of each, or all."""
    return {kind: [each.text for each in HELD_OUT if each.kind == kind][:most] for kind in KINDS}


class Form:
    """A prompt with gaps, and its fillings in an order of its own that repeats none before it has had all.

    Attributes:
        n_fillings: How many there are.

    State: how many have been given.
    """

    def __init__(self, text: str, topics: Mapping[str, Sequence[str]], order: random.Random) -> None:
        """Take a text with `{topic}` gaps; `order` decides where to begin and how to go on."""
        parts = re.split(r"\{(\w+)\}", text.replace("\\n", "\n"))
        self._literals, self._gaps = parts[0::2], parts[1::2]
        self._values = [topics[gap] for gap in self._gaps]
        self.n_fillings = math.prod(map(len, self._values))
        self._at = order.randrange(self.n_fillings)
        # Steps of a size that shares no divisor with the number of fillings come by all of them.
        self._step = order.randrange(self.n_fillings) | 1
        while math.gcd(self._step, self.n_fillings) != 1:
            self._step += 1

    def next(self) -> str | None:
        """Return the next prompt; None where two gaps of one kind got the same."""
        self._at = (self._at + self._step) % self.n_fillings
        rest, chosen = self._at, []
        for values in self._values:
            rest, i = divmod(rest, len(values))
            chosen.append(values[i])
        if len(set(zip(self._gaps, chosen, strict=True))) < len(chosen):
            return None
        text = self._literals[0]
        for value, literal in zip(chosen, self._literals[1:], strict=True):
            is_an = text.endswith((" a ", "A ")) and value[:1] in tuple("aeio")
            text = (f"{text[:-1]}n " if is_an else text) + value + literal
        return text.strip()


@cache
def _topics() -> Mapping[str, Sequence[str]]:
    """Return what fills the gaps of forms, by name of the gap."""
    found: dict[str, Sequence[str]] = {name: _blocks(text) for name, text in _sections("blocks.txt").items()}
    for name, text in _sections("topics.txt").items():
        entries = [entry.strip() for line in text.splitlines() for entry in line.split(" | ")]
        found[name] = ["" if entry == "EMPTY" else entry for entry in entries if entry]
    return found


def training_prompts(seed: int) -> Iterator[str]:
    """Yield prompts to train on, without end: the same for the same seed, hardly ever one twice.

    None of them is held out, shares eight words in a row with one that is, or asks the same in other words.
    """
    order = random.Random(seed)
    topics = _topics()
    sections = {
        kind: [Form(line, topics, order) for line in text.splitlines()] for kind, text in _sections("forms.txt").items()
    }
    # A form with many fillings comes more often, but not so often that the others are not seen.
    weights = {kind: [math.sqrt(min(form.n_fillings, 10_000)) for form in forms] for kind, forms in sections.items()}
    kinds, shares = list(sections), [_SHARES[kind] for kind in sections]
    while True:
        (kind,) = order.choices(kinds, shares)
        (form,) = order.choices(sections[kind], weights[kind])
        text = form.next()
        if text is not None and not is_held_out(text):
            yield text


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; punctuation is between them."""
    return re.findall(r"\w+", text.lower())


def runs(text: str) -> set[tuple[str, ...]]:
    """Return every run of eight words of a text; of a shorter one, all of it."""
    found = words(text)
    return {tuple(found[i : i + _RUN]) for i in range(max(1, len(found) - _RUN + 1))}


def topic(text: str) -> frozenset[str]:
    """Return the words of a text that tell what it is about."""
    return frozenset(words(text)) - _FORM_WORDS


@cache
def _held_out() -> tuple[set[tuple[str, ...]], list[frozenset[str]]]:
    every = [runs(each.text) for each in HELD_OUT]
    return set().union(*every), [topic(each.text) for each in HELD_OUT]


def is_held_out(text: str) -> bool:
    """Return whether a prompt is too near to one that is held out to be trained on."""
    held_runs, held_topics = _held_out()
    if not held_runs.isdisjoint(runs(text)):
        return True
    found = frozenset(words(text))
    return any(len(found & each) >= _SAME_TOPIC * len(each) for each in held_topics if each)


def read_prompts(path: str | Path) -> list[str]:
    """Read a user's prompts from a file.

    A file that ends in `.jsonl` has an object a line, with `prompt`, or with `messages`: then the user's first is it.
    Any other is text: a prompt a line, or where there are blank lines, paragraphs between them.

    Raises:
        ConfigError: The file cannot be read, holds no prompt, or a line of it is not what it should be.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".json":
        raise ConfigError("--prompts", str(path), "text, or an object a line in a file that ends in .jsonl")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError("--prompts", str(path), f"a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError("--prompts", str(path), f"text in UTF-8; byte {error.start} is not") from None
    if ending == ".jsonl":
        lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [_prompt_of(line, f"{path}, line {i}") for i, line in lines]
    else:
        has_paragraphs = re.search(r"\n[ \t]*\n", text.strip())
        parts = re.split(r"\n(?:[ \t]*\n)+", text) if has_paragraphs else text.split("\n")
        found = [part.strip() for part in parts if part.strip()]
    if not found:
        raise ConfigError("--prompts", str(path), "a file with at least one prompt in it")
    return found


def _prompt_of(line: str, where: str) -> str:
    """Return the prompt of a line of JSON; `where` names it in errors."""
    try:
        said: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError("--prompts", where, f"an object of JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists without end
        raise ConfigError("--prompts", where, "an object of JSON that can be read") from None
    prompt = said.get("prompt") if isinstance(said, dict) else None
    if isinstance(said, dict) and prompt is None and isinstance(said.get("messages"), list):
        from_user = (each for each in said["messages"] if isinstance(each, dict) and each.get("role") == "user")
        prompt = next((each.get("content") for each in from_user), None)
    if not isinstance(prompt, str) or not prompt.strip():
        expected = 'an object with "prompt", a text, or with "messages", one of them a text of the role "user"'
        raise ConfigError("--prompts", where, expected)
    return prompt
