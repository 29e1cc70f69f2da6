"""Qwen3.5 and Qwen3-Next: keys, names, shapes and values, worked out here head by head; read by gguf-py."""

import json

import gguf
import numpy as np
import pytest
from tests.support.checkpoints import EXPERTS, HYBRID, hybrid_shapes, random_arrays, write_folder, write_hybrid

from outpace.convert.conversion import convert
from outpace.errors import ModelFileError, UnsupportedError

KINDS = {"dense": "qwen35", "separate": "qwen35moe", "fused": "qwen35moe", "next": "qwen3next"}
C = HYBRID
K_HEADS, V_HEADS, WIDTH = C["linear_num_key_heads"], C["linear_num_value_heads"], C["linear_key_head_dim"]
PER_KEY = V_HEADS // K_HEADS
QK = K_HEADS * WIDTH
# Value head h of the file is head TILED[h] of the checkpoint: first the first of each key head, then the second, ...
TILED = [key * PER_KEY + i for i in range(PER_KEY) for key in range(K_HEADS)]


def read(path):
    """Fields and arrays of a file, by gguf-py."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {t.name: np.array(t.data, np.float32).reshape(t.shape[::-1]) for t in reader.tensors}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """Kind, the checkpoint's arrays, and the file's fields and arrays."""
    folder = write_hybrid(tmp_path_factory.mktemp("hybrid") / "model", request.param, n_shards=3)
    path = folder.parent / "out.gguf"
    convert(folder, path, type="F32")
    config = json.loads((folder / "config.json").read_text())
    return request.param, random_arrays(hybrid_shapes(config, request.param)), *read(path)


def heads(array, axis=0):
    """Cut an axis into value heads and put them in the file's order."""
    return np.concatenate([np.split(array, V_HEADS, axis)[head] for head in TILED], axis)


def of_recurrent(kind, arrays, at):
    """What the file has of a gated-delta layer, by FACTS: reordered for Qwen3.5, taken apart for Qwen3-Next."""
    a, d = {name.removeprefix(at): array for name, array in arrays.items()}, C["hidden_size"]
    conv = a["conv1d.weight"][:, 0, :]
    found = {"ssm_norm.weight": a["norm.weight"]}
    if kind == "next":
        rows = a["in_proj_qkvz.weight"].reshape(K_HEADS, -1, d)
        parts = [rows[:, :WIDTH], rows[:, WIDTH : 2 * WIDTH]]
        parts += [rows[:, 2 * WIDTH : (2 + PER_KEY) * WIDTH], rows[:, (2 + PER_KEY) * WIDTH :]]
        q, k, v, z = (part.reshape(-1, d) for part in parts)
        return found | {
            "attn_qkv.weight": np.concatenate([q, k, v]),
            "attn_gate.weight": z,
            "ssm_ba.weight": a["in_proj_ba.weight"],
            "ssm_a": -np.exp(a["A_log"]),
            "ssm_dt.bias": a["dt_bias"],
            "ssm_conv1d.weight": conv,
            "ssm_out.weight": a["out_proj.weight"],
        }
    qkv = a["in_proj_qkv.weight"]
    return found | {
        "attn_qkv.weight": np.concatenate([qkv[: 2 * QK], heads(qkv[2 * QK :])]),
        "attn_gate.weight": heads(a["in_proj_z.weight"]),
        "ssm_alpha.weight": heads(a["in_proj_a.weight"]),
        "ssm_beta.weight": heads(a["in_proj_b.weight"]),
        "ssm_a": -np.exp(heads(a["A_log"])),
        "ssm_dt.bias": heads(a["dt_bias"]),
        "ssm_conv1d.weight": np.concatenate([conv[: 2 * QK], heads(conv[2 * QK :])]),
        "ssm_out.weight": heads(a["out_proj.weight"], axis=1),
    }


def of_mlp(kind, arrays, at):
    names = ("gate", "up", "down")
    if kind == "dense":
        return {f"ffn_{name}.weight": arrays[f"{at}{name}_proj.weight"] for name in names}
    found = {f"ffn_{name}_shexp.weight": arrays[f"{at}shared_expert.{name}_proj.weight"] for name in names}
    found |= {"ffn_gate_inp.weight": arrays[f"{at}gate.weight"]}
    found |= {"ffn_gate_inp_shexp.weight": arrays[f"{at}shared_expert_gate.weight"][0]}
    if kind == "fused":
        both, n = arrays[f"{at}experts.gate_up_proj"], EXPERTS["moe_intermediate_size"]
        found |= {"ffn_gate_exps.weight": both[:, :n], "ffn_up_exps.weight": both[:, n:]}
        return found | {"ffn_down_exps.weight": arrays[f"{at}experts.down_proj"]}
    for name in names:
        each = [arrays[f"{at}experts.{i}.{name}_proj.weight"] for i in range(EXPERTS["num_experts"])]
        found[f"ffn_{name}_exps.weight"] = np.stack(each)
    return found


def of_layer(kind, arrays, at, is_recurrent):
    found = {
        "attn_norm.weight": 1 + arrays[f"{at}input_layernorm.weight"],
        "post_attention_norm.weight": 1 + arrays[f"{at}post_attention_layernorm.weight"],
    }
    found |= of_mlp(kind, arrays, f"{at}mlp.")
    if is_recurrent:
        return found | of_recurrent(kind, arrays, f"{at}linear_attn.")
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    found |= {f"{name}.weight": arrays[f"{at}self_attn.{part}_proj.weight"] for part, name in names.items()}
    return found | {f"attn_{part}_norm.weight": 1 + arrays[f"{at}self_attn.{part}_norm.weight"] for part in "qk"}


def test_every_tensor_has_the_name_shape_and_values(made):
    kind, arrays, _, found = made
    expected = {
        "token_embd.weight": arrays["model.embed_tokens.weight"],
        "output.weight": arrays["lm_head.weight"],
        "output_norm.weight": 1 + arrays["model.norm.weight"],
    }
    for layer in range(4):
        of = of_layer(kind, arrays, f"model.layers.{layer}.", layer != 3)
        expected |= {f"blk.{layer}.{name}": array for name, array in of.items()}
    mtp = of_layer(kind, arrays, "mtp.layers.0.", False)
    mtp |= {
        "nextn.eh_proj.weight": arrays["mtp.fc.weight"],
        "nextn.enorm.weight": 1 + arrays["mtp.pre_fc_norm_embedding.weight"],
        "nextn.hnorm.weight": 1 + arrays["mtp.pre_fc_norm_hidden.weight"],
        "nextn.shared_head_norm.weight": 1 + arrays["mtp.norm.weight"],
    }
    expected |= {f"blk.4.{name}": array for name, array in mtp.items()}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert np.allclose(found[name], array, rtol=1e-6, atol=0), name


def test_names_are_those_gguf_py_has_for_the_architecture(made):
    kind, _, _, found = made
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == KINDS[kind])
    known = {gguf.TENSOR_NAMES[tensor].format(bid=7) for tensor in gguf.MODEL_TENSORS[arch]}
    known |= {f"blk.7.{name}" for name in ("nextn.eh_proj", "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm")}
    for name in found:
        parts = name.split(".")
        stem = ".".join(["blk", "7", *parts[2:]] if parts[0] == "blk" else parts)
        assert stem.removesuffix(".weight").removesuffix(".bias") in known, name


def test_keys(made):
    kind, _, fields, _ = made
    arch = KINDS[kind]
    expected = {
        "block_count": 5,
        "nextn_predict_layers": 1,
        "full_attention_interval": 4,
        "attention.recurrent_layers": [True, True, True, False, False],
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "rope.freq_base": 1e7,
        "rope.dimension_count": 8,
        "ssm.conv_kernel": 4,
        "ssm.state_size": 16,
        "ssm.group_count": 2,
        "ssm.time_step_rank": 6,
        "ssm.inner_size": 96,
        "context_length": 512,
        "embedding_length": 64,
        "vocab_size": 80,
        "feed_forward_length": 96,
    }
    if kind != "dense":
        expected |= {"expert_count": 3, "expert_used_count": 2}
        expected |= {"expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 64}
    if kind != "next":
        expected["rope.dimension_sections"] = [11, 11, 10, 0]
    found = {name.removeprefix(f"{arch}."): value for name, value in fields.items() if name.startswith(f"{arch}.")}
    assert found.pop("attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    assert found == expected
    assert fields["general.architecture"] == arch and fields["general.file_type"] == 0


def test_the_text_part_of_a_multimodal_checkpoint(tmp_path):
    config = HYBRID | {"model_type": "qwen3_5_text"}
    arrays = random_arrays(hybrid_shapes(config))
    inside = {name.replace("model.", "model.language_model.", 1): array for name, array in arrays.items()}
    inside |= {"model.visual.blocks.0.attn.qkv.weight": np.zeros((4, 4), np.float32)}
    whole = {"model_type": "qwen3_5", "text_config": config, "vision_config": {}}
    plain = write_folder(tmp_path / "same", config, arrays)
    convert(plain, tmp_path / "a.gguf", type="F32")
    (tmp_path / "both").mkdir()
    written = convert(write_folder(tmp_path / "both" / "same", whole, inside), tmp_path / "b.gguf", type="F32")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert "1 tensors of parts that are not the text model are left out" in written.notes


def test_a_head_of_its_own_and_the_sections_of_the_configuration(tmp_path):
    config = HYBRID | {"model_type": "qwen3_5_text", "tie_word_embeddings": True}
    config["rope_parameters"] = config["rope_parameters"] | {"mrope_section": [2, 1, 1]}
    shapes = hybrid_shapes(config) | {"mtp.embed_tokens.weight": (80, 64), "mtp.lm_head.weight": (80, 64)}
    arrays = random_arrays(shapes)
    convert(write_folder(tmp_path / "m", config, arrays), tmp_path / "m.gguf", type="F32")
    fields, found = read(tmp_path / "m.gguf")
    assert "output.weight" not in found
    assert np.array_equal(found["blk.4.nextn.embed_tokens.weight"], arrays["mtp.embed_tokens.weight"])
    assert np.array_equal(found["blk.4.nextn.shared_head_head.weight"], arrays["mtp.lm_head.weight"])
    assert fields["qwen35.rope.dimension_sections"] == [2, 1, 1, 0]


def test_without_mtp_layers(tmp_path):
    folder = write_hybrid(tmp_path / "m", n_mtp=0, mtp_num_hidden_layers=1)
    written = convert(folder, tmp_path / "m.gguf", type="F32")
    fields, found = read(tmp_path / "m.gguf")
    assert fields["qwen35.block_count"] == 4 and "qwen35.nextn_predict_layers" not in fields
    assert not any(name.startswith("blk.4.") for name in found)
    assert "config.json speaks of 1 MTP layers, and the folder has no tensors of one" in written.notes


WRONG = [
    ({"n_mtp": 2}, UnsupportedError, "a multi-token-prediction head of '2 layers' is not supported"),
    ({"linear_num_value_heads": 5}, ModelFileError, "5 value heads are no multiple of 2 key heads"),
    ({"layer_types": ["full_attention"]}, ModelFileError, "'layer_types': expected 4 of linear_attention and"),
    ({"hidden_act": "gelu"}, UnsupportedError, "the activation 'gelu' is not supported"),
    ({"hidden_size": None}, ModelFileError, "'hidden_size': expected a whole number from 1, it is missing"),
    ({"hidden_size": True}, ModelFileError, "'hidden_size': expected a whole number from 1, found True"),
    ({"rms_norm_eps": "x"}, ModelFileError, "'rms_norm_eps': expected a number, found 'x'"),
    ({"model_type": "qwen3_6"}, UnsupportedError, "converting a model of model_type 'qwen3_6' is not supported"),
    ({"rope_parameters": {"rope_type": "dynamic"}}, UnsupportedError, "rotary scaling of type 'dynamic'"),
    ({"head_dim": 16}, ModelFileError, "self_attn.q_proj.weight': expected shape [128, 64], found [256, 64]"),
]


@pytest.mark.parametrize(("changes", "error", "sentence"), WRONG, ids=[sentence for _, _, sentence in WRONG])
def test_what_cannot_be_is_said(tmp_path, changes, error, sentence):
    folder = write_hybrid(tmp_path / "m", n_mtp=changes.get("n_mtp", 1))
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(error) as found:
        convert(folder, tmp_path / "m.gguf")
    assert sentence in str(found.value)
    assert not (tmp_path / "m.gguf").exists()


def test_tensors_too_few_and_too_many(tmp_path):
    config = HYBRID | {"model_type": "qwen3_5_text"}
    arrays = random_arrays(hybrid_shapes(config))
    less = {name: array for name, array in arrays.items() if name != "mtp.fc.weight"}
    with pytest.raises(
        ModelFileError, match=r"tensor 'mtp.fc.weight': expected one of shape \[64, 128\], there is none"
    ):
        convert(write_folder(tmp_path / "less", config, less), tmp_path / "m.gguf")
    more = arrays | {"model.layers.0.extra.weight": np.zeros((2, 2), np.float32)}
    with pytest.raises(ModelFileError, match="is not known to have: model"):
        convert(write_folder(tmp_path / "more", config, more), tmp_path / "m.gguf")
