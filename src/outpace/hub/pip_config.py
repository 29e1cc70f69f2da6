"""What pip is configured to use: its indexes, folders of wheels, certificates and proxy."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from outpace.hub.download import Client

_DEFAULT_INDEX = "https://pypi.org/simple"
_OFF = ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class PipConfig:
    """Where pip looks, in its order.

    Attributes:
        indexes: Addresses of indexes that speak the simple API.
        find_links: Folders of wheels, or addresses of pages that link to wheels.
        client: How to reach them.
    """

    indexes: tuple[str, ...]
    find_links: tuple[str, ...]
    client: Client


def read(environ: Mapping[str, str] = os.environ) -> PipConfig:
    """Return pip's configuration: its files as pip itself reads them, its variables, its default index."""
    settings = parse(_pip_config_list()) | {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }
    indexes = [settings.get("index-url", _DEFAULT_INDEX), *settings.get("extra-index-url", "").split()]
    if settings.get("no-index", "").lower() not in _OFF:
        indexes = []
    timeout = settings.get("default-timeout", settings.get("timeout", ""))
    client = Client(
        cert=settings.get("cert", ""),
        proxy=settings.get("proxy", ""),
        trusted_hosts=tuple(host.partition(":")[0] for host in settings.get("trusted-host", "").split()),
        timeout_s=min(float(timeout), 60.0) if timeout.replace(".", "", 1).isdigit() else 60.0,
    )
    return PipConfig(tuple(indexes), tuple(settings.get("find-links", "").split()), client)


def parse(listing: str) -> dict[str, str]:
    """Return the settings that apply to a download, from the lines that `pip config list` prints."""
    sections: dict[str, dict[str, str]] = {"global": {}, "download": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if section in sections:
            try:
                sections[section][name] = str(ast.literal_eval(value.strip()))
            except (ValueError, SyntaxError):
                sections[section][name] = value.strip()
    return sections["global"] | sections["download"]


def _pip_config_list() -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""  # an environment without pip: its variables and its default index still hold
