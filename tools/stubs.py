"""Write the type stub of the native module, or with --check say that it is out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

from outpace import _native

STUB = Path(__file__).parent.parent / "src" / "outpace" / "_native.pyi"


def stub() -> str:
    """Return the stub of the module as it is built."""
    generator = StubGen(_native, quiet=True)
    generator.put(_native)
    text: str = generator.get()
    return text.rstrip() + "\n"


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    found = stub()
    if STUB.is_file() and STUB.read_text() == found:
        return 0
    if check:
        print(f"{STUB.name} is out of date; run .venv/bin/python tools/stubs.py", file=sys.stderr)
        return 1
    STUB.write_text(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
