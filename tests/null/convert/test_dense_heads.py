"""Folders of plain transformers with an MTP layer: its block becomes what a layer of the trunk becomes."""

import numpy as np
import pytest
from tests.support.checkpoints import random_arrays, write_folder

from outpace.convert.conversion import convert
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.models import load_plan

D, F, V, H, G, K, N = 32, 48, 40, 4, 2, 8, 2
CONFIG = {
    "hidden_size": D,
    "intermediate_size": F,
    "num_hidden_layers": N,
    "num_attention_heads": H,
    "num_key_value_heads": G,
    "head_dim": K,
    "vocab_size": V,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}


def dense_shapes(kind: str, n_mtp: int = 1) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a folder of this `model_type`."""
    found = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    layers = [f"model.layers.{i}." for i in range(N)] + [f"mtp.layers.{i}." for i in range(n_mtp)]
    for at in layers:
        found |= {
            f"{at}self_attn.{n}_proj.weight": (rows, D) for n, rows in {"q": H * K, "k": G * K, "v": G * K}.items()
        }
        found |= {f"{at}self_attn.o_proj.weight": (D, H * K), f"{at}mlp.down_proj.weight": (D, F)}
        found |= {f"{at}mlp.{n}_proj.weight": (F, D) for n in ("gate", "up")}
        found |= {f"{at}{n}_layernorm.weight": (D,) for n in ("input", "post_attention")}
        if kind == "qwen3":
            found |= {f"{at}self_attn.{n}_norm.weight": (K,) for n in "qk"}
    if n_mtp:
        found |= {"mtp.fc.weight": (D, 2 * D), "mtp.norm.weight": (D,)}
        found |= {f"mtp.pre_fc_norm_{n}.weight": (D,) for n in ("embedding", "hidden")}
    return found


def values(path):
    """Every tensor of an F32 file."""
    with open_gguf(path) as file:
        assert load_plan(file).unused == ()
        return {name: file.data(name).view("<f4").reshape(info.shape).copy() for name, info in file.tensors.items()}


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_layer_that_predicts_further_tokens(kind, tmp_path):
    arrays = random_arrays(dense_shapes(kind))
    # The same numbers as the first layer of the trunk: then what becomes of them is the same too.
    arrays |= {n.replace("model.layers.0.", "mtp.layers.0."): a for n, a in arrays.items() if "model.layers.0." in n}
    folder = write_folder(tmp_path / "m", CONFIG | {"model_type": kind}, arrays)
    written = convert(folder, tmp_path / "m.gguf", type="F32")
    assert written.n_mtp == 1 and not any("MTP" in note for note in written.notes)
    found = values(tmp_path / "m.gguf")
    first = {name.removeprefix("blk.0."): array for name, array in found.items() if name.startswith("blk.0.")}
    assert len(first) == (11 if kind == "qwen3" else 9)
    for name, array in first.items():
        assert np.array_equal(found[f"blk.2.{name}"], array), name
    names = {"eh_proj": "fc", "enorm": "pre_fc_norm_embedding", "hnorm": "pre_fc_norm_hidden"}
    for name, stored in (names | {"shared_head_norm": "norm"}).items():
        assert np.array_equal(found[f"blk.2.nextn.{name}.weight"], arrays[f"mtp.{stored}.weight"])
    with open_gguf(tmp_path / "m.gguf") as file:
        assert (file.metadata[f"{kind}.block_count"], file.metadata[f"{kind}.nextn_predict_layers"]) == (3, 1)
    convert(folder, tmp_path / "trunk.gguf", type="F32", mtp="none")
    assert values(tmp_path / "trunk.gguf").keys() == {name for name in found if not name.startswith("blk.2.")}


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_heads_that_cannot_be(kind, tmp_path):
    config, arrays = CONFIG | {"model_type": kind}, random_arrays(dense_shapes(kind))
    del arrays["mtp.norm.weight"]
    with pytest.raises(ModelFileError, match=r"tensor 'mtp.norm.weight': expected one of shape \[32\], there is none"):
        convert(write_folder(tmp_path / "less", config, arrays), tmp_path / "m.gguf")
    with pytest.raises(UnsupportedError, match="a multi-token-prediction head of '2 layers'"):
        convert(write_folder(tmp_path / "two", config, random_arrays(dense_shapes(kind, 2))), tmp_path / "m.gguf")
    none = random_arrays(dense_shapes(kind, 0))
    written = convert(write_folder(tmp_path / "no", config | {"mtp_num_hidden_layers": 1}, none), tmp_path / "m.gguf")
    assert "config.json speaks of 1 MTP layers, and the folder has no tensors of one" in written.notes
