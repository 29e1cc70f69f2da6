"""How near an engine's logits are to float32 arithmetic on the same weights: teacher-forced on real text.

`python -m bench.quality smollm2-135m` judges the CPU backend against transformers with the file's own weights,
dequantised. `--peer DIR` adds llama.cpp with its own defaults: the same file, the same tokens, the same positions.
`--engines` also takes `module:function`, a function (path, tokens) -> float32 logits [T, V].
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench import harness, peer
from bench.peer import Peer
from outpace import hub
from outpace.backends.backend import Backend, Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan
from outpace.text import Tokenizer

Logits: TypeAlias = NDArray[np.float32]
Scorer: TypeAlias = Callable[[Path, Sequence[int]], Logits]

TEXT = Path(__file__).parent / "texts" / "mixed.txt"
CHUNK_ROWS = 128


@dataclass(frozen=True, slots=True)
class Quality:
    """One engine against float32, over the positions of a text.

    Attributes:
        top1: Share of positions where both think the same token likeliest.
        mean_kl: Mean Kullback-Leibler divergence from float32's distribution, in nats.
        p99_kl: Its 99th percentile.
        perplexity: Of the text itself, under this engine.
    """

    top1: float
    mean_kl: float
    p99_kl: float
    perplexity: float


def compare(exact: Logits, ours: Logits, tokens: Sequence[int]) -> Quality:
    """Judge logits [T, V] against the exact ones, position by position."""
    divergences, losses = [], []
    for at in range(0, len(exact), CHUNK_ROWS):
        log_p, log_q = (_log_softmax(each[at : at + CHUNK_ROWS]) for each in (exact, ours))
        divergences.append((np.exp(log_p) * (log_p - log_q)).sum(axis=1))
        following = np.asarray(tokens[at + 1 : at + 1 + CHUNK_ROWS])
        losses.append(-log_q[np.arange(len(following)), following])
    kl = np.concatenate(divergences)
    return Quality(
        top1=float((exact.argmax(axis=1) == ours.argmax(axis=1)).mean()),
        mean_kl=float(kl.mean()),
        p99_kl=float(np.percentile(kl, 99)),
        perplexity=float(np.exp(np.concatenate(losses).mean())),
    )


def _log_softmax(x: Logits) -> NDArray[np.float64]:
    shifted = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def backend_scorer(backend: Backend, kv_type: str = "f16", rows: int = CHUNK_ROWS) -> Scorer:
    """Return a scorer that runs a backend over the text, `rows` positions a step."""

    def score(path: Path, tokens: Sequence[int]) -> Logits:
        n_pages = -(-len(tokens) // PAGE)
        pages = np.arange(n_pages, dtype=np.int32)
        with open_gguf(path) as file:
            executable = backend.compile(load_plan(file).plan, file, Limits(rows, rows, n_pages, kv_type))
            parts = []
            for at in range(0, len(tokens), rows):
                piece = list(tokens[at : at + rows])
                step = Step(piece, [Segment(at, len(piece), pages)], range(len(piece)))
                parts.append(executable.run(step).logits.copy())
        return np.concatenate(parts)

    return score


def peer_scorer(other: Peer, text: str) -> Scorer:
    """Return a scorer that has the peer read `text`, which must be the same tokens to it."""

    def score(path: Path, tokens: Sequence[int]) -> Logits:
        theirs, logits = other.logits(path, text, len(tokens))
        if theirs != list(tokens):
            differs = next((i for i, (a, b) in enumerate(zip(tokens, theirs, strict=False)) if a != b), None)
            where = "in length" if differs is None else f"from token {differs} on"
            raise SystemExit(f"the peer reads other tokens in this text, {where}: try another --tokens or --text")
        return logits

    return score


def exact_logits(path: Path, tokens: Sequence[int]) -> Logits:
    """Score with transformers in float32 on the file's dequantised weights."""
    from bench import oracle

    with open_gguf(path) as file:
        return oracle.logits(oracle.load(file), tokens)


def tokens_of(path: Path, text: str) -> list[int]:
    """Tokenize as the file says, without special tokens beyond those it always adds."""
    with open_gguf(path) as file:
        return Tokenizer.from_metadata(file.metadata).encode(text)


def excerpt(path: Path, text: str, most: int) -> tuple[str, list[int]]:
    """Return a text's beginning of at most so many tokens, and these."""
    tokens = tokens_of(path, text)
    if len(tokens) <= most:
        return text, tokens
    with open_gguf(path) as file:
        return Tokenizer.from_metadata(file.metadata).decode(tokens[:most], skip_special=True), tokens[:most]


def measure(path: Path, tokens: Sequence[int], scorers: Mapping[str, Scorer]) -> dict[str, Quality]:
    """Judge every scorer on one text; the row `float32` is the judge against itself."""
    exact = exact_logits(path, tokens)
    found = {"float32": compare(exact, exact, tokens)}
    for name, score in scorers.items():
        found[name] = compare(exact, score(path, tokens), tokens)
    return found


def scorer_named(name: str) -> Scorer:
    """Return the scorer `reference`, `cpu`, `cpu:q8_0` (a backend and its KV type) or `module:function`."""
    engine, _, detail = name.partition(":")
    if engine == "reference":
        return backend_scorer(ReferenceBackend(), detail or "f16")
    if engine == "cpu":
        backend: Backend = importlib.import_module("outpace.backends.cpu.backend").CpuBackend()
        return backend_scorer(backend, detail or "f16")
    other: Scorer = getattr(importlib.import_module(engine), detail)
    return other


def table(results: Mapping[str, Quality]) -> str:
    """Return the results for people."""
    lines = [f"{'engine':<24} {'top-1':>8} {'mean KL':>10} {'p99 KL':>10} {'perplexity':>11}"]
    for name, q in results.items():
        lines.append(f"{name:<24} {q.top1:>8.2%} {q.mean_kl:>10.6f} {q.p99_kl:>10.6f} {q.perplexity:>11.3f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a path or a name that `outpace pull` knows")
    parser.add_argument(
        "--engines", default="cpu:f16,cpu:q8_0,cpu:q4_0", help="of reference, cpu, each with `:kv_type` if wished"
    )
    peer.add_option(parser)
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--tokens", type=int, default=512, help="use at most this many")
    args = parser.parse_args()
    # transformers and the peer read models without a head.
    path = hub.resolve(args.model, is_bare=True)
    text, tokens = excerpt(path, args.text.read_text(), args.tokens)
    scorers = {name: scorer_named(name) for name in args.engines.split(",") if name}
    other = peer.chosen(args.peer, harness.cpus())
    about = None
    if other:
        about = f"{other.version()}, its own defaults"
        scorers["peer"] = peer_scorer(other, text)
    results = measure(path, tokens, scorers)
    print(f"{path.name}, {len(tokens)} tokens of {args.text.name}\n{table(results)}")
    if other:
        about = f"{about}{peer.NO_AMX if other.is_amx_refused else ''}"
        print(f"peer: {about}")
    found = {"n_tokens": len(tokens), "peer": about, "engines": {name: asdict(q) for name, q in results.items()}}
    harness.finish("quality", {"card": harness.card(path)} | found)


if __name__ == "__main__":
    main()
