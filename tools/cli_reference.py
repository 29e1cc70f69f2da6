"""The command line's reference page, from the same declarations that `--help` prints."""

from __future__ import annotations

import re
from typing import Any

from outpace import errors
from outpace.cli.main import INTERRUPTED


def command_line(made: str) -> str:
    """Return the page of commands; `made` is the line that says where it comes from."""
    root = commands()
    out = ["# Command line\n\n", made, "`outpace COMMAND --help` prints the same.\n"]
    out += [_section(name, command) for name, command in root.items()]
    return "".join([*out, _exit_codes()])


def _exit_codes() -> str:
    """Return the table of what a command's exit code says, from the errors' own words."""
    said: dict[int, list[str]] = {0: ["Done."]}
    for cls, (code, _) in errors.STATUS.items():
        text = (cls.__doc__ or "").split("\n")[0].split(";")[0].rstrip(".")
        said.setdefault(code, []).append(f"{text}.")
    said[1] = ["Texts that must be the same differ (`bench`, `graft measure`), or something else went wrong."]
    said[INTERRUPTED] = ["Interrupted from the keyboard."]
    rows = "".join(f"| {code} | {' '.join(texts)} |\n" for code, texts in sorted(said.items()))
    return f"\n## Exit codes\n\nAn error is one line on standard error.\n\n| code | what it says |\n|---|---|\n{rows}"


def commands() -> dict[str, Any]:
    """Return every command by the words it is called with, groups left out."""
    import typer

    from outpace.cli.main import program

    return dict(_walk("", typer.main.get_command(program())))


def _walk(prefix: str, command: Any) -> list[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if not children:
        return [(prefix.strip(), command)]
    return [found for name, child in children.items() for found in _walk(f"{prefix} {name}", child)]


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(["outpace", name, *(_metavar(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(_metavar(a), _cell(getattr(a, "help", "")), "") for a in arguments]
    rows += [(_spelling(o), _cell(o.help), _default(o)) for o in options]
    table = "".join(f"| {spelling} | {text} | {default} |\n" for spelling, text, default in _ticked(rows))
    text = (command.help or "").replace("\b\n", "").strip()
    head = "| option | what it does | default |\n|---|---|---|\n" if rows else ""
    return f"\n## outpace {name}\n\n{text}\n\n```text\n{usage}\n```\n" + (f"\n{head}{table}" if rows else "")


def _ticked(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [(f"`{a}`", b, f"`{c}`" if c else "") for a, b, c in rows]


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _spelling(option: Any) -> str:
    return ", ".join([*option.opts, *option.secondary_opts])


def _default(option: Any) -> str:
    plain = option.default is None or option.default is False or callable(option.default) or option.is_flag
    return "" if plain or option.default in ((), [], "") else _cell(str(option.default))


def _cell(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").replace("|", "\\|").strip()
