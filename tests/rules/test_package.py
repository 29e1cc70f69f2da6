"""What an installed package has: its texts, and the heads that come with it, which no rule about *.gguf leaves out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = "from scikit_build_core.build import build_wheel; build_wheel('wheels', {'wheel.cmake': 'false'})"


def test_a_wheel_has_the_heads_and_texts(tmp_path: Path) -> None:
    for name in ("pyproject.toml", ".gitignore", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    kept = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=kept)
    heads = tmp_path / "src" / "outpace" / "hub" / "heads"
    heads.mkdir(exist_ok=True)
    (heads / "one.gguf").write_bytes(b"GGUF")
    (tmp_path / "src" / "outpace" / "stray.gguf").write_bytes(b"GGUF")
    subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    found = set(zipfile.ZipFile(wheel).namelist())
    assert "outpace/stray.gguf" not in found
    wanted = [*heads.iterdir(), *(ROOT / "src" / "outpace" / "graft" / "texts").iterdir()]
    assert found >= {f"outpace/{path.parts[-3]}/{path.parts[-2]}/{path.name}" for path in wanted}
