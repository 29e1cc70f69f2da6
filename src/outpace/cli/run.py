"""`outpace run`: one prompt in, one answer out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outpace.cli import options as o
from outpace.config import RunConfig
from outpace.errors import RequestError

if TYPE_CHECKING:
    from outpace.llm import LLM

INTERRUPTED = 130


def run(
    model: o.Model,
    prompt: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--prompt",
            metavar="TEXT",
            help="The prompt, sent through the file's chat template (default: read from standard input).",
        ),
    ] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option("--prompt-tokens", metavar="IDS", help="The prompt as token ids: 1,2,3.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Feed the prompt as it is, without the chat template.")] = False,
    system_prompt: o.System = None,
    predict: o.Length = None,
    stop: o.Stop = None,
    ignore_eos: o.IgnoreEos = False,
    as_json: o.Json = False,
    ctx_size: o.Context = None,
    parallel: o.Parallel = RunConfig.parallel,
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
    typical: o.TypicalP = 1.0,
    repeat_penalty: o.RepeatPenalty = 1.0,
    repeat_last_n: o.RepeatLastN = 64,
    presence_penalty: o.PresencePenalty = 0.0,
    frequency_penalty: o.FrequencyPenalty = 0.0,
    logit_bias: o.LogitBias = None,
    seed: o.Seed = 0,
) -> int:
    """Answer a prompt."""
    # Said before anything is loaded, since it needs nothing that is loaded.
    request = _prompt(prompt, prompt_tokens, raw, system_prompt)
    bias = o.biases(logit_bias)

    from outpace.cli.loading import load
    from outpace.sampling.params import SamplingParams

    params = SamplingParams(
        temperature=temp,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical,
        repeat_penalty=repeat_penalty,
        repeat_last_n=repeat_last_n,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=bias,
        seed=seed,
    )
    llm = load(
        model,
        uses_template="messages" in request,
        draft_model=draft_model,
        context=ctx_size,
        parallel=parallel,
        kv_type=kv_type,
        threads=threads,
        spec_type=spec_type,
        spec_draft_n_max=spec_draft_n_max,
        spec_draft_n_min=spec_draft_n_min,
        spec_draft_p_min=spec_draft_p_min,
    )
    request |= {"params": params, "max_tokens": predict, "stop": stop or (), "ignore_eos": ignore_eos}
    with llm:
        return _answer(llm, request, show_drafts=show_drafts, as_json=as_json)


def _answer(llm: LLM, request: dict[str, Any], *, show_drafts: bool, as_json: bool) -> int:
    from outpace.cli.answer import close, write
    from outpace.cli.paint import Painter
    from outpace.cli.progress import Meter

    meter = Meter("tokens")
    stream = llm.stream(on_prompt=lambda done, total: meter("reading the prompt", done, total), **request)
    result = write(stream, meter, Painter(llm.tokenizer) if show_drafts else None)
    close(result)
    if as_json:
        typer.echo(json.dumps(result.as_json()))
    return INTERRUPTED if result.finish_reason == "cancelled" else 0


def _prompt(text: str | None, tokens: str | None, raw: bool, system: str | None) -> dict[str, Any]:
    """Return the prompt as an option of `LLM.stream`.

    Raises:
        RequestError: There is none, or more than one, or it is not text.
    """
    if text is not None and tokens is not None:
        raise RequestError("give one of -p and --prompt-tokens, not both")
    if system is not None and (raw or tokens is not None):
        raise RequestError("--system-prompt goes through the chat template, which --raw and --prompt-tokens pass by")
    if tokens is not None:
        return {"prompt_tokens": o.whole_numbers(tokens)}
    if text is None:
        text = _standard_input()
    if raw:
        return {"prompt": text}
    messages = [{"role": "system", "content": system}] if system is not None else []
    return {"messages": [*messages, {"role": "user", "content": text}]}


def _standard_input() -> str:
    """Return standard input as text, without the line end that most tools put at its end."""
    if sys.stdin is None or sys.stdin.isatty():
        raise RequestError("no prompt: give -p TEXT or --prompt-tokens IDS, or text on standard input")
    raw = sys.stdin.buffer.read()
    try:
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"the prompt on standard input is not UTF-8 (byte {error.start})") from None
