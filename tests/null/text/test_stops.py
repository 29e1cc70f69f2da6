"""Stop strings: what a search through the whole text finds, for any split, with no more held back than needed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outpace.errors import RequestError
from outpace.text import StopStrings


def naive(text: str, stops: list[str]) -> str | None:
    """The text before the stop string that ends first (of those, the longest), None where there is none."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return None


letters = st.sampled_from("ab\n")
stop_lists = st.lists(st.text(letters, min_size=1, max_size=5), max_size=4)


@given(st.lists(st.text(letters, max_size=6), max_size=12), stop_lists)
def test_equal_to_a_search_through_the_whole(pieces, stops):
    stream, shown, text = StopStrings(stops), "", ""
    for piece in pieces:
        emit, stopped = stream.push(piece)
        shown, text = shown + emit, text + piece
        expected = naive(text, stops)
        assert stopped == (expected is not None) == (stream.matched is not None)
        if stopped:
            assert shown == expected
            continue
        held = text[len(shown) :]
        assert text.startswith(shown)
        begins = [n for n in range(1, len(text) + 1) for stop in stops if stop.startswith(text[-n:])]
        assert len(held) == max(begins, default=0), "no more held back than could become a stop string"
    assert shown + stream.flush() == (text if stream.matched is None else shown)


def test_across_borders():
    stream = StopStrings(["\nUser:", "END"])
    assert stream.push("fine\nUs") == ("fine", False)
    assert stream.push("age\nUse") == ("\nUsage", False)
    assert stream.push("r: more") == ("", True)
    assert stream.matched == "\nUser:"
    assert stream.push("END") == ("", True)
    assert stream.flush() == ""


def test_without_stops_all_passes():
    stream = StopStrings([])
    assert stream.push("abc") == ("abc", False)
    assert stream.flush() == ""


def test_an_empty_stop_string_is_refused():
    with pytest.raises(RequestError, match="a stop string is empty"):
        StopStrings(["a", ""])
