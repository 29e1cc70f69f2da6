"""A model made ready for a command, with progress, and with notes on what was settled differently than asked."""

from __future__ import annotations

import gc
import threading
from importlib import import_module
from typing import Any

from outpace import env
from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend
from outpace.backends.cpu.executable import CpuExecutable
from outpace.cli.progress import Meter, note
from outpace.gguf.file import GGUFFile
from outpace.graph.plan import Plan
from outpace.llm import LLM


class Backend(CpuBackend):
    """The CPU's backend; says which tensors are kept in another type than the file's.

    Attributes:
        meanwhile: Modules that will be needed: imported while weights are packed, which needs no Python.
    """

    meanwhile: tuple[str, ...] = ()

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits, draft: Plan | None = None) -> CpuExecutable:
        """Compile as the CPU's backend does."""
        for module in self.meanwhile:
            threading.Thread(target=import_module, args=(module,), daemon=True).start()
        converted = list(self.converted(plan).values())
        for change in dict.fromkeys(converted):
            note(f"{converted.count(change)} tensors have a type without a kernel and are converted: {change}")
        return super().compile(plan, file, limits, draft)


def load(model: str, *, uses_template: bool = False, **options: Any) -> LLM:
    """Return a model, ready to write.

    Args:
        model: What the command line names it.
        uses_template: Whether a chat template will be needed: what renders it is imported while weights are packed.
        options: `draft_model`, and fields of `RunConfig`.
    """
    tier = env.read().tier

    def backend(threads: int) -> Backend:
        made = Backend(threads, tier, lambda done, total: meter("loading", done, total))
        if uses_template:
            made.meanwhile = ("jinja2.sandbox",)
        return made

    # Hundreds of thousands of strings come to stay; looking through them again and again finds nothing.
    gc.disable()
    try:
        with Meter() as meter:
            llm = LLM(model, backend=backend, progress=meter, **options)
    finally:
        gc.enable()
    for setting in ("context", "n_pages"):
        reason = llm.settings.reasons[setting]
        if "memory is short" in reason:
            note(f"a context of {llm.context} tokens; {reason}")
    return llm
