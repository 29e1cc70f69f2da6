"""The Python API: a model file, prompts in, text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as List
from dataclasses import fields
from functools import cache
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from outpace import env
from outpace.config import SPEC_ALIASES, SPEC_TYPES, RunConfig
from outpace.engine.drafters import make, offered, speculator_of
from outpace.engine.engine import Engine
from outpace.engine.output import Output
from outpace.engine.resolve import Settings, resolve
from outpace.engine.result import Result
from outpace.engine.sequence import Request, Sequence
from outpace.engine.stream import Stream
from outpace.errors import ConfigError, RequestError, nearest
from outpace.graph.cost import state_spec
from outpace.graph.step import Segment, Step
from outpace.later import Later
from outpace.sampling.params import SamplingParams
from outpace.sampling.sampler import Sampler
from outpace.speculate import (
    AutoDepth,
    Drafter,
    FixedDepth,
    NoDrafter,
    Policy,
    SpeculatedDrafter,
    Speculator,
    StepCosts,
    SuffixDrafter,
    measure,
)

if TYPE_CHECKING:
    from outpace.backends.backend import Backend, Executable
    from outpace.graph.plan import Plan
    from outpace.text.chat import ChatTemplate
    from outpace.text.tokenizer import Tokenizer

Progress: TypeAlias = Callable[[str, int, int], None]


class LLM:
    """A model, ready to write.

    Example: `with LLM("smollm2-135m") as llm: print(llm.generate("Once upon a time", max_tokens=50).text)`

    Attributes:
        path: The file.
        settings: What the open settings were settled to, with reasons.
        load_s: Seconds that loading took.

    One thread at a time.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        draft_model: str | Path | None = None,
        backend: Callable[[int], Backend] | None = None,
        policy: Policy | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> None:
        """Load a model.

        Args:
            model: A path, a name from the catalogue, or an `hf://` or `pypi://` address.
            draft_model: The same of a file that drafts: the model's multi-token-prediction head, where that is apart,
                or a smaller model with the same tokens.
            backend: Makes the backend for a number of threads; None for the CPU's.
            policy: Decides how much of a draft is verified; None for whatever pays on this machine.
            progress: Called while a file is fetched or loaded, with what is being done, bytes done and bytes in all.
            options: Fields of `RunConfig`.

        Raises:
            OutpaceError: In the many ways of its subclasses.
        """
        from outpace.gguf.beside import open_with_draft
        from outpace.hub import resolve as find
        from outpace.models.small import load_both

        began = perf_counter()
        config = RunConfig.of(options)
        self.path = find(str(model), progress=progress)
        beside = None if draft_model is None else find(str(draft_model), progress=progress)
        self._file = open_with_draft(self.path, beside)
        found, small = load_both(self._file)
        environment = env.read()
        # The one that told the memory compiles too: it has lowered the plan.
        made = cache(backend or _cpu(environment.tier, progress))
        drafts = offered(found, small)
        self.settings: Settings = resolve(
            config,
            found.plan,
            found.config.n_ctx_train,
            made,
            drafts=drafts,
            environment_threads=environment.threads,
        )
        self._n_ctx_train = found.config.n_ctx_train
        # The tokenizer is built while the weights are arranged.
        self._text = Later(lambda: self._read_tokenizer())
        self._template: ChatTemplate | None = None
        limits = self.settings.limits
        who = self.settings.speculator
        self._executable: Executable = made(self.settings.threads).compile(
            found.plan, self._file, limits, drafts.get(who)
        )
        program = self._executable.draft
        self._speculator: Speculator[Any] | None = None if program is None else make(who, program, found, small)
        self._engine = Engine(
            self._executable,
            policy or self._policy(config, found.plan),
            self.settings.parallel,
            speculator=self._speculator,
            is_recurrent=bool(state_spec(found.plan).recurrent),
        )
        self._text()
        self.load_s = perf_counter() - began

    @property
    def tokenizer(self) -> Tokenizer:
        """The file's tokenizer.

        Raises:
            RequestError: The file has none; prompts must be tokens.
        """
        found = self._text()
        if found is None:
            raise RequestError(f"{self.path} has no tokenizer; give the prompt as tokens (prompt_tokens)")
        return found

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""
        return self.settings.context

    @property
    def policy(self) -> Policy:
        """Decides how much is drafted and verified; another may be put in its place between two answers."""
        return self._engine.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._engine.policy = policy

    @overload
    def generate(self, prompt: str, **options: Any) -> Result: ...
    @overload
    def generate(self, prompt: List[str], **options: Any) -> list[Result]: ...
    @overload
    def generate(self, *, prompt_tokens: List[int], **options: Any) -> Result: ...
    @overload
    def generate(self, *, prompt_tokens: List[List[int]], **options: Any) -> list[Result]: ...
    def generate(self, prompt: Any = None, **options: Any) -> Any:
        """Write on from a prompt as it is, or from several at a time.

        Args:
            prompt: Text, or a list of texts.
            options: `prompt_tokens` in place of a prompt, and the options of `stream`.
        """
        return self.stream(prompt, **options).finish()

    def chat(self, messages: List[Mapping[str, Any]], **options: Any) -> Result:
        """Answer a conversation, by the file's chat template.

        Args:
            messages: Mappings with `role` and `content`.
            options: Those of `stream`.
        """
        found: Result = self.stream(messages=messages, **options).finish()
        return found

    def stream(
        self,
        prompt: str | List[str] | None = None,
        *,
        prompt_tokens: List[int] | List[List[int]] | None = None,
        messages: List[Mapping[str, Any]] | None = None,
        template: Mapping[str, Any] | None = None,
        params: SamplingParams | None = None,
        max_tokens: int | None = None,
        stop: str | List[str] = (),
        ignore_eos: bool = False,
        drafter: str | None = None,
        on_prompt: Callable[[int, int], None] | None = None,
        **sampling: Any,
    ) -> Stream:
        """Write piece by piece; the sequence's memory is held until the stream is read to its end or closed.

        Args:
            prompt: Text as it is, or several texts that are answered together.
            prompt_tokens: Tokens in place of text (or lists of tokens).
            messages: A conversation in place of text; goes through the file's chat template.
            template: Keyword arguments of the chat template (`tools`, `enable_thinking`, ...).
            params: How tokens are chosen.
            max_tokens: Most tokens to write; None for as many as the context holds.
            stop: Text, or several, that ends the answer and is not part of it.
            ignore_eos: Go on past the tokens that end a text.
            drafter: Who drafts this time, by the names of `RunConfig.spec_type`; None for whom the settings say.
                Changes no token.
            on_prompt: Called with tokens done and tokens in all while a prompt is read.
            sampling: Fields of `SamplingParams`, in place of `params`.

        Raises:
            RequestError: The prompt is empty or does not fit the context, or the request is not clear.
            ConfigError: An option is unknown or out of range.
        """
        given = [
            name
            for name, x in (("prompt", prompt), ("prompt_tokens", prompt_tokens), ("messages", messages))
            if x is not None
        ]
        if len(given) != 1:
            raise RequestError(
                f"one of prompt, prompt_tokens and messages is needed; found {', '.join(given) or 'none'}"
            )
        who = self._drafter_named(drafter)
        chosen = _sampling(params, sampling)
        prompts, is_many = self._encode(prompt, prompt_tokens, messages, template or {})
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        requests = [Request(tuple(each), chosen, max_tokens, stops, ignore_eos) for each in prompts]
        sequences = [self._sequence(each, self._drafter(who, len(each.tokens))) for each in requests]
        return Stream(self._engine, sequences, self.load_s, is_many, on_prompt)

    def close(self) -> None:
        """Let go of the file and of the model's memory."""
        self._file.close()
        del self._engine, self._executable

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _encode(
        self, prompt: Any, prompt_tokens: Any, messages: Any, template: Mapping[str, Any]
    ) -> tuple[list[list[int]], bool]:
        """Return the prompts in tokens, and whether several were asked for."""
        if messages is not None:
            if self._template is None:
                from outpace.text.chat import ChatTemplate

                self._template = ChatTemplate.require(self._file.metadata)
            return [self.tokenizer.encode(self._template.render(messages, **template))], False
        if prompt is not None:
            texts = [prompt] if isinstance(prompt, str) else list(prompt)
            return [self.tokenizer.encode(text) for text in texts], not isinstance(prompt, str)
        is_many = bool(len(prompt_tokens)) and not isinstance(prompt_tokens[0], (int, np.integer))
        lists = prompt_tokens if is_many else [prompt_tokens]
        return [[int(token) for token in each] for each in lists], is_many

    def _sequence(self, request: Request, drafter: Drafter) -> tuple[Sequence, tuple[str, ...]]:
        """Return the sequence of a request, and what of the request had to be changed."""
        n_vocab, context, n = self._executable.n_vocab, self.settings.context, len(request.tokens)
        if n == 0:
            raise RequestError("the prompt has no tokens; at least one is needed")
        wrong = next((token for token in request.tokens if not 0 <= token < n_vocab), None)
        if wrong is not None:
            raise RequestError(f"token {wrong} is outside the vocabulary (0 to {n_vocab - 1})")
        if n >= context:
            most = self._n_ctx_train
            hint = f"; a context of up to {most} can be asked for (-c)" if most > context else ""
            raise RequestError(
                f"the prompt has {n} tokens, and the context of {context} must hold the answer too{hint}"
            )
        if request.max_tokens is not None and request.max_tokens < 1:
            raise RequestError(f"max_tokens is {request.max_tokens}; expected 1 or more")
        most = min(context, n + (request.max_tokens or context))
        notes: tuple[str, ...] = ()
        if request.max_tokens is not None and n + request.max_tokens > context:
            notes = (f"max_tokens {request.max_tokens} lowered to {most - n}: the context holds {context} tokens",)
        sampler = Sampler(request.sampling, n_vocab)
        return self._new_sequence(request, sampler, drafter, self._output(request), most), notes

    def _new_sequence(self, *given: Any) -> Sequence:
        return Sequence(*given)

    def _drafter_named(self, asked: str | None) -> str:
        """Return who drafts where `asked` is asked for."""
        if asked is None or asked == "auto":
            return self.settings.drafter
        name = SPEC_ALIASES.get(asked, asked)
        if name not in SPEC_TYPES:
            raise ConfigError("drafter", asked, f"one of {', '.join(SPEC_TYPES)}{nearest(asked, SPEC_TYPES)}")
        if speculator_of(name) not in ("", self.settings.speculator):
            has = self.settings.drafter
            raise ConfigError("drafter", asked, f"one that was loaded: the model runs with {has}, and has no other")
        if name != "none" and self.settings.drafter == "none":
            raise ConfigError("drafter", asked, "none: the model was loaded to draft nothing (spec_type none)")
        return name

    def _drafter(self, name: str, n_prompt: int) -> Drafter:
        copier = SuffixDrafter() if name.startswith("suffix") else None
        if speculator_of(name) and self._speculator is not None:
            return SpeculatedDrafter(self._speculator.name, self._speculator.state(n_prompt), copier)
        return copier or NoDrafter()

    def _output(self, request: Request) -> Output:
        tokenizer = self._text()
        if tokenizer is None:
            if request.stop:
                raise RequestError(f"{self.path} has no tokenizer, so no text that a stop string could end")
            return Output()
        from outpace.text.stops import StopStrings
        from outpace.text.stream import Detokenizer

        return Output(
            Detokenizer(tokenizer, skip_special=True),
            StopStrings(request.stop) if request.stop else None,
            frozenset() if request.ignore_eos else tokenizer.stop_ids,
        )

    def _read_tokenizer(self) -> Tokenizer | None:
        from outpace.text.tokenizer import Tokenizer

        metadata = self._file.metadata
        return Tokenizer.from_metadata(metadata) if "tokenizer.ggml.model" in metadata else None

    def _policy(self, config: RunConfig, plan: Plan) -> Policy:
        if self.settings.drafter == "none":
            return FixedDepth(0)
        limits = (config.spec_draft_n_max, config.spec_draft_n_min, config.spec_draft_p_min)
        if state_spec(plan).recurrent:
            # A step at a later time would need a recurrent state that nobody has.
            return AutoDepth(measure(lambda width: self._time_step(width, 0), most=self._most_wanted), *limits)
        return AutoDepth(StepCosts(), *limits, measure=self._measure)

    def _measure(self) -> StepCosts | None:
        """Return what steps of each width take now, or None while no page is free for them."""
        page = self._engine.memory.spare()
        return None if page is None else measure(lambda width: self._time_step(width, page), most=self._most_wanted)

    @property
    def _most_wanted(self) -> int:
        return self.settings.limits.max_wanted

    def _time_step(self, width: int, page: int) -> float:
        """Return the seconds of a step of `width` rows on a page that nobody has."""
        step = Step([0] * width, [Segment(0, width, np.array([page], np.int32))], range(width))
        began = perf_counter()
        self._executable.run(step)
        return perf_counter() - began


def _cpu(tier: str | None, progress: Progress | None) -> Callable[[int], Backend]:
    def make(threads: int) -> Backend:
        from outpace.backends.cpu import CpuBackend

        report = None if progress is None else lambda done, total: progress("loading", done, total)
        return CpuBackend(threads, tier, report)

    return make


def _sampling(params: SamplingParams | None, options: Mapping[str, Any]) -> SamplingParams:
    """Return the sampling settings that a caller's options make; an unknown name is an error."""
    if params is not None:
        if not options:
            return params
        raise RequestError(f"give params or {', '.join(options)}, not both")
    known = [field.name for field in fields(SamplingParams)]
    for name in options:
        if name not in known:
            expected = f"no such option (known: {', '.join(known)}){nearest(name, known)}"
            raise ConfigError(f"the option {name}", options[name], expected)
    return SamplingParams(**options)
