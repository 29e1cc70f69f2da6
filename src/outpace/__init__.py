"""outpace: run a GGUF file, draft ahead, keep the text."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outpace.engine.result import Piece, Result
    from outpace.llm import LLM
    from outpace.sampling.params import SamplingParams

__version__: str
__all__ = ["LLM", "Piece", "Result", "SamplingParams", "__version__"]

_HOMES = {
    "LLM": "outpace.llm",
    "Piece": "outpace.engine.result",
    "Result": "outpace.engine.result",
    "SamplingParams": "outpace.sampling.params",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for, so that `import outpace` is cheap."""
    if name == "__version__":
        from importlib.metadata import version  # takes longer to import than everything else here

        return version("outpace")
    if name not in _HOMES:
        raise AttributeError(f"module 'outpace' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
