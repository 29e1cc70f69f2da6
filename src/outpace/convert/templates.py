"""A folder's chat templates as keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from outpace.convert.settings import read_json
from outpace.errors import ModelFileError
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed


def template_keys(folder: Path) -> dict[str, Any]:
    """Return the chat template and, where there are several, the others under their names.

    Raises:
        ModelFileError: A template is no text.
    """
    file = folder / "chat_template.jinja"
    if file.exists():
        try:
            return {"tokenizer.chat_template": file.read_text(encoding="utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFileError(file, f"cannot be read: {error}") from None
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = read_json(folder / name).get("chat_template")
        if template is not None:
            return _named(folder / name, template)
    return {}


def _named(path: Path, template: Any) -> dict[str, Any]:
    listed = template if isinstance(template, list) else [{"name": "default", "template": template}]
    found: dict[str, Any] = {}
    others = []
    for each in listed:
        name, text = (each.get("name"), each.get("template")) if isinstance(each, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str):
            raise ModelFileError(path, "expected a text, or a list of names and texts", "'chat_template'")
        if name == "default":
            found["tokenizer.chat_template"] = text
        else:
            others.append(name)
            found[f"tokenizer.chat_template.{name}"] = text
    if others:
        found["tokenizer.chat_templates"] = Typed(ValueType.STRING, others)
    return found
