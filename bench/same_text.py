"""P1, the same text: every way of running a prompt must choose the same tokens as plain decoding, alone, on one thread.

`python -m bench.same_text MODEL` runs the full matrix: drafter and depth, temperature, threads, company, KV type and
CPU tier. What has been run with this code and file is not run again, so it can be stopped at any time. `--quick` runs
a choice in which every two values meet, without the portable tier, which is slow. Tiers are compared too, tokens and
logits; where only they differ, that is said apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.harness import say, table
from bench.tasks.prompts import Prompt, some
from outpace import LLM, _native, hub
from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan
from outpace.speculate import FixedDepth

BATCH = 4
CONTEXT = 1024
SEED = 20

FACTORS: dict[str, tuple[Any, ...]] = {
    "tier": (),
    "threads": (1, 2),
    "kv": ("f16", "q8_0"),
    "drafter": ("none", "suffix 1", "suffix 4", "suffix 8", "auto"),
    "company": ("alone", f"batch of {BATCH}"),
    "temperature": (0.0, 0.8, 1.2),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One way of running all prompts; those next to each other in the order of its fields can share a loaded model."""

    tier: str
    threads: int
    kv: str
    drafter: str
    company: str
    temperature: float

    @property
    def plain(self) -> Cell:
        """What it must equal: plain decoding, alone, on one thread, of the same tier."""
        return replace(self, threads=1, drafter="none", company="alone")


def every(factors: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Return the full matrix."""
    return [Cell(*values) for values in itertools.product(*factors.values())]


def pairwise(factors: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Return few cells in which every two values of different factors meet, by greedy choice."""
    cells = [tuple(values) for values in itertools.product(*factors.values())]
    columns = list(itertools.combinations(range(len(factors)), 2))
    pairs = {cell: {(i, j, cell[i], cell[j]) for i, j in columns} for cell in cells}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(cells, key=lambda cell: len(pairs[cell] & missing))
        chosen.append(best)
        missing -= pairs[best]
    return sorted((Cell(*values) for values in chosen), key=str)


class Runner:
    """Runs cells and remembers what they wrote, in a file if there is one.

    State: the model of the last cell; tokens by cell and prompt.

    Attributes:
        n_run: Cells that were run.
        drafts: Tokens drafted and accepted in them, by drafter.
    """

    def __init__(self, path: Path, prompts: Sequence[Prompt], n_tokens: int, memory: Path | None = None) -> None:
        self._path, self._prompts, self._n_tokens, self._memory = path, prompts, n_tokens, memory
        self.drafts: dict[str, tuple[int, int]] = {}
        self._llm: LLM | None = None
        self._loaded: tuple[Any, ...] = ()
        self._known: dict[tuple[Cell, str], list[int]] = {}
        self.n_run = 0
        if memory is not None and memory.exists():
            for line in memory.read_text().splitlines():
                found = json.loads(line)
                if found["n"] == n_tokens:
                    self._known[Cell(**found["cell"]), found["prompt"]] = found["tokens"]

    def __call__(self, cell: Cell) -> list[list[int]]:
        """Return the tokens of every prompt."""
        left = [prompt for prompt in self._prompts if (cell, prompt.name) not in self._known]
        if left:
            self.n_run += 1
            for prompt, tokens in zip(left, self._write(cell, left), strict=True):
                self._known[cell, prompt.name] = tokens
                self._remember(cell, prompt, tokens)
        return [self._known[cell, prompt.name] for prompt in self._prompts]

    def close(self) -> None:
        """Let go of the model."""
        if self._llm is not None:
            self._llm.close()
        self._llm, self._loaded = None, ()

    def _write(self, cell: Cell, prompts: Sequence[Prompt]) -> list[list[int]]:
        llm = self._model(cell)
        n_together = 1 if cell.company == "alone" else BATCH
        found = []
        for at in range(0, len(prompts), n_together):
            # The last batch is filled up with prompts that have been run: company must not matter.
            texts = [prompt.text for prompt in prompts[at : at + n_together]]
            texts += [prompt.text for prompt in self._prompts[: n_together - len(texts)]]
            results = llm.generate(
                texts, max_tokens=self._n_tokens, ignore_eos=True, temperature=cell.temperature, seed=SEED
            )
            found += [result.tokens for result in results]
            n_drafted, n_accepted = self.drafts.get(cell.drafter, (0, 0))
            n_drafted += sum(result.speculation.drafted for result in results)
            n_accepted += sum(result.speculation.accepted for result in results)
            self.drafts[cell.drafter] = n_drafted, n_accepted
        return found[: len(prompts)]

    def _model(self, cell: Cell) -> LLM:
        wanted = (cell.tier, cell.threads, cell.kv, cell.drafter)
        if self._llm is None or wanted != self._loaded:
            self.close()
            name, _, depth = cell.drafter.partition(" ")
            self._llm = LLM(
                self._path,
                backend=lambda threads: CpuBackend(threads=threads, tier=cell.tier),
                policy=FixedDepth(int(depth)) if depth else None,
                threads=cell.threads,
                kv_type=cell.kv,
                spec_type=name,
                context=CONTEXT,
                parallel=BATCH,
            )
            self._loaded = wanted
        return self._llm

    def _remember(self, cell: Cell, prompt: Prompt, tokens: list[int]) -> None:
        if self._memory is not None:
            self._memory.parent.mkdir(exist_ok=True)
            with self._memory.open("a") as file:
                line = {"cell": asdict(cell), "prompt": prompt.name, "n": self._n_tokens, "tokens": tokens}
                file.write(json.dumps(line) + "\n")


@dataclass(frozen=True, slots=True)
class Difference:
    """A text that came out otherwise: where, and from which token on."""

    cell: Cell
    prompt: str
    at: int
    is_tier: bool

    def __str__(self) -> str:
        c = self.cell
        ways = f"{c.drafter}, temperature {c.temperature}, {c.threads} threads, {c.company}, KV {c.kv}, {c.tier}"
        return f"{self.prompt}: from token {self.at} on; {ways}"


def compare(runner: Runner, cells: Iterable[Cell], first_tier: str, prompts: Sequence[Prompt]) -> list[Difference]:
    """Run cells and return what differs from plain decoding.

    A text is first compared with the plain one of the first tier. Where it differs, its own tier's plain text is
    written too: if that is the same, the tiers differ and not the way of running.
    """
    found = []
    for cell in cells:
        ours, expected = runner(cell), runner(replace(cell.plain, tier=first_tier))
        for i, prompt in enumerate(prompts):
            if ours[i] != expected[i]:
                is_tier = cell.tier != first_tier and (cell == cell.plain or ours[i] == runner(cell.plain)[i])
                found.append(Difference(cell, prompt.name, _first(ours[i], expected[i]), is_tier))
    return found


def _first(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def tier_bits(path: Path, tiers: Sequence[str], kv: str, tokens: Sequence[int]) -> dict[str, int]:
    """Return for each tier how many logits of a text differ in their bits from the first tier's."""
    found: dict[str, int] = {}
    first: np.ndarray[Any, Any] | None = None
    n = len(tokens)
    pages = np.arange(-(-n // PAGE), dtype=np.int32)
    for tier in tiers:
        with open_gguf(path) as file:
            executable = CpuBackend(tier=tier).compile(load_plan(file).plan, file, Limits(n, n, len(pages), kv))
            logits = executable.run(Step(list(tokens), [Segment(0, n, pages)], range(n))).logits.copy()
        first = logits if first is None else first
        found[tier] = int((logits.view(np.int32) != first.view(np.int32)).sum())
    return found


def summary(cells: Sequence[Cell], differences: Sequence[Difference], n_prompts: int) -> list[list[object]]:
    """Return for each value of each factor how many texts were compared and how many differ, tiers' own apart."""
    rows: list[list[object]] = []
    for name in FACTORS:
        for value in sorted({getattr(cell, name) for cell in cells}, key=str):
            n = sum(getattr(cell, name) == value for cell in cells) * n_prompts
            wrong = [d for d in differences if getattr(d.cell, name) == value]
            n_tier = sum(d.is_tier for d in wrong)
            rows.append([f"{name} {value}", n, len(wrong) - n_tier, n_tier])
    return rows


def factors_of(args: argparse.Namespace) -> dict[str, tuple[Any, ...]]:
    """Return the values to run for each factor."""
    tiers = _native.supported_tiers()
    fast = [tier for tier in tiers if tier != "portable"] or tiers
    chosen = {
        "tier": args.tiers or ",".join(fast if args.quick else tiers),
        "threads": args.threads,
        "kv": args.kv,
        "drafter": args.drafters,
        "company": args.company,
        "temperature": args.temperatures,
    }
    kinds = {"threads": int, "temperature": float}
    found = {}
    for name, known in FACTORS.items():
        values = tuple(kinds.get(name, str)(v) for v in chosen[name].split(",")) if chosen[name] else known
        wrong = [v for v in values if name not in kinds and v not in (known or tiers)]
        if wrong:
            raise SystemExit(f"{name} {wrong[0]!r} is not one of {', '.join(map(str, known or tiers))}")
        found[name] = values
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--quick", action="store_true", help="every two values meet; 4 prompts, 48 tokens")
    for name, known in FACTORS.items():
        option = {"kv": "kv", "company": "company", "threads": "threads"}.get(name, f"{name}s")
        parser.add_argument(f"--{option}", help=f"with commas: {', '.join(map(str, known)) or 'all the CPU runs'}")
    parser.add_argument("--prompts", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--again", action="store_true", help="forget what was run before")
    args = parser.parse_args()
    path = hub.resolve(args.model)
    prompts = some(args.prompts or (4 if args.quick else 20))
    n_tokens = args.tokens or (48 if args.quick else 256)
    factors = factors_of(args)
    cells = pairwise(factors) if args.quick else every(factors)
    memory = harness.RESULTS / f"same_text-{harness.code_hash()}-{harness.file_hash(path)}.jsonl"
    if args.again:
        memory.unlink(missing_ok=True)
    runner = Runner(path, prompts, n_tokens, memory)
    # The slow tier last, so that a run which is stopped has done most.
    cells.sort(key=lambda cell: cell.tier == "portable")
    began = time.perf_counter()
    differences: list[Difference] = []
    for i, cell in enumerate(cells):
        differences += compare(runner, [cell], factors["tier"][0], prompts)
        say(f"{i + 1}/{len(cells)} ways, {len(differences)} differences, {time.perf_counter() - began:.0f} s: {cell}")
    runner.close()
    with LLM(path, spec_type="none", context=CONTEXT) as llm:
        tokens = llm.tokenizer.encode(" ".join(prompt.text for prompt in prompts))[:48]
    tiers = factors["tier"] if args.tiers else tuple(_native.supported_tiers())
    bits = {kv: tier_bits(path, tiers, kv, tokens) for kv in factors["kv"]}
    print(table(summary(cells, differences, len(prompts)), ["", "texts", "different", "by tier alone"]))
    for kv, found in bits.items():
        counts = ", ".join(f"{tier} {n}" for tier, n in found.items())
        print(f"logits that differ from {tiers[0]}'s in their bits, KV {kv}: {counts}")
    for difference in differences[:20]:
        print(f"  {difference}")
    n_tier = sum(d.is_tier for d in differences)
    result = {
        "texts": len(cells) * len(prompts),
        "tokens": len(cells) * len(prompts) * n_tokens,
        "different": len(differences) - n_tier,
        "different_by_tier": n_tier,
        "logits_different_by_tier": bits,
        "is_same": not differences,
        "seconds": round(time.perf_counter() - began, 1),
    }
    details = {"differences": [str(d) for d in differences], "card": harness.card(path)}
    harness.finish("same_text", result, details)
    raise SystemExit(len(differences) > n_tier)


if __name__ == "__main__":
    main()
