"""Help of every command, and defaults that are those of the code behind."""

import inspect

import pytest
from tools.cli_reference import commands

from outpace.cli.chat import chat
from outpace.cli.run import run
from outpace.config import RunConfig
from outpace.sampling.params import SamplingParams

NAMES = (
    "run",
    "chat",
    "inspect",
    "doctor",
    "pull",
    "convert",
    "graft attach",
    "graft detach",
    "graft measure",
    "graft train",
    "graft tune",
    "bench width",
    "bench prefill",
    "bench decode",
)


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_option(outpace, name, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    code, out, _ = outpace(*name.split(), "--help")
    assert code == 0
    for parameter in commands()[name].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option in out, f"{name}: {option}"


def test_commands_are_these() -> None:
    assert set(commands()) == set(NAMES)


def test_help_of_all(outpace) -> None:
    code, out, _ = outpace("-h")
    assert code == 0 and all(name.split()[0] in out for name in NAMES)


def test_version(outpace) -> None:
    import outpace as package

    assert outpace("--version") == (0, f"outpace {package.__version__}\n", "")


SETTINGS = {"temp": "temperature", "typical": "typical_p"}


@pytest.mark.parametrize("command", [run, chat])
def test_defaults_are_those_of_the_code(command) -> None:
    params, config = SamplingParams(), RunConfig()
    for name, parameter in inspect.signature(command).parameters.items():
        field = SETTINGS.get(name, name)
        for settings in (params, config):
            if hasattr(settings, field) and parameter.default is not None:
                assert parameter.default == getattr(settings, field), name


def test_stub_of_the_native_module_is_current() -> None:
    from tools.stubs import STUB, stub

    assert stub() == STUB.read_text()
