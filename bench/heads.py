"""A head on the sixty held-out prompts: automatic drafting against plain, copies alone, and the peer's best.

`python -m bench.heads FILE [--kind code] [--prompts 5] [--rounds 5] [--minutes 4] [--peer DIR [--base FILE]]`. Each
prompt is answered in all ways in turns; a round is all prompts once, and a ratio is of all tokens of a round over all
of its time, the prompts' reading left out. Answers are kept as they come: the same command goes on where it was
stopped, or where its minutes were over, as long as neither the files nor the code have changed. The peer runs the same
weights without the head, gets the same tokens, and decodes plainly and with each way of drafting that needs no other
model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import harness, peer
from bench.harness import say, table
from bench.peer import NO_AMX
from bench.peer_server import Server
from outpace import hub
from outpace.gguf.heads import KINDS as HEADS
from outpace.graft.acceptance import Acceptance
from outpace.graft.prompts import KINDS, held_out
from outpace.graft.writer import SPECULATED, WAYS, Writer
from outpace.spread import LEAST_ROUNDS, ratios, verdict

# The longest prompt and an answer of -n tokens fit.
CONTEXT = 1024

PEER = "peer, "
PEER_KINDS = "none,ngram-simple,ngram-map-k,ngram-mod"

# What is asked: name, ways, kinds of text (None for all together), threshold. The peer's best is chosen by its speed.
ASKED: tuple[tuple[str, str, str, str | None, float], ...] = (
    ("auto / plain, all", "auto", "plain", None, 1.7),
    ("auto / plain, code", "auto", "plain", "code", 2.0),
    *((f"auto / plain, {kind}, not slower", "auto", "plain", kind, 1.0) for kind in KINDS),
    ("auto / suffix, all", "auto", "suffix", None, 1.15),
    ("auto / the peer's best, code", "auto", PEER, "code", 2.5),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """One answer.

    Attributes:
        n: Tokens whose writing was timed.
        seconds: What they took.
        digest: Of the tokens; "" where they are not known.
        rounds: Steps that wrote them, and
        drafts: of those that drafted to the fixed depth, guesses tested and kept.
    """

    n: int
    seconds: float
    digest: str = ""
    rounds: int = 0
    drafts: Sequence[Sequence[int]] = ()


# The answers to one prompt in one round, by way.
Answers = dict[str, Timed]
# By round, kind and number of the prompt.
Key = tuple[int, str, int]
# The kind of each prompt and the answers to it.
Round = Sequence[tuple[str, Answers]]
Prompts = Mapping[str, Sequence[str]]


class Record:
    """What has been answered so far, kept in a file for each model file, code and settings.

    State: the file, which only grows.
    """

    def __init__(self, about: Sequence[object]) -> None:
        digest = hashlib.sha256(repr((harness.code_hash(), *about)).encode()).hexdigest()[:12]
        harness.RESULTS.mkdir(exist_ok=True)
        self.path = harness.RESULTS / f"heads-{digest}.jsonl"
        self.found: dict[Key, Answers] = {}
        text = self.path.read_text() if self.path.exists() else ""
        # A line that was being written when the bench was stopped is no line.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole)
        for line in whole.splitlines():
            told = json.loads(line)
            self.found[told["round"], told["kind"], told["i"]] = {k: Timed(**v) for k, v in told["ways"].items()}

    def add(self, key: Key, answers: Answers) -> None:
        """Keep the answers to one prompt in one round."""
        self.found[key] = answers
        told = {"round": key[0], "kind": key[1], "i": key[2], "ways": {k: asdict(v) for k, v in answers.items()}}
        with self.path.open("a") as file:
            file.write(json.dumps(told) + "\n")

    def has(self, key: Key, ways: Iterable[str]) -> bool:
        """Return whether a prompt was answered in every one of these ways in a round."""
        return set(ways) <= set(self.found.get(key, {}))

    def rounds(self, ways: Iterable[str], prompts: Prompts, n: int) -> list[Round]:
        """Return the rounds, of the first n, in which every prompt was answered in every way."""
        keys = [[(r, kind, i) for kind, texts in prompts.items() for i in range(len(texts))] for r in range(n)]
        whole = [each for each in keys if all(self.has(key, ways) for key in each)]
        return [[(key[1], self.found[key]) for key in each] for each in whole]


def ours(writer: Writer, way: Any, tokens: list[int], n: int) -> Timed:
    """Answer in a way of ours."""
    told = writer.answer(way, tokens, n)
    digest = hashlib.sha256(repr(told.tokens).encode()).hexdigest()[:12]
    return Timed(told.n_timed, told.seconds, digest, told.rounds, told.drafts)


def theirs(server: Server, tokens: list[int], n: int) -> Timed:
    """Let the peer answer; it counts its first token too."""
    told = server.time(tokens, n, ignore_eos=False)
    return Timed(int(told["predicted_n"]), told["predicted_ms"] / 1e3)


def rates(rounds: Sequence[Round], way: str, kind: str | None) -> list[float]:
    """Return a way's tokens a second for each round: all its tokens over all its time; of every kind for None."""
    found = []
    for each in rounds:
        some = [answers[way] for of, answers in each if kind in (None, of)]
        found.append(sum(a.n for a in some) / max(sum(a.seconds for a in some), 1e-9))
    return found


def judge(rounds: Sequence[Round], ways: Sequence[str], kinds: Sequence[str]) -> Iterator[list[str]]:
    """Yield what is asked, what was found, and whether it is met, as far as the ways and kinds at hand tell it."""
    for what, a, b, kind, least in ASKED:
        if set(kinds) != set(KINDS) if kind is None else kind not in kinds:
            continue
        rivals = {way: rates(rounds, way, kind) for way in ways if way == b or (b == PEER and way.startswith(PEER))}
        if not rivals:
            continue
        best = max(rivals, key=lambda way: median(rivals[way]))
        found = ratios(rates(rounds, a, kind), rivals[best])
        name = f"{what} ({best.removeprefix(PEER)})" if b == PEER else what
        between = f"{found.low:.3f} - {found.high:.3f}"
        yield [name, f"{found.median:.3f}", between, f"at least {least:g}", verdict(found, least)]


def summary(rounds: Sequence[Round], ways: Sequence[str], kinds: Sequence[str]) -> list[list[str]]:
    """Return tokens a second by kind and way, the median of rounds."""
    of: list[str | None] = [*kinds, *([None] if len(kinds) > 1 else [])]
    return [[kind or "all", *(f"{median(rates(rounds, way, kind)):.1f}" for way in ways)] for kind in of]


def acceptance(first: Round, kinds: Sequence[str], depth: int) -> dict[str, Acceptance]:
    """Return how the head's guesses fared at the fixed depth, by kind and for all."""
    head = next(way for way in SPECULATED if way in first[0][1])
    groups = {kind: [answers[head] for of, answers in first if of == kind] for kind in kinds}
    groups["all"] = [answers[head] for _, answers in first]
    return {
        kind: Acceptance.of(sum(a.rounds for a in some), [(d[0], d[1]) for a in some for d in a.drafts], depth)
        for kind, some in groups.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a path or a name that `outpace pull` knows; its file must have a head")
    peer.add_option(parser)
    parser.add_argument("--base", type=Path, help="the model without its head, for the peer, where FILE is no name")
    parser.add_argument("--peer-kinds", default=PEER_KINDS, help="its kinds of drafting; none is plain decoding")
    parser.add_argument("--head", type=Path, help="a file with the head, where that is apart")
    parser.add_argument("--head-kind", choices=HEADS, help="which head, where the file has both")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind of text; may be repeated")
    parser.add_argument("--prompts", type=int, default=20, help="how many of each kind, the first ones")
    parser.add_argument("-n", type=int, default=128, help="most tokens of an answer")
    parser.add_argument("--depth", type=int, default=3, help="of the head alone")
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many, to go on later; 0 for never")
    parser.add_argument("--threads", type=int, default=0, help="for both; all CPUs unless said")
    args = parser.parse_args()
    threads = args.threads or harness.cpus()
    path = hub.resolve(args.model)
    prompts = {kind: texts for kind, texts in held_out(args.prompts).items() if kind in (args.kind or KINDS)}
    with ExitStack() as stack:
        writer = stack.enter_context(
            Writer(path, depth=args.depth, kind=args.head_kind, draft_model=args.head, threads=threads, context=CONTEXT)
        )
        other = peer.chosen(args.peer, threads)
        names = args.peer_kinds.split(",") if other else []
        files = [harness.file_hash(each) for each in (path, args.head, args.base) if each]
        record = Record((*files, args.n, args.depth, threads, *([args.head_kind] if args.head_kind else [])))
        arms: dict[str, Callable[[list[int]], Timed]] = {
            way: lambda tokens, way=way: ours(writer, way, tokens, args.n) for way in writer.ways
        }
        for name in names:
            drafting = () if name == "none" else ("--spec-type", name)
            server = stack.enter_context(
                Server(other, args.base or hub.resolve(args.model, is_bare=True), CONTEXT, drafting)
            )
            arms[PEER + name] = lambda tokens, server=server: theirs(server, tokens, args.n)
        is_done = answer_all(writer, arms, prompts, record, args)
        card = harness.card(path, threads=threads)
    ways = list(arms)
    rounds = record.rounds(ways, prompts, args.rounds)
    if not rounds:
        raise SystemExit("no round is whole yet; the same command goes on")
    texts = [[a.digest for way, a in answers.items() if way in WAYS] for each in rounds for _, answers in each]
    n_different = sum(len(set(digests)) > 1 for digests in texts)
    told = acceptance(rounds[0], list(prompts), args.depth)
    shares = [
        [kind, str(of.rounds), *(f"{share:.3f}" for share in of.by_depth), f"{of.tokens_per_round:.2f}"]
        for kind, of in told.items()
    ]
    print(table(shares, ["kept up to depth", "rounds", *map(str, range(1, args.depth + 1)), "tokens a round"]))
    print(table(summary(rounds, ways, list(prompts)), ["tokens/s", *ways]))
    lines = list(judge(rounds, ways, list(prompts)))
    print(table(lines, ["", "median", f"interval of {len(rounds)} rounds", "asked", "verdict"]))
    print(f"{n_different} of {len(texts)} texts differ by the way they were written")
    if not is_done:
        print(f"{len(rounds)} of {args.rounds} rounds are whole; the same command goes on")
    result = {
        "card": card,
        "prompts": {kind: len(each) for kind, each in prompts.items()},
        "rounds": len(rounds),
        "acceptance": {kind: of.as_json() for kind, of in told.items()},
        "lines": lines,
        "different_texts": n_different,
        "peer": f"{other.version()}{NO_AMX if other.is_amx_refused else ''}" if other else None,
    }
    speeds = {way: {kind: rates(rounds, way, kind) for kind in prompts} for way in ways}
    harness.finish("heads", result, {"per_s": speeds})


def answer_all(
    writer: Writer,
    arms: Mapping[str, Callable[[list[int]], Timed]],
    prompts: Prompts,
    record: Record,
    args: argparse.Namespace,
) -> bool:
    """Answer what is not answered yet, round by round; return whether all of it is."""
    asked = [(kind, i, writer.tokens(text)) for kind, texts in prompts.items() for i, text in enumerate(texts)]
    left = [
        (r, kind, i, tokens)
        for r in range(args.rounds)
        for kind, i, tokens in asked
        if not record.has((r, kind, i), arms)
    ]
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    if left:
        for arm in arms.values():
            arm(left[0][3])
    for done, (r, kind, i, tokens) in enumerate(left):
        if time.monotonic() > end:
            say(f"{len(left) - done} prompts are left in all rounds")
            return False
        # The order is turned round each time, so that drift is nobody's.
        names = list(arms) if (r + i) % 2 == 0 else list(reversed(arms))
        record.add((r, kind, i), {name: arms[name](tokens) for name in names})
        say(f"round {r + 1}/{args.rounds}: {kind} {i + 1}")
    return True


if __name__ == "__main__":
    main()
