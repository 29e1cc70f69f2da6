"""What configurations say of the rotary embedding, in the ways that versions of transformers write it."""

import pytest
from tests.support.checkpoints import random_arrays, write_folder

from outpace.convert.conversion import convert
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf

CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "vocab_size": 16,
}
LAYER = {f"self_attn.{part}_proj": (32, 32) for part in "qkvo"} | {
    **{f"mlp.{part}_proj": (32, 32) for part in ("gate", "up", "down")},
    **{f"{part}_layernorm": (32,) for part in ("input", "post_attention")},
}
SHAPES = {f"model.layers.0.{name}.weight": shape for name, shape in LAYER.items()}
SHAPES |= {"model.embed_tokens.weight": (16, 32), "model.norm.weight": (32,)}


def keys_of(folder, **changes):
    convert(write_folder(folder, CONFIG | changes, random_arrays(SHAPES)), folder / "m.gguf", is_forced=True)
    with open_gguf(folder / "m.gguf") as file:
        found = {key.removeprefix("llama.rope."): value for key, value in file.metadata.items() if "rope" in key}
        return found, "rope_freqs.weight" in file.tensors


PLAIN = {"dimension_count": 8, "freq_base": 10000.0}
LINEAR = {"scaling.type": "linear", "scaling.factor": 4.0}
YARN = {"scaling.type": "yarn", "scaling.factor": 4.0, "scaling.original_context_length": 1024}
SAID = [
    ({}, PLAIN, False),
    ({"rope_theta": 5e5}, PLAIN | {"freq_base": 5e5}, False),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, PLAIN | {"freq_base": 5e5}, False),
    ({"rope_theta": 1000000, "rope_scaling": None}, PLAIN | {"freq_base": 1e6}, False),
    ({"rope_scaling": {"type": "linear", "factor": 4}}, PLAIN | LINEAR, False),
    (
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}},
        PLAIN | YARN,
        False,
    ),
    (
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 1024,
            }
        },
        PLAIN,
        True,
    ),
]


@pytest.mark.parametrize(("changes", "expected", "has_divisors"), SAID)
def test_keys(tmp_path, changes, expected, has_divisors):
    assert keys_of(tmp_path / "m", **changes) == (expected, has_divisors)


WRONG = [
    ({"rope_type": "longrope"}, UnsupportedError, "rotary scaling of type 'longrope' is not supported"),
    ({"rope_type": "linear"}, ModelFileError, "'factor': expected a number, it is missing"),
    ({"rope_type": 3}, ModelFileError, "'rope_type': expected a string, found 3"),
    (
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 4.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        },
        ModelFileError,
        "factor 8.0, low 4.0, high 4.0 make no scaling",
    ),
]


@pytest.mark.parametrize(("table", "error", "sentence"), WRONG)
def test_what_makes_no_sense(tmp_path, table, error, sentence):
    with pytest.raises(error) as found:
        keys_of(tmp_path / "m", rope_parameters=table)
    assert sentence in str(found.value)
