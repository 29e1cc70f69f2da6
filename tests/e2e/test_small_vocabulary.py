"""A vocabulary smaller than a layer: the logits' place in the workspace was another value's before."""

import pytest
from tests.support.tiny import write_tiny

from outpace import LLM
from outpace.backends.reference import ReferenceBackend


@pytest.mark.parametrize("n_vocab", [24, 64, 65])
def test_the_cpu_chooses_what_the_reference_does(tmp_path, n_vocab):
    path = write_tiny(tmp_path / "tiny.gguf", n_vocab=n_vocab)
    ask = {"prompt_tokens": [1, 5, 9, 2], "max_tokens": 24, "ignore_eos": True}
    with LLM(path) as cpu, LLM(path, backend=lambda _: ReferenceBackend()) as reference:
        assert cpu.generate(**ask).tokens == reference.generate(**ask).tokens
