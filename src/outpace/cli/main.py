"""The program `outpace`: commands by name, errors in one sentence, exit codes from the table of errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer
from typer.exceptions import TyperException

from outpace.cli.paint import harmless
from outpace.errors import STATUS, OutpaceError, ResourceError, nearest, status_of

USAGE = 2  # exit code for what was typed wrong
INTERRUPTED = 130  # what a shell reports after ^C

# In the order of the help; each a module of this package with a function of its name, or with an `app` of further ones.
COMMANDS = ("run", "chat", "inspect", "doctor", "pull", "convert", "graft", "bench")


def _version(is_asked: bool) -> None:
    if is_asked:
        import outpace

        typer.echo(f"outpace {outpace.__version__}")
        raise typer.Exit


def outpace(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Run open-weight language models from one GGUF file, drafting ahead; the text is that of plain decoding."""


def program(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the program with these of its commands; only their modules are imported."""
    app = typer.Typer(
        name="outpace",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(outpace)
    for name in names:
        module = import_module(f"outpace.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command()(getattr(module, name))
    return app


def call(arguments: Sequence[str]) -> int:
    """Run a command line; return its exit code."""
    # A command that is named by the first word does without the others.
    names = tuple(arguments[:1]) if set(arguments[:1]) & set(COMMANDS) else COMMANDS
    try:
        done = program(names)(list(arguments), prog_name="outpace", standalone_mode=False)
    except OutpaceError as error:
        return _fail(str(error), status_of(error)[0])
    except TyperException as error:
        return _fail(_sentence(error), USAGE)
    except OSError as error:
        # A disk that is full or may not be written to, a name too long: what the system says is all there is to say.
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", STATUS[ResourceError][0])
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return done if isinstance(done, int) else 0


def main() -> None:
    """Run the program's own command line and exit."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            # What is half written goes before the process does.
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(call(sys.argv[1:]))


def _fail(sentence: str, code: int) -> int:
    # It may quote a file, which may say anything: it stays one line.
    typer.echo(f"outpace: {harmless(' '.join(sentence.splitlines()))}", err=True)
    return code


def _sentence(error: TyperException) -> str:
    """Return what was typed wrong, with the nearest name where a name was not known."""
    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if context is not None and option is not None and hasattr(error, "possibilities"):
        known = [name for each in context.command.params for name in (*each.opts, *each.secondary_opts)]
        return f"no such option {option}{nearest(option, known)} ({context.command_path} --help lists all)"
    text = error.format_message().strip().rstrip(".")
    if context is not None and not text:
        return f"a command is needed ({context.command_path} --help lists all)"
    return text[:1].lower() + text[1:]
