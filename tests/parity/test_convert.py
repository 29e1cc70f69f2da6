"""Folders that transformers writes, through `convert`: its logits from our reference, and its values in the file."""

import numpy as np
import pytest

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.convert.conversion import convert
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

torch = pytest.importorskip("torch", reason="needs torch and transformers")
transformers = pytest.importorskip("transformers")

N = 100
TOKENS = [int(token) for token in np.random.default_rng(3).integers(0, 64, N)]
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
HYBRID = {
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
EXPERTS = {
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
}
MODELS = {
    "llama": ("Llama", {}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "llama with biases": ("Llama", {"attention_bias": True}),
    "llama 3.1": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
    "qwen3": ("Qwen3", {}),
    "qwen3 tied": ("Qwen3", {"tie_word_embeddings": True}),
    "qwen3.5": ("Qwen3_5", HYBRID),
    "qwen3.5 with experts": ("Qwen3_5Moe", HYBRID | EXPERTS),
    "qwen3-next": ("Qwen3Next", HYBRID | EXPERTS),
}


def made(family, **more):
    """A model with random weights, norms and biases among them."""
    torch.manual_seed(0)
    config = f"{family}TextConfig" if family.startswith("Qwen3_5") else f"{family}Config"
    model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, config)(**SIZES | more))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.ndim > 1 else 0.3))
    return model.eval()


def logits(path):
    with open_gguf(path) as file:
        n_pages = -(-N // PAGE)
        executable = ReferenceBackend().compile(load_plan(file).plan, file, Limits(N, N, n_pages, "f32"))
        segment = Segment(0, N, np.arange(n_pages, dtype=np.int32))
        return executable.run(Step(TOKENS, [segment], range(N))).logits.copy()


@pytest.mark.parametrize("name", MODELS)
def test_logits(tmp_path, name):
    family, changes = MODELS[name]
    model = made(family, **changes)
    model.save_pretrained(tmp_path / "m", max_shard_size="20KB")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 1
    convert(tmp_path / "m", tmp_path / "m.gguf", type="F32")
    with torch.inference_mode():
        theirs = model(torch.tensor([TOKENS])).logits[0].numpy()
    ours = logits(tmp_path / "m.gguf")
    assert (np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max() < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_folder_in_half_precision_keeps_its_values(tmp_path, dtype):
    model = made("Qwen3").to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "m")
    convert(tmp_path / "m", tmp_path / "m.gguf", type={"bfloat16": "BF16", "float16": "F16"}[dtype])
    # Read anew: rounding the model has rounded its rotary frequencies too, which are in no file.
    again = type(model).from_pretrained(tmp_path / "m", dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        theirs = again(torch.tensor([TOKENS])).logits[0].numpy()
    ours = logits(tmp_path / "m.gguf")
    assert (np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max() < 1e-4
