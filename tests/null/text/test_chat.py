"""Chat templates: which one is taken, what it may use, and what is said when it fails."""

from datetime import datetime, timedelta

import pytest
from tests.support.toy_metadata import ToyMetadata, toy_gpt2

from outpace.errors import RequestError
from outpace.text import ChatTemplate

HI = [{"role": "user", "content": "hi"}]


def template(text, **more):
    return ChatTemplate.from_metadata(toy_gpt2(chat_template=text, **more))


def test_the_file_s_template_is_taken():
    chat = template("{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}")
    assert chat.source == "file" and chat.names == ("default",)
    assert chat.render(HI) == "<|im_start|>user: hi<|im_end|>"


def test_blocks_are_trimmed_and_loops_controlled():
    chat = template("{% for m in [1, 2, 3] %}\n  {% if m == 3 %}{% break %}{% endif %}\n{{ m }}\n{% endfor %}\nend")
    assert chat.render(HI) == "1\n2\nend"


def test_arguments_pass_through():
    chat = template(
        "{{ enable_thinking is defined }} {{ enable_thinking }} {{ add_generation_prompt }} {{ tools is none }}"
    )
    assert chat.render(HI, enable_thinking=False) == "True False True True"
    assert chat.render(HI, add_generation_prompt=False) == "False  False True"


def test_json_is_plain():
    chat = template("{{ tools | tojson }}|{{ tools | tojson(indent=1) }}")
    assert (
        chat.render(HI, tools=[{"b": "<é>'", "a": 1}])
        == '[{"b": "<é>\'", "a": 1}]|[\n {\n  "b": "<é>\'",\n  "a": 1\n }\n]'
    )


def test_generation_blocks_are_plain_text():
    assert template("a{% generation %}{{ messages[0].content }}{% endgeneration %}b").render(HI) == "ahib"


def test_today():
    before = datetime.now().astimezone()
    said = template("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}").render(HI)
    told = datetime.strptime(said, "%Y-%m-%d %H:%M:%S").astimezone()
    assert timedelta(seconds=-1) < told - before < timedelta(minutes=1)


def test_named_templates():
    more = {"chat_template__tool_use": "tools", "chat_template__rag": "rag {{ documents | length }}"}
    chat = template("plain", **more)
    assert chat.names == ("default", "tool_use", "rag")
    assert chat.render(HI) == "plain"
    assert chat.render(HI, tools=[{}]) == "tools"
    assert chat.render(HI, template="rag", documents=[1, 2]) == "rag 2"
    with pytest.raises(
        RequestError, match=r"no chat template 'tool'; did you mean 'tool_use'\? \(it has: default, tool_use, rag\)"
    ):
        chat.render(HI, template="tool")


def test_without_a_template_chatml_if_its_tokens_exist():
    chat = ChatTemplate.from_metadata(toy_gpt2())
    assert chat.source == "chatml"
    assert chat.render(HI) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert chat.render(HI, add_generation_prompt=False) == "<|im_start|>user\nhi<|im_end|>\n"


def test_without_a_template_or_its_tokens_there_is_none():
    metadata = ToyMetadata({"tokenizer.ggml.tokens": ("a",)})
    assert ChatTemplate.from_metadata(metadata) is None
    with pytest.raises(RequestError, match="the file has no chat template; use --raw"):
        ChatTemplate.require(metadata)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refuses these messages: roles must alternate"),
        ("{% for %}", r"does not parse \(line 1: .*use --raw"),
        ("{{ messages[0]['content'] + 1 }}", "fails on these messages: TypeError"),
        ("{{ nothing.here }}", "refuses these messages: 'nothing' is undefined"),
        ("{{ 1 / 0 }}", "fails on these messages: ZeroDivisionError"),
        ("{{ messages.append(1) }}", "refuses these messages: .*not safely callable|unsafe"),
        ("{{ ''.__class__.__mro__ }}", "refuses these messages: access to attribute '__class__'.* is unsafe"),
        ("{{ range(1000000000) | list }}", "fails on these messages: OverflowError"),
        ("{{ messages | tojson }}{{ strftime_now(1) }}", "fails on these messages: TypeError"),
    ],
)
def test_failures_are_sentences(text, message):
    with pytest.raises(RequestError, match=message):
        template(text).render(HI)
