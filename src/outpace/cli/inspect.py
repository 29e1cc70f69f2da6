"""`outpace inspect`: what a file holds and what running it takes, from its header alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outpace.cli import options as o
from outpace.cli.report import Report, show
from outpace.config import KV_TYPES, RunConfig
from outpace.errors import ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from outpace.backends.backend import Backend
    from outpace.engine.resolve import Settings
    from outpace.gguf.file import GGUFFile
    from outpace.graph.plan import Plan
    from outpace.models import Model
    from outpace.text.tokenizer import Tokenizer

Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        rich_help_panel=o.ROOM,
        help="Memory that a run may take, as in 8G (default: what is available now).",
    ),
]


def inspect(
    model: o.Model,
    ctx_size: o.Context = None,
    parallel: o.Parallel = RunConfig.parallel,
    kv_type: o.KVType = RunConfig.kv_type,
    threads: o.Threads = None,
    draft_model: o.DraftModel = None,
    spec_type: o.SpecType = RunConfig.spec_type,
    spec_draft_n_max: o.SpecMost = RunConfig.spec_draft_n_max,
    memory: Memory = None,
    as_json: o.Json = False,
) -> None:
    """Tell what a file holds and how much memory a run with these options takes, without reading a tensor."""
    from outpace import hub
    from outpace.cli.progress import Meter
    from outpace.gguf.beside import open_with_draft

    config = RunConfig(
        context=ctx_size,
        parallel=parallel,
        kv_type=kv_type,
        threads=threads,
        spec_type=spec_type,
        spec_draft_n_max=spec_draft_n_max,
    )
    memory_bytes = None if memory is None else o.size(memory, "--memory")
    with Meter() as meter:
        path = hub.resolve(model, progress=meter)
        head = None if draft_model is None else hub.resolve(draft_model, progress=meter)
    with open_with_draft(path, head) as file:
        report = _report(path, file, config, memory_bytes)
    show(report)
    if as_json:
        typer.echo(json.dumps(report.as_json()))


def _report(path: Path, file: GGUFFile, config: RunConfig, memory_bytes: int | None) -> Report:
    from outpace import env, llm  # noqa: F401 - a run imports it, and its memory counts
    from outpace.backends.cpu import CpuBackend
    from outpace.engine.drafters import offered
    from outpace.engine.resolve import SPARE_BYTES, available_memory
    from outpace.engine.room import Room, contexts
    from outpace.gguf.beside import parts
    from outpace.gguf.heads import count_key
    from outpace.models.small import load_both

    found, small = load_both(file)
    own, beside = parts(file)
    metadata, tier = file.metadata, env.read().tier
    made = cache(lambda threads: CpuBackend(threads, tier))
    drafts = offered(found, small)
    settings, problem = _settings(config, found, drafts, made)
    tokenizer, has_template = _text(file)
    # By now this process has imported and built what a run does. The most it took counts: a run builds its tokenizer
    # while its weights are packed, and may have packed them before.
    runtime_bytes = most_memory()
    if memory_bytes is None:
        memory_bytes = max(available_memory() - SPARE_BYTES, 0) + runtime_bytes
    else:
        settings, problem = _settings(config, found, drafts, made, memory_bytes - runtime_bytes)
    backend = made(settings.threads)
    draft = drafts.get(settings.speculator)
    room = Room(settings, lambda limits: backend.memory(found.plan, limits, draft))
    most, types = found.config.n_ctx_train, Counter[str]()
    for info in own.tensors.values():
        types[info.type.name] += info.n_bytes
    arch, memory = found.definition.arch, settings.memory
    held = {
        "weights_bytes": memory.weights_bytes,
        "kv_bytes": memory.kv_bytes,
        "state_bytes": memory.state_bytes,
        "mtp_bytes": memory.mtp_bytes,
        "workspace_bytes": memory.workspace_bytes,
        "runtime_bytes": runtime_bytes,
    }
    return Report(
        name=metadata.str("general.name", path.name),
        architecture=arch,
        medusa_heads=metadata.int(count_key(arch, "medusa"), 0),
        mtp_layers=metadata.int(f"{arch}.nextn_predict_layers", 0),
        parameters=_parameters(own),
        types=dict(types.most_common()),
        tokenizer=None
        if tokenizer is None
        else {"model": tokenizer.name, "pre": tokenizer.pre, "vocab_size": tokenizer.vocab_size},
        has_template=has_template,
        unused=found.unused,
        converted=backend.converted(found.plan) | (backend.converted(draft) if draft else {}),
        settings=settings,
        memory=held | {"total_bytes": sum(held.values())},
        mtp={} if memory.draft is None else asdict(memory.draft),
        draft_model=None
        if beside is None
        else {
            "name": beside.metadata.str("general.name", beside.path.name),
            "architecture": beside.metadata.str("general.architecture"),
            "parameters": _parameters(beside),
        },
        contexts={n: {kind: room.bytes_of(n, kind) + runtime_bytes for kind in KV_TYPES} for n in contexts(most)},
        longest={kind: room.longest(most, kind, memory_bytes - runtime_bytes) for kind in KV_TYPES},
        available_bytes=memory_bytes,
        problem=problem,
    )


def _parameters(file: GGUFFile) -> int:
    return sum(prod(info.shape) for info in file.tensors.values())


def _settings(
    config: RunConfig,
    found: Model,
    drafts: Mapping[str, Plan],
    backend: Callable[[int], Backend],
    available_bytes: int | None = None,
) -> tuple[Settings, str]:
    """Return what a run would settle on; if it would be refused, what it would have been and the refusal."""
    from outpace import env
    from outpace.engine.resolve import resolve

    def settle(available_bytes: int | None) -> Settings:
        return resolve(
            config,
            found.plan,
            found.config.n_ctx_train,
            backend,
            drafts=drafts,
            environment_threads=env.read().threads,
            available_bytes=available_bytes,
        )

    try:
        return settle(available_bytes), ""
    except ResourceError as error:
        return settle(1 << 62), str(error)


def _text(file: GGUFFile) -> tuple[Tokenizer | None, bool]:
    """Return the tokenizer and whether there is a chat template; both are made as a run makes them."""
    from outpace.text.chat import ChatTemplate
    from outpace.text.tokenizer import Tokenizer

    metadata = file.metadata
    template = ChatTemplate.from_metadata(metadata)
    if template is not None:
        import jinja2.sandbox  # noqa: F401 - as above
    if "tokenizer.ggml.model" not in metadata:
        return None, template is not None
    tokenizer = Tokenizer.from_metadata(metadata)
    tokenizer.encode("a message")
    return tokenizer, template is not None


def most_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
