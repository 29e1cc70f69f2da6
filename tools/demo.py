"""A real model answers, drafting ahead; then the same answers without drafting, timed.

It edits a class, copying ahead from the question. Where the model has a head, it also writes what stands nowhere yet,
which the head guesses.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from outpace.cli.answer import write
from outpace.cli.decoding import Arm, Sample, Subjects
from outpace.cli.paint import COLOURS, RESET, Painter
from outpace.cli.progress import Meter
from outpace.gguf.file import open_gguf
from outpace.graft.prompts import held_out
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


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked.

    Attributes:
        name: What the table calls it.
        question: What the user says.
        drafter: Who drafts.
    """

    name: str
    question: str
    drafter: str

    @property
    def request(self) -> dict[str, Any]:
        """The options of `LLM.stream`."""
        messages = [{"role": "user", "content": self.question}]
        return {"messages": messages, "params": SamplingParams.greedy(), "max_tokens": 256}


@dataclass(frozen=True, slots=True)
class Told:
    """A task's answers, plain and drafted."""

    task: Task
    plain: list[Sample]
    drafted: list[Sample]

    @property
    def is_same(self) -> bool:
        """Whether all of them are one text."""
        return len({tuple(sample.result.tokens) for sample in (*self.plain, *self.drafted)}) == 1

    def rows(self) -> dict[str, str]:
        """Return what the table says of it."""
        plain, drafted, found = _rate(self.plain), _rate(self.drafted), self.drafted[0].result.speculation
        return {
            "plain": f"{plain:.1f} tokens/s",
            "drafted": f"{drafted:.1f} tokens/s, {drafted / plain:.2f} times as fast",
            "tokens per round": f"{found.tokens_per_round:.2f}",
            "guesses kept": f"{found.accepted} of {found.drafted}",
            "identical texts": "yes" if self.is_same else "NO",
        }


EDIT = Task("an edit, copied ahead", QUESTION, "suffix")
# No head is trained on this prompt or on others of its topic.
FRESH = Task("fresh text, guessed by the head", held_out(1)["code"][0], "mtp")


def main(model: str = MODEL) -> int:
    """Show the answers and the table; fail if drafting changed a text."""
    with Meter() as meter:
        subjects = Subjects(model, meter, context=1024)
    tasks = (FRESH, EDIT) if _has_head(subjects) else (EDIT,)
    found = [ask(subjects, model, task) for task in tasks]
    if len(found) > 1:
        _line("", [each.task.name for each in found])
    for name in found[0].rows():
        _line(name, [each.rows()[name] for each in found])
    return 0 if all(each.is_same for each in found) else 1


def ask(subjects: Subjects, model: str, task: Task) -> Told:
    """Show an answer as it is written with drafting, and return timed ones."""
    is_coloured = sys.stdout.isatty()
    colours = f"; {COLOURS[task.drafter]}drafted{RESET}, written:" if is_coloured else ":"
    print(f"{task.question}\n\n{model} answers{colours}\n")
    painter = Painter(subjects.llm.tokenizer) if is_coloured else None
    write(subjects.llm.stream(drafter=task.drafter, **task.request), Meter("tokens"), painter)
    print()
    told = Told(task, [], [])
    for _ in range(REPEAT):
        for taken, drafter in ((told.plain, "none"), (told.drafted, task.drafter)):
            taken.append(subjects.answer(Arm(drafter, drafter), **task.request))
    return told


def _has_head(subjects: Subjects) -> bool:
    with open_gguf(subjects.llm.path) as file:
        return file.metadata.int(f"{file.metadata.str('general.architecture')}.nextn_predict_layers", 0) > 0


def _rate(taken: Sequence[Sample]) -> float:
    return statistics.median(sample.result.timings.predicted_per_s for sample in taken)


def _line(name: str, values: Sequence[str]) -> None:
    print(f"{name:<18}" + "".join(f"{value:<40}" for value in values[:-1]) + values[-1])


if __name__ == "__main__":
    sys.exit(main())
