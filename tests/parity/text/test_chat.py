"""Chat templates render what transformers renders."""

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from outpace.errors import RequestError
from outpace.gguf.file import open_gguf
from outpace.text import ChatTemplate

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Wie heißt du? <é>\n"},
    {"role": "assistant", "content": "Ich?", "tool_calls": [{"function": {"name": "f", "arguments": {"x": "é<>&'"}}}]},
    {"role": "tool", "content": "42"},
    {"role": "user", "content": "fin"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
# The habits of well-known templates, one or two in each.
TEMPLATES = {
    "namespace, slices, strip": (
        "{%- set ns = namespace(system='') -%}\n"
        "{%- if messages[0]['role'] == 'system' %}{% set ns.system = messages[0]['content'] %}"
        "{% set messages = messages[1:] %}{% endif %}\n"
        "{{ bos_token + ns.system }}\n"
        "{% for m in messages %}\n    {% if m['role'] == 'user' %}\n[INST] {{ m['content'] | trim }} [/INST]\n"
        "    {% elif m['role'] == 'assistant' %}\n{{ m['content'].strip() + eos_token }}\n    {% endif %}\n"
        "{% endfor %}\n"
    ),
    "tools and calls as JSON": (
        "{% if tools is defined and tools %}{{ tools | tojson(indent=2) }}\n{% endif %}"
        "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' }}{% if m.tool_calls %}{% for c in m.tool_calls %}"
        "{{ c.function.arguments | tojson }}{% endfor %}{% endif %}{{ m.content }}{% endfor %}"
    ),
    "arguments with defaults, loop variables, continue": (
        "{%- if enable_thinking is defined and enable_thinking is false %}no {% endif -%}\n"
        "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
        "{{ loop.index0 }}{{ '.' if loop.last else ',' }}{{ m.content.split('?')[-1].lstrip('\\n') }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    "macros, tests, generation blocks": (
        "{% macro show(x) %}{% if x is string %}{{ x }}{% elif x is mapping %}{{ x | items | list }}{% endif %}"
        "{% endmacro %}"
        "{% for m in messages[::-1] %}{% generation %}{{ show(m.content) }}{% endgeneration %}"
        "{{ show({'a': 1}) }}{% endfor %}"
    ),
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def theirs(text, messages, add_generation_prompt=True, tools=None, **kwargs):
    rendered, _ = render_jinja_template(
        [messages], tools=tools, chat_template=text, add_generation_prompt=add_generation_prompt, **kwargs
    )
    return rendered[0]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(
    "options", [{}, {"add_generation_prompt": False}, {"tools": TOOLS}, {"enable_thinking": False}], ids=str
)
def test_same_prompt_as_transformers(name, options):
    text = TEMPLATES[name]
    ours = ChatTemplate({"default": text}, TOKENS).render(TURNS, **options)
    assert ours == theirs(text, TURNS, **options, **TOKENS)


def test_the_real_file(smollm2_path):
    metadata = open_gguf(smollm2_path).metadata
    chat, text = ChatTemplate.require(metadata), metadata.str("tokenizer.chat_template")
    assert chat.source == "file"
    for messages in (TURNS, TURNS[1:], TURNS[1:2]):
        for add_generation_prompt in (True, False):
            ours = chat.render(messages, add_generation_prompt=add_generation_prompt)
            assert ours == theirs(text, messages, add_generation_prompt)
    with pytest.raises(RequestError, match=r"the chat template .* these messages"):
        chat.render([{"role": "user", "content": None}])
