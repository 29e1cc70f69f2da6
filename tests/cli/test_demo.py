"""`make demo` on tiny models: one task, or two with a head; a table of what was measured; the texts are the same."""

import re

import pytest
from bench.random_gguf import write_random_llama
from tools import demo

from outpace.gguf.types import GGMLType

SIZES = {"n_layers": 2, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 128, "vocab": 700}


@pytest.mark.parametrize("has_head", [False, True])
def test_what_it_shows(has_head, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(demo, "REPEAT", 1)
    head = {"mtp": True, "mtp_aligned": 0.7} if has_head else {}
    path = write_random_llama(tmp_path / "a.gguf", type=GGMLType.Q8_0, context=2048, **SIZES, **head)
    assert demo.main(str(path)) == 0
    out = capsys.readouterr().out
    assert out.count(f"{path} answers:") == 1 + has_head
    assert ("fresh text, guessed by the head" in out) is has_head
    table = {line[:18].strip(): re.split(r"\s{2,}", line[18:].strip()) for line in out.splitlines()[-6:]}
    assert table["identical texts"] == ["yes"] * (1 + has_head)
    for name in ("plain", "drafted"):
        assert all(re.match(r"\d+\.\d tokens/s", value) for value in table[name]) and len(table[name]) == 1 + has_head
    if has_head:
        kept, drafted = map(int, table["guesses kept"][0].split(" of "))
        # On a model this small guessing hardly pays, so there may be none.
        assert 0 <= kept <= drafted and float(table["tokens per round"][0]) >= 1
