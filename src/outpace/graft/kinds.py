"""The kinds of heads that can be trained: what each is made of, starts from, and makes of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from outpace.gguf.file import GGUFFile
from outpace.graft import start
from outpace.graft.blueprint import Blueprint
from outpace.graft.dataset import Dataset
from outpace.graft.design import Design
from outpace.graft.head import Unroll, at_once, chained
from outpace.graft.medusa import MedusaBlueprint


class Kind(NamedTuple):
    """A kind.

    Attributes:
        design: From a model's file and how many guesses in a row are trained: what the head is made of.
        start: From a design and the text: the tensors that training begins with.
        unroll: What the head makes of a batch, depth after depth.
        alone: Over which share of the steps, the first ones, the first guess alone is trained. A head that is used
            again and again learns most from it, at a third of the time of three; the further ones follow soon.
    """

    design: Callable[[GGUFFile, int], Design]
    start: Callable[[Design, Dataset], dict[str, Tensor]]
    unroll: Unroll
    alone: float


def kind(name: str) -> Kind:
    """Return one of `gguf.heads.KINDS`."""
    if name == "medusa":
        return Kind(MedusaBlueprint, lambda design, _: start.from_zeros(design), at_once, 0.0)
    return Kind(lambda file, _: Blueprint(file), start.from_least_squares, chained, 0.85)
