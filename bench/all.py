"""Everything that `make bench` shows, one after the other; the peer only where `--peer` or its variable names it.

The random files of about a billion parameters are written once, into the cache folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from bench import harness, peer
from bench.harness import say
from bench.random_gguf import write_random_llama
from outpace import env
from outpace.gguf.types import GGMLType
from outpace.spread import LEAST_ROUNDS

SMALL = "smollm2-135m"
TYPES = (GGMLType.Q4_0, GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.Q8_0)


def random_files(folder: Path, types: tuple[GGMLType, ...]) -> list[Path]:
    """Return the random models, those that are missing written first."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for kind in types:
        path = folder / f"random-llama-1b-{kind.name}.gguf"
        if not path.exists():
            say(f"writing {path}")
            part = path.with_suffix(".part")
            write_random_llama(part, type=kind)
            part.replace(path)
        found.append(path)
    return found


def benches(files: list[Path], rounds: int, other: peer.Peer | None) -> dict[str, list[object]]:
    """Return the benches with their arguments, in order."""
    against = ["--peer", other.folder] if other else []
    return {
        "speed": [*files, SMALL, "--rounds", rounds, *against],
        "quality": [SMALL, *against],
        "same_text": [SMALL, "--quick"],
        "never_slower": [SMALL, "--rounds", rounds],
        "python_share": [SMALL],
        "memory": [SMALL, files[0]] if files else [SMALL],
        "startup": [SMALL],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer.add_option(parser)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--only", help="some of the benches, with commas")
    parser.add_argument("--types", default=",".join(kind.name for kind in TYPES), help="of the random files")
    args = parser.parse_args()
    other = peer.chosen(args.peer, harness.cpus())
    files = random_files(env.read().cache / "bench", tuple(GGMLType[name] for name in args.types.split(",") if name))
    chosen = benches(files, args.rounds, other)
    unknown = [name for name in (args.only or "").split(",") if name and name not in chosen]
    if unknown:
        raise SystemExit(f"no bench {unknown[0]!r}; there are {', '.join(chosen)}")
    ended: dict[str, int] = {}
    began = time.perf_counter()
    for name, arguments in chosen.items():
        if args.only and name not in args.only.split(","):
            continue
        print(f"\n== {name}", flush=True)
        run = subprocess.run(
            [sys.executable, "-m", f"bench.{name}", *map(str, arguments)], check=False, cwd=harness.ROOT
        )
        ended[name] = run.returncode
    failed = [name for name, code in ended.items() if code]
    minutes = (time.perf_counter() - began) / 60
    print(f"\n{len(ended)} benches in {minutes:.1f} min; " + (f"failed: {', '.join(failed)}" if failed else "all ran"))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
