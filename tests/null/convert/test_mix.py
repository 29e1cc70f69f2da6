"""Types by tensor: the rules as a table worked out by hand."""

import pytest

from outpace.convert.mix import MIXES, type_of
from outpace.gguf.types import BLOCK, GGMLType

# A layer of 32 whose sensitive matrices get more bits in a mix of 4 or 5 bits.
MORE = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def named(mix, name, shape=(512, 512), tied=False, n_layers=32):
    return type_of(MIXES[mix], name, shape, n_layers, tied).name


@pytest.mark.parametrize("mix", ["Q4_K_M", "Q5_K_M"])
@pytest.mark.parametrize("part", ["attn_v", "attn_qkv", "ffn_down", "ffn_down_exps", "ffn_down_shexp"])
def test_layers_with_more_bits(mix, part):
    main = mix.removesuffix("_M")
    for layer in range(32):
        assert named(mix, f"blk.{layer}.{part}.weight") == ("Q6_K" if layer in MORE else main)
        assert named(mix, f"blk.{layer}.attn_k.weight") == main


ROWS = {
    "token_embd.weight": ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"),
    "output.weight": ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q6_K", "Q6_K", "Q6_K"),
    "blk.4.ffn_up.weight": ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"),
    "blk.32.nextn.eh_proj.weight": ("F32", "F16", "BF16", "Q8_0", "Q8_0", "Q8_0", "Q8_0", "Q8_0"),
    "blk.32.nextn.shared_head_head.weight": ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q6_K", "Q6_K", "Q6_K"),
    "blk.32.ffn_down.weight": ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"),
    "blk.0.ssm_alpha.weight": ("F32", "F16", "BF16", "Q8_0", "Q8_0", "Q8_0", "Q8_0", "Q8_0"),
    "blk.0.ffn_gate_inp.weight": ("F32",) * 8,
    "blk.0.ssm_conv1d.weight": ("F32",) * 8,
    "blk.0.attn_norm.weight": ("F32",) * 8,
}


@pytest.mark.parametrize("name", ROWS)
def test_types_by_name(name):
    order = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
    shape = (512,) if "norm" in name else (512, 512)
    assert tuple(named(mix, name, shape) for mix in order) == ROWS[name]


def test_an_embedding_that_is_the_head_has_the_type_of_a_head():
    assert named("Q4_K_M", "token_embd.weight", tied=True) == "Q6_K"
    assert named("Q8_0", "token_embd.weight", tied=True) == "Q8_0"


def test_vectors_and_biases_are_float32():
    for mix in MIXES:
        for name in (
            "output_norm.weight",
            "blk.0.attn_q.bias",
            "blk.0.ssm_a",
            "blk.0.ssm_dt.bias",
            "rope_freqs.weight",
        ):
            assert named(mix, name, (512,)) == "F32"


@pytest.mark.parametrize(
    ("mix", "columns", "kind"),
    [
        ("Q4_K_M", 256, "Q4_K"),
        ("Q4_K_M", 32, "Q5_0"),
        ("Q5_K_M", 96, "Q5_1"),
        ("Q6_K", 224, "Q8_0"),
        ("Q4_K_M", 48, "F16"),
        ("Q8_0", 48, "F16"),
        ("Q4_0", 31, "F16"),
        ("BF16", 31, "BF16"),
    ],
)
def test_rows_that_are_not_whole_blocks_get_another_type(mix, columns, kind):
    assert named(mix, "blk.4.attn_q.weight", (64, columns)) == kind
    assert columns % BLOCK[GGMLType[kind]].size == 0
