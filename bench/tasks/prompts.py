"""Twenty prompts to write on from, five of each kind; those that repeat invite copying from what was said before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["code", "prose", "list", "language"]
KINDS: tuple[Kind, ...] = ("code", "prose", "list", "language")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to write on from.

    Attributes:
        name: Short, unique.
        kind: What it is.
        repeats: Whether what follows is likely to repeat what is there.
        text: The prompt, as it is: no chat template.
    """

    name: str
    kind: Kind
    repeats: bool
    text: str


PROMPTS: tuple[Prompt, ...] = (
    Prompt(
        "rename",
        "code",
        True,
        """Original:

def total_price(items, tax_rate):
    subtotal = 0
    for item in items:
        if item.quantity > 0:
            subtotal += item.price * item.quantity
    return subtotal * (1 + tax_rate)

def average_price(items):
    if not items:
        return 0
    return total_price(items, 0) / len(items)

The same code with `items` renamed to `products`:

def total_price(products, tax_rate):
    subtotal = 0
    for""",
    ),
    Prompt(
        "tests",
        "code",
        True,
        """import unittest

class TestStack(unittest.TestCase):
    def test_push(self):
        stack = Stack()
        stack.push(1)
        self.assertEqual(stack.size(), 1)

    def test_push_two(self):
        stack = Stack()
        stack.push(1)
        stack.push(2)
        self.assertEqual(stack.size(), 2)

    def test_push_three(self):
        stack = Stack()
""",
    ),
    Prompt(
        "structs",
        "code",
        True,
        """type Circle struct {
    Name   string
    Radius float64
}

func (c Circle) Describe() string {
    return fmt.Sprintf("%s is a circle", c.Name)
}

type Square struct {
    Name string
    Side float64
}

func (s Square) Describe() string {
    return fmt.Sprintf("%s is a square", s.Name)
}

type Triangle struct {
""",
    ),
    Prompt(
        "parser",
        "code",
        False,
        '''def parse_duration(text):
    """Turn a text like "1h 20m 5s" into seconds.

    Raises ValueError when a unit is not known.
    """
''',
    ),
    Prompt(
        "query",
        "code",
        False,
        "-- The ten customers who spent the most in the last thirty days, with the day of their last order\nSELECT",
    ),
    Prompt(
        "lighthouse",
        "prose",
        False,
        "The lighthouse had been dark for eleven years when Marta first rowed out to it. She had been told",
    ),
    Prompt(
        "bread",
        "prose",
        False,
        "Bread rises because yeast eats the sugars in the dough. In this article we look at what happens, step by step",
    ),
    Prompt(
        "letter",
        "prose",
        True,
        """Dear Mr Alvarez,

Thank you for your order of 12 March. Unfortunately the blue garden chairs are out of stock \
until 2 April. We are sorry for the delay.

Yours sincerely,
The Garden Shop

Dear Mrs Okafor,

Thank you for your order of 14 March. Unfortunately the""",
    ),
    Prompt(
        "verse",
        "prose",
        True,
        """This is the house that Jack built.
This is the malt that lay in the house that Jack built.
This is the rat that ate the malt that lay in the house that Jack built.
This is the cat that chased the rat that ate the malt that lay in the house that Jack built.
This is the dog""",
    ),
    Prompt(
        "quote",
        "prose",
        True,
        """The text: "The river was low that summer. Boats lay on the mud, and children walked to the island without \
getting their feet wet. Nobody could remember a drought like it."

Question: Repeat the text word by word.
Answer: "The river was""",
    ),
    Prompt(
        "planets",
        "list",
        True,
        """Mercury is the first planet from the sun. It has 0 moons.
Venus is the second planet from the sun. It has 0 moons.
Earth is the third planet from the sun. It has 1 moon.
Mars is the fourth planet from the sun. It has""",
    ),
    Prompt(
        "records",
        "list",
        True,
        """[
  {"id": 1, "name": "Anna", "city": "Oslo", "active": true},
  {"id": 2, "name": "Ben", "city": "Lima", "active": true},
  {"id": 3, "name": "Chloe", "city": "Kyoto", "active": false},
  {"id": 4, "name": \"""",
    ),
    Prompt(
        "countries",
        "list",
        True,
        """Country: France
Capital: Paris
Language: French

Country: Spain
Capital: Madrid
Language: Spanish

Country:""",
    ),
    Prompt(
        "packing",
        "list",
        False,
        "Things to take along on a three-day hike in autumn, the most important first:\n\n1.",
    ),
    Prompt(
        "ideas",
        "list",
        False,
        "Ten unusual ideas for a birthday party:\n\n- A treasure hunt through the town, with",
    ),
    Prompt(
        "german",
        "language",
        False,
        "Der alte Bahnhof am Rande der Stadt wurde vor hundert Jahren gebaut. Heute",
    ),
    Prompt(
        "french",
        "language",
        False,
        "Chaque matin, avant d'ouvrir la boulangerie, Hélène regardait par la fenêtre et",
    ),
    Prompt(
        "spanish",
        "language",
        True,
        """Inglés: The cat sleeps on the chair.
Español: El gato duerme en la silla.
Inglés: The dog sleeps on the floor.
Español: El perro duerme en el suelo.
Inglés: The bird sleeps on the""",
    ),
    Prompt(
        "japanese",
        "language",
        False,
        "昔々、ある山の中に小さな村がありました。村の人々は",
    ),
    Prompt(
        "italian",
        "language",
        True,
        """Lunedì mangio la pasta e bevo l'acqua.
Martedì mangio la pizza e bevo l'acqua.
Mercoledì mangio il riso e bevo l'acqua.
Giovedì mangio""",
    ),
)


def some(n: int) -> list[Prompt]:
    """Return n prompts, as many of each kind as can be, those that repeat first."""
    of_kind = [sorted((p for p in PROMPTS if p.kind == kind), key=lambda p: not p.repeats) for kind in KINDS]
    ordered = [kind[i] for i in range(len(of_kind[0])) for kind in of_kind]
    return ordered[:n]
