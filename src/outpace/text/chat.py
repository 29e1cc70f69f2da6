"""Messages to a prompt, by the template a file carries, in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NoReturn

from outpace.errors import RequestError, nearest

if TYPE_CHECKING:
    from jinja2 import Environment

    from outpace.gguf.metadata import Metadata

# The plainest format in wide use, for files that have its tokens but no template of their own.
CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
KEY: Final = "tokenizer.chat_template"


class ChatTemplate:
    """The chat templates of one file.

    Templates run in jinja2's immutable sandbox with what template authors expect of transformers: `raise_exception`,
    `strftime_now`, the `tojson` filter, `break` and `continue`, `generation` blocks, `bos_token` and `eos_token`.

    Attributes:
        source: `file`, or `chatml` where the file has no template but the tokens of that format.
        names: The named templates, `default` among them where the file has one without a name.
    """

    def __init__(
        self, templates: Mapping[str, str], tokens: Mapping[str, str] | None = None, source: str = "file"
    ) -> None:
        self._texts, self._tokens, self.source = dict(templates), dict(tokens or {}), source
        self.names = tuple(self._texts)
        self._compiled: dict[str, Any] = {}

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> ChatTemplate | None:
        """Return the templates of a file.

        A file without one gets ChatML if it has that format's tokens, `<|im_start|>` and `<|im_end|>`; else there is
        nothing to go by, and the answer is None.
        """
        templates = {key.removeprefix(f"{KEY}."): metadata.str(key) for key in metadata if key.startswith(f"{KEY}.")}
        if KEY in metadata:
            templates = {"default": metadata.str(KEY)} | templates
        if templates:
            return cls(templates, _tokens_used(metadata, "".join(templates.values())))
        if {"<|im_start|>", "<|im_end|>"} <= set(metadata.strs("tokenizer.ggml.tokens", ())):
            return cls({"default": CHATML}, source="chatml")
        return None

    @classmethod
    def require(cls, metadata: Metadata) -> ChatTemplate:
        """Return the templates of a file.

        Raises:
            RequestError: It has none, and none can be chosen; says what to do.
        """
        found = cls.from_metadata(metadata)
        if found is None:
            raise RequestError("the file has no chat template; use --raw to give the model the text as it is")
        return found

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Return the prompt for a conversation.

        Args:
            messages: Dictionaries with `role`, `content` and whatever else the template reads.
            add_generation_prompt: End with the opening of the assistant's turn.
            tools: Function descriptions; a file with a `tool_use` template has that used when there are any.
            template: Name of one of the file's templates, instead of the one chosen so.
            kwargs: Passed to the template as they are (`enable_thinking`, `documents`, ...).

        Raises:
            RequestError: The template is not there, does not parse, refuses the messages or fails on them.
        """
        from jinja2.exceptions import TemplateError, TemplateSyntaxError

        name = template or self._choose(tools)
        if name not in self._texts:
            known = ", ".join(self.names)
            raise RequestError(f"the file has no chat template '{name}'{nearest(name, self.names)} (it has: {known})")
        try:
            if name not in self._compiled:
                self._compiled[name] = self._environment.from_string(self._texts[name])
            values = {**self._tokens, "messages": messages, "tools": tools, "documents": None, **kwargs}
            prompt: str = self._compiled[name].render(values, add_generation_prompt=add_generation_prompt)
        except TemplateSyntaxError as error:
            raise RequestError(
                f"the file's chat template does not parse (line {error.lineno}: {error.message}); use --raw instead"
            ) from None
        except TemplateError as error:
            raise RequestError(f"the chat template refuses these messages: {error.message}") from None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise RequestError(f"the chat template fails on these messages: {type(error).__name__}: {error}") from None
        return prompt

    def _choose(self, tools: Sequence[Mapping[str, Any]] | None) -> str:
        if tools and "tool_use" in self._texts:
            return "tool_use"
        return "default" if "default" in self._texts else self.names[0]

    @cached_property
    def _environment(self) -> Environment:
        return _environment()


def _tokens_used(metadata: Metadata, text: str) -> dict[str, str]:
    """Texts of the special tokens a template mentions; the token list is read only if it mentions one."""
    kinds = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {f"{kind}_token": metadata.int(f"tokenizer.ggml.{key}_token_id", None) for kind, key in kinds.items()}
    used = {name: token for name, token in ids.items() if token is not None and name in text}
    tokens = metadata.strs("tokenizer.ggml.tokens", ()) if used else ()
    return {name: tokens[token] for name, token in used.items() if 0 <= token < len(tokens)}


def _environment() -> Environment:
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}...{% endgeneration %}` marks what a model wrote, for training; here it is plain text."""

        tags = {"generation"}  # noqa: RUF012  the name and type are jinja2's

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = to_json  # jinja2's own escapes for HTML
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment
