"""A smaller model that drafts for another: its trunk, read from the file that both are seen as."""

from __future__ import annotations

from dataclasses import replace

from outpace.errors import UnsupportedError
from outpace.gguf.beside import PREFIX, parts
from outpace.gguf.file import GGUFFile
from outpace.gguf.weights import Weights
from outpace.graph.cost import state_spec
from outpace.graph.passes import optimise
from outpace.graph.trace import trace
from outpace.models import Model, load_plan


def load_both(file: GGUFFile) -> tuple[Model, Model | None]:
    """Read the model in `file`, and the smaller one beside it where there is one (`beside.open_with_draft`).

    Plans name the tensors as `file` does. Errors name each model's own file.

    Raises:
        ModelFileError: One of them is damaged; see `load_plan`.
        UnsupportedError: One of them cannot be run, or the smaller one has recurrent layers.
    """
    own, beside = parts(file)
    model = load_plan(own)
    if beside is None:
        return model, None
    small = load_plan(beside)
    if state_spec(small.plan).recurrent:
        # Its state would have gone past a guess that was wrong.
        raise UnsupportedError("drafting with a model of recurrent layers", str(beside.path), ("attention alone",))
    weights = Weights(file).scoped(PREFIX)
    program, config = small.definition.trunk, small.config
    traced = trace("draft", lambda ops: program(ops, weights, config))
    return model, replace(small, traced=traced, plan=optimise(traced))
