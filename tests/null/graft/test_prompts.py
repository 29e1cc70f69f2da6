"""Prompts: none that is held out is trained on, a seed fixes the stream, and users' files are read as said."""

import json
from collections import Counter
from itertools import islice

import pytest

from outpace.errors import ConfigError
from outpace.graft.prompts import HELD_OUT, read_prompts, training_prompts

N = 20_000


@pytest.fixture(scope="module", params=[1, 2])
def stream(request) -> list[str]:
    return list(islice(training_prompts(request.param), N))


def bare(text: str) -> list[str]:
    """Words by another road than the code's: letters and digits kept, all else a space."""
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).lower().split()


def test_twenty_of_each_kind_and_no_two_alike():
    assert Counter(each.kind for each in HELD_OUT) == {"code": 20, "factual": 20, "prose": 20}
    assert len({each.text for each in HELD_OUT}) == 60
    assert all(each.text == each.text.strip() and "---" not in each.text for each in HELD_OUT)
    starts = Counter(tuple(bare(each.text)[:5]) for each in HELD_OUT)
    assert max(starts.values()) <= 2, "one form too often"


def test_nothing_held_out_is_trained_on(stream):
    held = {each.text for each in HELD_OUT}
    eights = {tuple(w[i : i + 8]) for w in (bare(text) for text in held) for i in range(max(1, len(w) - 7))}
    for prompt in stream:
        assert prompt not in held
        found = bare(prompt)
        shared = [found[i : i + 8] for i in range(max(1, len(found) - 7)) if tuple(found[i : i + 8]) in eights]
        assert not shared, prompt


# The topic of each kind's prompts in a word or two that its other forms would need too.
TOPICS = """palindrome|debounce|second highest salary|greatest common divisor|shopping cart|.jpeg|login form|pytest
2024-03-15|rock, paper|clicked|binary search|flask|mongolia|blue sky|mona lisa|photosynthesis|tides|berlin wall
bacterium|longest river|microwave|hummus|marie curie|boil on|liver|inflation|make honey|largest mammal|brazil
lighthouse keeper|landlord|autumn rain|fish market|venice|rocking chair|wedding|small dragon|sailor on
barista|community garden|grandfather clock|social media|haiku|before sunrise
elevator are|failed an exam"""


def test_the_topics_that_are_held_out_are_asked_in_no_other_form(stream):
    everything = "\n".join(stream).lower()
    for topic in TOPICS.replace("\n", "|").split("|"):
        assert topic not in everything, topic


def test_the_stream_is_that_of_its_seed_and_varied(stream):
    first = stream[:12_000]
    assert len(set(first)) >= 10_000
    assert stream[:500] in (list(islice(training_prompts(1), 500)), list(islice(training_prompts(2), 500)))
    assert list(islice(training_prompts(1), 500)) != list(islice(training_prompts(2), 500))
    assert len({" ".join(bare(prompt)[:3]) for prompt in first}) > 500
    assert not any("{" in prompt and "}" in prompt and "\n" not in prompt for prompt in first), "a gap was not filled"
    assert all(prompt and prompt == prompt.strip() and "EMPTY" not in prompt for prompt in stream)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "one\ntwo\n\n", ["one", "two"]),
        ("a.txt", "\ufeffone\r\n  two \r\n", ["one", "two"]),
        ("a.txt", "one\ngoes on\n\n \n\ntwo\n", ["one\ngoes on", "two"]),
        ("a.jsonl", '{"prompt": "a\\nb"}\n\n{"messages": [{"role": "system", "content": "s"}, ', None),
        (
            "a.jsonl",
            json.dumps({"prompt": "a\u2028b"}, ensure_ascii=False)
            + "\n\n"
            + json.dumps({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "c"}]}),
            ["a\u2028b", "c"],
        ),
    ],
)
def test_files_are_read(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_bytes(text.encode())
    if expected is None:
        with pytest.raises(ConfigError, match=r"line 3"):
            read_prompts(path)
    else:
        assert read_prompts(path) == expected


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b" \n\n", "at least one prompt"),
        ("a.txt", b"a\xffb", "text in UTF-8; byte 1 is not"),
        ("a.jsonl", b'{"prompt": 3}', 'line 1.*an object with "prompt", a text'),
        ("a.jsonl", b'{"prompt": " "}', 'an object with "prompt"'),
        ("a.jsonl", b'"text"', 'an object with "prompt"'),
        ("a.jsonl", b'{"messages": [{"role": "assistant", "content": "x"}]}', 'of the role "user"'),
        ("a.jsonl", b"{oops", "an object of JSON"),
        ("a.JSONL", b"{oops", "an object of JSON"),
        ("a.json", b'["a", "b"]', "a file that ends in .jsonl"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_prompts(tmp_path / name)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="a file that can be read"):
        read_prompts(tmp_path / "none.txt")
