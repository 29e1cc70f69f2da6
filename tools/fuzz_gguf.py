"""Feed damaged GGUF files to the reader: it must answer with a file or one clear error, fast, in little memory.

Valid files (some split) are damaged by field (counts, lengths, types, offsets), by span and by byte, then opened; what
opens is read to the end: all metadata, all tensors. Anything but an OutpaceError, more than a second of processor
time, or an opening that takes more than twice the file's size and a constant, is a finding; it is made smaller and
kept. Input number i depends on the seed and i alone, so a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from outpace import gguf
from outpace.errors import OutpaceError
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.quants import DEQUANTIZABLE, dequantize
from outpace.gguf.types import BLOCK, NUMPY_TYPE, GGMLType, ValueType
from outpace.gguf.weights import Weights
from outpace.gguf.writer import Tensor, Typed, tensor_bytes, write_gguf, write_split

LIMIT_S = 1.0
SPARE_OPEN_BYTES = 512 * 1024  # Python's own: messages, near names, buffers of a fixed size
SPARE_READ_BYTES, READ_TIMES = 4 * 1024 * 1024, 32  # decoded strings are Python objects: linear, but with a factor
LOOK_UPS = ("str", "int", "float", "bool", "strs", "ints", "floats", "bools")
EDGES = [
    0,
    1,
    2,
    3,
    5,
    8,
    31,
    32,
    255,
    256,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
EDGES += [2**64 - 8, 2**64 - 9, 2**61, 2**60]


class HangError(BaseException):
    """The time limit of one input."""


class HungryError(Exception):
    """The memory limit of one input."""


@dataclass(frozen=True)
class Seed:
    """A valid file, as the bytes of its parts, and the place and width of every number in the first part's header."""

    parts: list[bytes]
    fields: list[tuple[int, int]]


@dataclass
class State:
    """How far a run has come."""

    seed: int
    code: str
    next: int = 0
    opened: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    most_open_bytes_over_2x: int = 0
    sentences: dict[str, int] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)


def seeds(folder: Path) -> list[Seed]:
    rng = np.random.default_rng(7)
    every_value = {
        **{f"one.{kind.name}": Typed(kind, 1) for kind in NUMPY_TYPE},
        **{f"many.{kind.name}": Typed(kind, [1, 0, 1]) for kind in NUMPY_TYPE},
        "text": "größe",
        "texts": ["a", "", "漢字", "x\0y"],
        "empty": Typed(ValueType.STRING, []),
    }
    vocabulary = {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": [f"t{i}" for i in range(150)],
        "tokenizer.ggml.scores": Typed(ValueType.FLOAT32, [0.5] * 150),
    }

    def tensors(*kinds: GGMLType) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for i, kind in enumerate(kinds):
            shape = [(2, BLOCK[kind].size), (BLOCK[kind].size,), (1, 2, 1, BLOCK[kind].size)][i % 3]
            found[f"blk.{i}.w"] = (kind, shape, rng.bytes(tensor_bytes(kind, shape)))
        return found

    some = (GGMLType.F32, GGMLType.Q4_0, GGMLType.Q4_K)
    all_of_them = sorted(GGMLType)
    wholes = [
        ({}, {}, 3),
        (every_value, {}, 3),
        (vocabulary, tensors(*some), 3),
        ({"general.architecture": "x", "general.alignment": 64}, tensors(*some), 2),
        ({"a": 1}, tensors(*all_of_them), 3),
        ({"a": 1}, {"s": (GGMLType.F32, (), rng.bytes(4))}, 3),
    ]
    found = []
    for metadata, table, version in wholes:
        write_gguf(folder / "seed.gguf", metadata, table, version=version)
        raw = (folder / "seed.gguf").read_bytes()
        found.append(Seed([raw], number_fields(raw)))
    paths = write_split(folder / "seed", vocabulary, tensors(*some, *some), 3)
    raws = [path.read_bytes() for path in paths]
    found.append(Seed(raws, number_fields(raws[0])))
    return found


def number_fields(raw: bytes) -> list[tuple[int, int]]:
    """Return (offset, width) of each count, length, type, size and offset in a valid header."""
    found: list[tuple[int, int]] = []
    at = 4

    def number(width: int) -> int:
        nonlocal at
        found.append((at, width))
        at += width
        return int.from_bytes(raw[at - width : at], "little")

    def text() -> None:
        nonlocal at
        n = number(8)  # moves `at` first
        at += n

    number(4)
    n_tensors, n_keys = number(8), number(8)
    for _ in range(n_keys):
        text()
        kind = number(4)
        kind, count = (number(4), number(8)) if kind == ValueType.ARRAY else (kind, 1)
        for _ in range(count):
            if kind == ValueType.STRING:
                text()
            else:
                number(np.dtype(NUMPY_TYPE[ValueType(kind)]).itemsize)
    for _ in range(n_tensors):
        text()
        for _ in range(number(4)):
            number(8)
        number(4)
        number(8)
    return found


def damage(rng: random.Random, seed: Seed, others: list[Seed]) -> list[bytes]:
    """Return the parts of a seed with one to four mutations."""
    parts = [bytearray(part) for part in seed.parts]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        part = rng.choice(parts) if rng.random() < 0.3 else parts[0]
        if not part:
            continue
        at, n = rng.randrange(len(part)), rng.choice((1, 2, 4, 8, 16, 24, 64))
        kind = rng.random()
        if kind < 0.45:
            at, width = rng.choice(seed.fields)
            old = int.from_bytes(part[at : at + width], "little")
            near = [old + 1, old - 1, old ^ 1 << rng.randrange(8 * width), len(part), len(part) - at, rng.randrange(48)]
            part[at : at + width] = (rng.choice(EDGES + near) % (1 << 8 * width)).to_bytes(width, "little")
        elif kind < 0.60:
            part[at] = rng.randrange(256)
        elif kind < 0.67:
            part[at : at + n] = rng.choice((bytes(n), b"\xff" * n, rng.randbytes(n), b"\xc3\x28" * n))[:n]
        elif kind < 0.74:
            del part[at:]
        elif kind < 0.80:
            del part[at : at + n]
        elif kind < 0.86:
            part[at:at] = part[at : at + n] * rng.choice((1, 1, 2, 50))
        elif kind < 0.92:
            other = rng.choice(others).parts[0]
            start = rng.randrange(len(other))
            part[at : at + n] = other[start : start + n]
        elif kind < 0.96:
            a, b = sorted((rng.choice(seed.fields)[0], rng.choice(seed.fields)[0]))
            part[at:at] = part[a:b]
        else:
            part += rng.randbytes(n)
    return [bytes(part) for part in parts]


def read_all(file: GGUFFile, rng: random.Random) -> None:
    repr(file)
    repr(file.metadata)
    for key in [*file.metadata, "no.such.key"]:
        for look_up in (rng.choice(LOOK_UPS), "value"):
            try:
                if look_up != "value":
                    getattr(file.metadata, look_up)(key)
                elif key in file.metadata:
                    file.metadata[key]
            except OutpaceError:
                pass
    weights = Weights(file)
    for name, info in file.tensors.items():
        raw = file.data(name)
        if raw.size <= 65536 and info.type in DEQUANTIZABLE:
            dequantize(raw, info.type, info.shape)
        file.release(name)
        weights(name, *info.shape)
    weights.unused()


def check(parts: list[bytes], folder: Path, rng: random.Random) -> tuple[str, int]:
    """Return the error's sentence ("" where the file opened) and the bytes above twice the size it took to open."""
    paths = [
        folder / (f"f-{i + 1:05}-of-{len(parts):05}.gguf" if len(parts) > 1 else "f.gguf") for i in range(len(parts))
    ]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    size = sum(map(len, parts))
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    sentence, file = "", None
    try:
        file = open_gguf(paths[0])
    except OutpaceError as error:
        sentence = str(error)
    over = tracemalloc.get_traced_memory()[1] - before - 2 * size
    if over > SPARE_OPEN_BYTES:
        raise HungryError(f"opening {size} bytes took {over + 2 * size}")
    if file is not None:
        read_all(file, rng)
        file.close()
    total = tracemalloc.get_traced_memory()[1] - before
    if total > READ_TIMES * size + SPARE_READ_BYTES:
        raise HungryError(f"reading {size} bytes took {total}")
    signal.setitimer(signal.ITIMER_PROF, 0)
    if "\n" in sentence or len(sentence) > 2000:
        raise ValueError(f"not one clear sentence: {sentence[:200]!r}")
    return sentence, over


def failure(parts: list[bytes], folder: Path, number: str) -> str | None:
    """Return what goes wrong with these bytes as one line that names the place; None where nothing does."""
    try:
        check(parts, folder, random.Random(number))
    except (Exception, HangError, RecursionError) as error:  # noqa: BLE001 - everything is a finding
        signal.setitimer(signal.ITIMER_PROF, 0)
        frames = [each for each in traceback.extract_tb(error.__traceback__) if "outpace" in each.filename]
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return f"{type(error).__name__}: {re.sub(r'[0-9]+', '#', str(error))[:120]}{place}"
    return None


def smaller(parts: list[bytes], is_same: Callable[[list[bytes]], bool]) -> list[bytes]:
    """Cut spans out of every part while the finding stays the same."""
    for i in range(len(parts)):
        n = len(parts[i]) // 2
        while n >= 1:
            at = 0
            while at < len(parts[i]):
                tried = [*parts[:i], parts[i][:at] + parts[i][at + n :], *parts[i + 1 :]]
                if is_same(tried):
                    parts = tried
                else:
                    at += n
            n //= 2
    return parts


def on_alarm(*_: object) -> None:
    raise HangError(f"more than {LIMIT_S} s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, default=Path("build/fuzz_gguf.json"), help="a run goes on from here")
    parser.add_argument("--fresh", action="store_true", help="forget the state and begin at 0")
    options = parser.parse_args()
    state = State(options.seed, code_hash())
    if options.state.exists() and not options.fresh:
        kept = json.loads(options.state.read_text())
        # A finished run, or one of another reader, says nothing about this one.
        if (kept["seed"], kept.get("code")) == (state.seed, state.code) and kept["next"] < options.count:
            state = State(**kept)
    warnings.simplefilter("error")
    signal.signal(signal.SIGPROF, on_alarm)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, hard))
    tracemalloc.start()
    sentences = Counter(state.sentences)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        pool = seeds(folder)
        assert all(failure(seed.parts, folder, "0") is None for seed in pool), "a seed itself fails"
        began, seconds = time.perf_counter(), state.seconds
        while state.next < options.count:
            number = f"{options.seed}:{state.next}"
            rng = random.Random(number)
            parts = damage(rng, rng.choice(pool), pool)
            started = time.process_time()
            try:
                sentence, over = check(parts, folder, random.Random(number))
                state.most_open_bytes_over_2x = max(state.most_open_bytes_over_2x, over)
                state.opened, state.refused = state.opened + (not sentence), state.refused + bool(sentence)
                sentences[plain(sentence)] += 1
            except (Exception, HangError, RecursionError):  # noqa: BLE001 - everything is a finding
                found = failure(parts, folder, number) or "not seen again"
                if found not in [each["what"] for each in state.findings]:
                    least = smaller(parts, lambda tried: failure(tried, folder, number) == found)  # noqa: B023
                    state.findings.append({"input": state.next, "what": found, "parts": [each.hex() for each in least]})
                    print(f"input {state.next}: {found}\n  {least!r}", flush=True)
            state.slowest_s = max(state.slowest_s, time.process_time() - started)
            state.next += 1
            if state.next % 5000 == 0 or state.next == options.count:
                state.seconds = seconds + time.perf_counter() - began
                state.sentences = dict(sentences)
                save(options.state, state)
                print(
                    f"{state.next} of {options.count}: {state.opened} opened, {state.refused} refused in "
                    f"{len(sentences)} kinds of sentence, {len(state.findings)} findings, {state.seconds:.0f} s",
                    flush=True,
                )
    result = {key: value for key, value in asdict(state).items() if key != "sentences"}
    print(json.dumps({**result, "kinds_of_sentence": len(state.sentences)}))
    sys.exit(1 if state.findings else 0)


def code_hash() -> str:
    """Return a hash of the reader and of this tool."""
    files = [*sorted(Path(gguf.__path__[0]).glob("*.py")), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def plain(sentence: str) -> str:
    """Return a sentence without its facts, to count kinds."""
    sentence = re.sub(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"|b'.*'", "'_'", sentence.split(": ", 1)[-1], flags=re.DOTALL)
    return re.sub(r"-?\d[\d.]*( [kMGT]?B)?", "#", sentence)[:90]


def save(path: Path, state: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(asdict(state)))
    path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    main()
