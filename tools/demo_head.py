"""The head that comes with outpace for the demo's model: taken into the package, or trained again.

`python -m tools.demo_head keep HEAD --report OUT.report.json [--measured FILE]` checks a head that `outpace graft
train --head-only` wrote, copies it to its place, writes its checksums into the catalogue and makes its page.
`--measured` is what `outpace graft measure --json` printed of it. `python -m tools.demo_head make` (`make head`) trains
one with the settings of the head that is there, or with the command's own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path
from typing import Any

from tools import card

from outpace import hub
from outpace.cli.progress import Meter
from outpace.gguf.file import open_gguf
from outpace.hub import catalogue
from outpace.hub.cache import sha256_of, silent
from outpace.hub.catalogue import Head
from outpace.hub.joined import write_joined
from outpace.models import load_plan

ROOT = Path(__file__).parent.parent
CATALOGUE = ROOT / "src" / "outpace" / "hub" / "catalogue.py"
MODEL, FILE = "smollm2-135m", "smollm2-135m-mtp.gguf"
MOST_BYTES = 6_000_000


def described(head: Path, trunk: Path, name: str) -> tuple[Head, dict[str, Any]]:
    """Return a head as the catalogue has it under a name, and what its tensors are; both files are read.

    Raises:
        SystemExit: It is larger than a repository should hold.
        OutpaceError: It does not fit the trunk.
    """
    n_bytes = head.stat().st_size
    if n_bytes > MOST_BYTES:
        raise SystemExit(f"{head} has {n_bytes} bytes; at most {MOST_BYTES} are kept (a smaller --type?)")
    with tempfile.TemporaryDirectory() as folder:
        joined = Path(folder) / "joined.gguf"
        write_joined(joined, trunk, head, silent)
        with open_gguf(joined) as file:
            found = load_plan(file)
            if found.draft is None or found.unused:
                raise SystemExit(f"{head} is no head that drafts for {trunk}")
        entry = Head(name, sha256_of(head), n_bytes, sha256_of(joined), joined.stat().st_size)
    with open_gguf(head) as file:
        types = dict.fromkeys(info.type.name for info in sorted(file.tensors.values(), key=lambda info: -info.n_bytes))
        n_parameters = sum(prod(info.shape) for info in file.tensors.values())
    return entry, {"parameters": n_parameters, "types": list(types)}


def record(report: dict[str, Any], measured: dict[str, Any] | None, about: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept beside a head: its settings without paths, and how it fared.

    Raises:
        SystemExit: The report is of something that the page would not be true of.
    """
    settings = report["settings"]
    if settings["prompts"] is not None:
        raise SystemExit(f"the head was trained on the prompts of {settings['prompts']}; only shipped ones can be told")
    if measured is not None and measured["depth"] != report["before"]["depth"]:
        raise SystemExit(f"measured at depth {measured['depth']}, and the report is of {report['before']['depth']}")
    for each in (report["after"], measured or report["after"]):
        if not each["same_text"]:
            raise SystemExit("the texts differ with this head; that is to be mended first")
    kept = {name: value for name, value in settings.items() if name not in card.OWN}
    card.options(kept)
    return about | {"settings": kept, "before": report["before"], "after": report["after"], "measured": measured}


def with_head(source: str, name: str, head: Head) -> str:
    """Return the catalogue's source with a head in the entry of this name, in place of any that it has."""
    found = re.search(rf'    Entry\(\n        name="{re.escape(name)}",\n.*?\n    \),\n', source, re.DOTALL)
    if found is None:
        raise SystemExit(f"{CATALOGUE} has no entry {name}")
    bare = re.sub(r"        head=Head\(\n.*?\n        \),\n", "", found[0], flags=re.DOTALL)
    lines = [
        f'file="{head.file}"',
        f'sha256="{head.sha256}"',
        f"bytes={head.bytes:_}",
        f'joined_sha256="{head.joined_sha256}"',
        f"joined_bytes={head.joined_bytes:_}",
    ]
    told = "".join(f"            {line},\n" for line in lines)
    entry = bare.removesuffix("    ),\n") + f"        head=Head(\n{told}        ),\n    ),\n"
    return source.replace(found[0], entry)


def keep(head: Path, report: Path, measured: Path | None) -> None:
    """Take a head into the package."""
    with Meter() as meter:
        trunk = hub.resolve(MODEL, progress=meter, is_bare=True)
    entry, about = described(head, trunk, FILE)
    told = json.loads(measured.read_text().splitlines()[-1]) if measured else None
    found = record(json.loads(report.read_text()), told, about)
    catalogue.HEADS.mkdir(exist_ok=True)
    target = catalogue.HEADS / FILE
    target.write_bytes(head.read_bytes())
    card.record_path(target).write_text(json.dumps(found, indent=1) + "\n")
    CATALOGUE.write_text(with_head(CATALOGUE.read_text(), MODEL, entry))
    subprocess.run([sys.executable, "-m", "tools.reference"], check=True, cwd=ROOT)
    print(f"{target.relative_to(ROOT)}, {entry.bytes} bytes; the catalogue and docs/reference are written")


def make(folder: Path) -> None:
    """Train a head with the settings of the one that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = card.record_path(catalogue.HEADS / FILE)
    settings = json.loads(beside.read_text())["settings"] if beside.exists() else {}
    out, head = folder / "model.gguf", folder / "head.gguf"
    arguments = ["graft", "train", MODEL, "-o", str(out), "--head-only", str(head), *card.options(settings)]
    subprocess.run([sys.executable, "-m", "outpace", *arguments], check=True)
    print(f"python -m tools.demo_head keep {head} --report {out}.report.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    keeping = commands.add_parser("keep", help="take a head into the package")
    keeping.add_argument("head", type=Path)
    keeping.add_argument("--report", type=Path, required=True, help="what `outpace graft train` wrote beside OUT")
    keeping.add_argument("--measured", type=Path, help="what `outpace graft measure --json` printed")
    making = commands.add_parser("make", help="train one; goes on where it was stopped")
    making.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "head")
    args = parser.parse_args()
    if args.command == "keep":
        keep(args.head, args.report, args.measured)
    else:
        make(args.folder)


if __name__ == "__main__":
    main()
