"""A real model edits a class, drafting ahead from the question; then the same answer without drafting, timed."""

from __future__ import annotations

import statistics
import sys
from typing import Any

from outpace.cli.answer import write
from outpace.cli.decoding import Arm, Sample, Subjects
from outpace.cli.paint import COLOURS, RESET, Painter
from outpace.cli.progress import Meter
from outpace.sampling.params import SamplingParams

MODEL = "smollm2-135m"
REPEAT = 3

QUESTION = """Change `withdraw` so that it also raises an error when the amount is not positive. Write the whole class:

```python
class Account:
    def __init__(self, owner, balance):
        self.owner = owner
        self.balance = balance
        self.history = []

    def deposit(self, amount):
        self.balance += amount
        self.history.append(amount)

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
        self.history.append(-amount)

    def report(self):
        print(self.owner, self.balance)
        for amount in self.history:
            print(amount)
```"""
REQUEST: dict[str, Any] = {
    "messages": [{"role": "user", "content": QUESTION}],
    "params": SamplingParams.greedy(),
    "max_tokens": 256,
}


def main() -> int:
    """Show the answer and the table; fail if drafting changed the text."""
    with Meter() as meter:
        subjects = Subjects(MODEL, meter, context=1024)
    is_coloured = sys.stdout.isatty()
    print(f"{QUESTION}\n\n{MODEL} answers" + (f"; {COLOURS['suffix']}drafted{RESET}, written:" if is_coloured else ":"))
    print()
    llm = subjects.llm
    write(llm.stream(**REQUEST), Meter("tokens"), Painter(llm.tokenizer) if is_coloured else None)

    samples: dict[str, list[Sample]] = {"none": [], "suffix": []}
    for _ in range(REPEAT):
        for drafter, taken in samples.items():
            taken.append(subjects.answer(Arm(drafter, drafter), **REQUEST))
    rates = {drafter: _rate(taken) for drafter, taken in samples.items()}
    drafted = samples["suffix"][0].result.speculation
    is_same = len({tuple(sample.result.tokens) for taken in samples.values() for sample in taken}) == 1
    rows = [
        ("plain", f"{rates['none']:.1f} tokens/s"),
        ("drafted", f"{rates['suffix']:.1f} tokens/s, {rates['suffix'] / rates['none']:.2f} times as fast"),
        ("tokens per round", f"{drafted.tokens_per_round:.2f}"),
        ("guesses kept", f"{drafted.accepted} of {drafted.drafted}"),
        ("identical texts", "yes" if is_same else "NO"),
    ]
    print()
    for name, value in rows:
        print(f"{name:<18}{value}")
    return 0 if is_same else 1


def _rate(taken: list[Sample]) -> float:
    return statistics.median(sample.result.timings.predicted_per_s for sample in taken)


if __name__ == "__main__":
    sys.exit(main())
