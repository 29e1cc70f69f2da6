"""Cost and state of a SmolLM2-135M on paper, against numbers worked out by hand."""

from tests.support.paper import PaperWeights

from outpace.gguf.types import GGMLType
from outpace.graph.cost import KVSpec, state_spec, step_cost
from outpace.graph.passes import optimise
from outpace.graph.trace import trace
from outpace.models import llama
from outpace.models.dense import Config

CONFIG = Config(
    arch="llama",
    n_layers=30,
    n_mtp=0,
    d_model=576,
    d_ff=1536,
    n_heads=9,
    n_kv_heads=3,
    head_dim=64,
    n_vocab=49152,
    n_ctx_train=8192,
    norm_eps=1e-5,
    rope_dims=64,
    rope_base=1e5,
    rope_scale=1.0,
)


def kind(name: str) -> GGMLType:
    if "norm" in name:
        return GGMLType.F32
    return GGMLType.Q8_0 if name == "token_embd.weight" else GGMLType.Q4_1


def absent(name: str) -> bool:
    return name in ("output.weight", "rope_freqs.weight") or name.endswith(".bias")


TRACED = trace("trunk", lambda ops: llama.trunk(ops, PaperWeights(kind, absent), CONFIG))


def test_the_passes_only_move_work_to_the_wanted_rows():
    before, after = step_cost(TRACED), step_cost(optimise(TRACED))
    # The last layer's queries, output projection and feed-forward run for the wanted rows alone.
    late = 2 * 331_776 + 3 * 884_736
    assert after.weight_bytes == before.weight_bytes
    assert (before.macs_per_row - after.macs_per_row, after.macs_per_wanted - before.macs_per_wanted) == (late, late)


def test_cost_by_hand():
    cost = step_cost(TRACED)
    # A layer: q and output 576 * 576 each, k and v 192 * 576 each, three of 576 * 1536.
    assert cost.macs_per_row == 30 * (2 * 331_776 + 2 * 110_592 + 3 * 884_736)
    assert cost.macs_per_wanted == 49152 * 576
    # Q4_1 takes 20 bytes for 32 values, the tied head in Q8_0 takes 34.
    assert cost.weight_bytes == 106_168_320 * 20 // 32 + 28_311_552 * 34 // 32


def test_state_by_hand():
    spec = state_spec(TRACED)
    assert spec.kv == tuple(KVSpec(layer, 3, 64) for layer in range(30))
    # 2 * 3 * 64 values a layer; q8_0 adds two bytes for each 32.
    assert [spec.kv[0].bytes_per_token(kind) for kind in ("f16", "q8_0")] == [384 * 2, 384 + 12 * 2]
    assert spec == state_spec(optimise(TRACED))


def test_a_head_that_is_no_multiple_of_32_still_has_whole_scales():
    assert KVSpec(0, 2, 80).bytes_per_token("q8_0") == 2 * 2 * 80 + 2 * 2 * 2 * 3
    assert KVSpec(0, 2, 80).bytes_per_token("q4_0") == 2 * 2 * 40 + 2 * 2 * 2 * 3
