"""The random models of `bench` are whole files that other readers open, with weights of the size they should have."""

import gguf
import numpy as np
import pytest
from bench.random_gguf import TYPES, random_blocks, write_random_llama
from tests.null.gguf.test_random_hybrid import agreement
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from outpace.gguf.file import open_gguf
from outpace.gguf.quants import dequantize
from outpace.gguf.types import BLOCK, GGMLType
from outpace.gguf.weights import Weights

TINY = {"n_layers": 2, "d_model": 256, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "d_ff": 256, "vocab": 320}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_values_have_mean_0_and_the_deviation_asked_for(kind):
    raw = random_blocks(np.random.default_rng(1), kind, 200_000 // BLOCK[kind].size, 0.02)
    x = dequantize(raw, kind, (len(raw), BLOCK[kind].size))
    assert np.isfinite(x).all()
    assert abs(x.mean()) < 0.001
    assert 0.019 < x.std() < 0.0215


@pytest.mark.parametrize("arch", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_tiny_model_is_whole_and_the_same_each_time(tmp_path, arch, tied):
    path = write_random_llama(tmp_path / "a.gguf", arch=arch, type=GGMLType.Q4_K, tied=tied, **TINY)
    write_random_llama(tmp_path / "b.gguf", arch=arch, type=GGMLType.Q4_K, tied=tied, **TINY)
    assert path.read_bytes() == (tmp_path / "b.gguf").read_bytes()
    write_random_llama(tmp_path / "b.gguf", arch=arch, type=GGMLType.Q4_K, tied=tied, seed=1, **TINY)
    assert path.read_bytes() != (tmp_path / "b.gguf").read_bytes()
    reader = gguf.GGUFReader(path)
    with open_gguf(path) as file:
        assert {t.name: tuple(reversed(t.shape.tolist())) for t in reader.tensors} == {
            name: info.shape for name, info in file.tensors.items()
        }
        assert all(bytes(t.data) == bytes(file.data(t.name)) for t in reader.tensors)
        w = Weights(file)
        assert w("token_embd.weight", 320, 256).type is GGMLType.Q6_K
        assert w("blk.1.attn_k.weight", 128, 256).type is GGMLType.Q4_K
        assert w.has("output.weight") is not tied
        assert w.has("blk.0.attn_q_norm.weight") is (arch == "qwen3")
        assert file.metadata.str("general.architecture") == arch


@pytest.mark.parametrize("arch", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_aligned_head_agrees_about_as_often_as_asked_for(tmp_path, arch, tied):
    sizes = TINY | {"vocab": 1024}
    found = {
        share: agreement(
            write_random_llama(
                tmp_path / "a.gguf", arch=arch, type=GGMLType.Q8_0, tied=tied, mtp=True, mtp_aligned=share, **sizes
            )
        )
        for share in (None, 0.0, 0.5, 0.8, 1.0)
    }
    assert found[0.0] < 0.05 and found[1.0] > 0.95
    assert found[0.5] == pytest.approx(0.5, abs=0.2)
    assert found[0.8] == pytest.approx(0.8, abs=0.15)
    assert found[None] < 0.05


@pytest.mark.parametrize("vocab", [32000, 700, 300, 100])
def test_the_tokenizer_is_one(tmp_path, vocab):
    path = write_random_llama(
        tmp_path / "a.gguf", type=GGMLType.F32, **(TINY | {"vocab": vocab, "n_layers": 1, "d_model": 64})
    )
    m = open_gguf(path).metadata
    tokens, merges = m.strs("tokenizer.ggml.tokens"), m.strs("tokenizer.ggml.merges")
    assert len(tokens) == len(set(tokens)) == len(m.ints("tokenizer.ggml.token_type")) == vocab
    assert all(merge.replace(" ", "") in tokens and set(merge.split(" ")) <= set(tokens) for merge in merges)
    # the library itself refuses a merge whose parts or result are no tokens
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    sentence = "the rest is shown\n" if vocab < 256 else "naïve 漢字 the rest\n\x01"
    assert tokenizer.decode(tokenizer.encode(sentence).ids) == sentence
    assert m.int("tokenizer.ggml.eos_token_id") < vocab


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match="arch is 'gpt2'; llama or qwen3 expected"):
        write_random_llama(tmp_path / "a.gguf", arch="gpt2")
    with pytest.raises(ValueError, match="a row of 64 elements is not a whole number of Q5_K blocks of 256"):
        write_random_llama(tmp_path / "a.gguf", type=GGMLType.Q5_K, **(TINY | {"d_model": 64}))
    assert not list(tmp_path.iterdir())
