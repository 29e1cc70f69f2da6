"""P1 of models with a draft head: tiny files of the Qwen3.5 family, and every way of running them must write the same.

`python -m bench.same_text_hybrid` writes files with random weights, whose head is never right or often right, and runs
the full product of drafters and depths, temperatures, threads and company; mixtures of experts in a smaller one. With
`--peer DIR` greedy text of F32 and F16 files is compared with llama.cpp's too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness, peer_text
from bench import peer as peers
from bench.harness import say, table
from bench.random_hybrid import write_random_hybrid
from bench.same_text import FACTORS, Difference, Runner, compare, every
from bench.tasks.prompts import Prompt, some
from outpace import _native

DRAFTERS = ("none", "mtp 1", "mtp 2", "mtp 3", "mtp 5", "mtp 8", "auto", "suffix+mtp", "suffix+mtp 5")
FEW_DRAFTERS = ("none", "mtp 3", "auto")
TEMPERATURES = (0.0, 0.8)


@dataclass(frozen=True, slots=True)
class File:
    """A tiny file.

    Attributes:
        arch: Its architecture.
        type: A type or mix.
        aligned: How often its head agrees with the trunk; None for never.
    """

    arch: str
    type: str
    aligned: float | None = None

    def __str__(self) -> str:
        return f"{self.arch} {self.type}, " + ("random head" if self.aligned is None else f"head at {self.aligned}")

    def write(self, folder: Path) -> Path:
        """Write it into a folder and return its path."""
        return write_random_hybrid(folder / "tiny.gguf", arch=self.arch, type=self.type, mtp_aligned=self.aligned)


HEADS = (None, 0.7)
DENSE = tuple(File("qwen35", kind, head) for kind in ("F16", "Q8_0", "Q4_K_M") for head in HEADS)
MIXTURES = tuple(File(arch, "Q8_0", 0.7) for arch in ("qwen35moe", "qwen3next"))
PEER_FILES = tuple(File("qwen35", kind, head) for kind in ("F32", "F16") for head in HEADS)


@dataclass(frozen=True, slots=True)
class Product:
    """What came of all ways of running one file.

    Attributes:
        n_texts: Texts compared, the plain ones among them.
        n_tokens: Their tokens.
        differences: Texts that came out otherwise.
        drafts: Tokens drafted and accepted, by drafter.
    """

    n_texts: int
    n_tokens: int
    differences: list[Difference]
    drafts: dict[str, tuple[int, int]]


def run(path: Path, prompts: Sequence[Prompt], n_tokens: int, drafters: Sequence[str], kv: Sequence[str]) -> Product:
    """Run a file in every way and compare with plain decoding, alone, on one thread."""
    tier = _native.supported_tiers()[0]
    given = {"tier": (tier,), "kv": tuple(kv), "drafter": tuple(drafters), "temperature": TEMPERATURES}
    cells = every(FACTORS | given)
    runner = Runner(path, prompts, n_tokens)
    try:
        differences = compare(runner, cells, tier, prompts)
        n_written = sum(len(tokens) for cell in cells for tokens in runner(cell))
        return Product(len(cells) * len(prompts), n_written, differences, runner.drafts)
    finally:
        runner.close()


def products(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Difference]]:
    """Run every file and print a row for each."""
    rows, found, differences = [], [], []
    prompts = some(args.prompts)
    for file in (*DENSE, *MIXTURES):
        if file.arch not in (args.archs or file.arch).split(",") or file.type not in (args.types or file.type).split(
            ","
        ):
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="outpace-bench-") as folder:
            drafters = DRAFTERS if file in DENSE else FEW_DRAFTERS
            one = run(file.write(Path(folder)), prompts, args.tokens, drafters, args.kv.split(","))
        seconds = time.perf_counter() - began
        n_drafted, n_accepted = (sum(each[i] for each in one.drafts.values()) for i in range(2))
        say(f"{file}: {one.n_texts} texts, {len(one.differences)} differ, {seconds:.0f} s")
        rows.append([file, one.n_texts, one.n_tokens, n_drafted, n_accepted, len(one.differences)])
        told = {"texts": one.n_texts, "tokens": one.n_tokens, "different": len(one.differences), "drafts": one.drafts}
        found.append({"file": str(file)} | told)
        differences += one.differences
    print(table(rows, ["file", "texts", "tokens", "drafted", "accepted", "different"]))
    return found, differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", help="with commas; all where it is left out")
    parser.add_argument("--types", help="as well")
    parser.add_argument("--kv", default="f16", help="with commas")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--peer-only", action="store_true", help="only the comparison with llama.cpp")
    peers.add_option(parser)
    args = parser.parse_args()
    peer = peers.chosen(args.peer, harness.cpus())
    found, differences = ([], []) if args.peer_only else products(args)
    for difference in differences[:20]:
        print(f"  {difference}")
    result: dict[str, Any] = {
        "texts": sum(one["texts"] for one in found),
        "tokens": sum(one["tokens"] for one in found),
        "different": len(differences),
        "files": found,
        "card": harness.card(),
    }
    if peer is not None:
        with tempfile.TemporaryDirectory(prefix="outpace-bench-") as folder:
            answers = [
                peer_text.compare(peer, file.write(Path(folder)), str(file), prompt, args.tokens)
                for file in PEER_FILES
                for prompt in some(args.prompts)
            ]
        print(peer_text.shown(answers))
        result["peer"] = {"version": peer.version(), "answers": [one.as_json() for one in answers]}
    harness.finish("same_text_hybrid", result, {"differences": [str(each) for each in differences]})
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
