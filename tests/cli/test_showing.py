"""Colours by drafter, text that a terminal may be given, and bars that show up only when somebody waits."""

import io
import sys

import pytest

from outpace.cli import progress
from outpace.cli.paint import COLOURS, OTHER, RESET, Painter, harmless
from outpace.cli.progress import Meter
from outpace.engine.result import Piece


class Letters:
    """A vocabulary in which a token's bytes are given."""

    def __init__(self, *tokens: bytes) -> None:
        self.tokens = tokens

    def token_bytes(self, token: int, skip_special: bool = False) -> bytes:
        return self.tokens[token]


def test_tokens_get_the_colour_of_their_drafter() -> None:
    paint = Painter(Letters(b"one", b" two", b" three", b""))
    shown = paint(Piece("one two three", [0, 1, 3, 2], ["", "suffix", "suffix", "someone"]))
    assert shown == f"one{COLOURS['suffix']} two{RESET}{OTHER} three{RESET}"


def test_text_that_was_held_back_keeps_its_colour() -> None:
    paint = Painter(Letters("é".encode()[:1], "é".encode()[1:] + b"x"))
    assert paint(Piece("", [0], ["suffix"])) == ""
    assert paint(Piece("éx", [1], [""])) == f"{COLOURS['suffix']}é{RESET}x"
    assert paint.paint("more") == "more"


def test_a_terminal_is_not_given_orders() -> None:
    assert harmless("a\x1b]0;title\x07\tb\r\n\x9bc") == "a]0;title\tb\r\nc"


@pytest.mark.parametrize(("is_terminal", "patience_s"), [(True, 0.0), (True, 60.0), (False, 0.0)])
def test_a_bar_only_for_those_who_wait(monkeypatch, is_terminal, patience_s) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "PATIENCE_S", patience_s)
    for unit in ("bytes", "tokens"):
        with Meter(unit) as meter:
            meter("loading", 1, 10)
            meter("fetching", 10, 0)
    assert ("fetching" in screen.getvalue()) == (is_terminal and patience_s == 0)
