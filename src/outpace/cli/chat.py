"""`outpace chat`: a conversation, turn by turn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from outpace.cli import options as o
from outpace.config import RunConfig

if TYPE_CHECKING:
    from outpace.llm import LLM

INTERRUPTED = 130
HELP = "type a message; /clear begins anew, /exit (or end of input) ends, ^C ends an answer"


def chat(
    model: o.Model,
    system_prompt: o.System = None,
    predict: o.Length = None,
    ctx_size: o.Context = None,
    kv_type: o.KVType = RunConfig.kv_type,
    threads: o.Threads = None,
    draft_model: o.DraftModel = None,
    spec_type: o.SpecType = RunConfig.spec_type,
    spec_draft_n_max: o.SpecMost = RunConfig.spec_draft_n_max,
    spec_draft_n_min: o.SpecLeast = RunConfig.spec_draft_n_min,
    spec_draft_p_min: o.SpecChance = RunConfig.spec_draft_p_min,
    show_drafts: o.ShowDrafts = False,
    temp: o.Temperature = 0.8,
    top_k: o.TopK = 40,
    top_p: o.TopP = 0.95,
    min_p: o.MinP = 0.05,
    repeat_penalty: o.RepeatPenalty = 1.0,
    seed: o.Seed = 0,
) -> int:
    """Hold a conversation; what was said before is not computed again."""
    from outpace.cli.loading import load
    from outpace.sampling.params import SamplingParams

    params = SamplingParams(
        temperature=temp, top_k=top_k, top_p=top_p, min_p=min_p, repeat_penalty=repeat_penalty, seed=seed
    )
    llm = load(
        model,
        uses_template=True,
        draft_model=draft_model,
        context=ctx_size,
        kv_type=kv_type,
        threads=threads,
        spec_type=spec_type,
        spec_draft_n_max=spec_draft_n_max,
        spec_draft_n_min=spec_draft_n_min,
        spec_draft_p_min=spec_draft_p_min,
    )
    with llm:
        _talk(llm, {"params": params, "max_tokens": predict}, system_prompt, show_drafts=show_drafts)
    return 0


def _talk(llm: LLM, request: dict[str, Any], system: str | None, *, show_drafts: bool) -> None:
    from outpace.cli.answer import close, write
    from outpace.cli.paint import Painter
    from outpace.cli.progress import Meter, note
    from outpace.errors import RequestError

    opening = [{"role": "system", "content": system}] if system is not None else []
    messages = list(opening)
    painter = Painter(llm.tokenizer) if show_drafts else None
    if sys.stdin.isatty():
        note(HELP)
    while (text := _next_message()) is not None:
        if text in ("/exit", "/quit"):
            return
        if text == "/clear":
            messages = list(opening)
            continue
        if not text.strip():
            continue
        messages.append({"role": "user", "content": text})
        meter = Meter("tokens")
        try:
            result = write(llm.stream(messages=messages, **request), meter, painter)
        except RequestError as error:
            # Mostly that the conversation no longer fits; what was said before still stands.
            messages.pop()
            note(f"{error} (/clear begins anew)")
            continue
        messages.append({"role": "assistant", "content": result.text})
        close(result)


def _next_message() -> str | None:
    """Return the next line that was typed, or None at the end."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.removesuffix("\n") if line else None
    import readline  # noqa: F401 - gives `input` its line editing

    try:
        return input("> ")
    except EOFError:
        return None
