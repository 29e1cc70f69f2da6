"""What belongs to a trunk's layers and what to its heads, told by names."""

import pytest

from outpace.gguf.heads import is_by_layer, tokens_key


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("llama.attention.head_count_kv", [1, 1, 2], True),
        ("llama.attention.head_count_kv", (1, 1, 2), True),
        ("llama.attention.head_count_kv", [1, 1], False),
        ("llama.attention.head_count_kv", 3, False),
        ("llama.rope.scaling.type", "abc", False),
        ("general.tags", ["a", "b", "c"], False),
        ("llamax.attention.head_count_kv", [1, 1, 2], False),
        # As many tokens as there are layers, by chance.
        (tokens_key("llama", "mtp"), [1, 2, 3], False),
        (tokens_key("llama", "medusa"), [1, 2, 3], False),
    ],
)
def test_a_list_of_the_trunks_layers(key, value, expected):
    assert is_by_layer("llama", key, value, 3) == expected
