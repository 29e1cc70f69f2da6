"""`outpace inspect`: what a file holds and what running it takes, from its header alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from outpace.cli import options as o
from outpace.config import RunConfig
from outpace.errors import ResourceError, readable_bytes

if TYPE_CHECKING:
    from outpace.engine.resolve import Settings
    from outpace.gguf.file import GGUFFile
    from outpace.models import Model
    from outpace.text.tokenizer import Tokenizer

# What the parts of the memory table are.
PARTS = {
    "weights_bytes": "weights, as packed",
    "kv_bytes": "KV cache",
    "state_bytes": "recurrent state",
    "mtp_bytes": "MTP layers",
    "workspace_bytes": "workspace",
    "runtime_bytes": "interpreter, libraries, tokenizer",
    "total_bytes": "total",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What there is to say about a file; `as_json` is the last line of `--json`."""

    name: str
    architecture: str
    mtp_layers: int
    parameters: int
    types: dict[str, int]
    tokenizer: dict[str, Any] | None
    has_template: bool
    unused: tuple[str, ...]
    converted: dict[str, str]
    settings: Settings
    memory: dict[str, int]
    problem: str

    def as_json(self) -> dict[str, Any]:
        """Return it as an object."""
        return {
            "architecture": self.architecture,
            "mtp_layers": self.mtp_layers,
            "parameters": self.parameters,
            "types": self.types,
            "tokenizer": self.tokenizer,
            "has_template": self.has_template,
            "unused": list(self.unused),
            "converted": self.converted,
            "context": self.settings.context,
            "parallel": self.settings.parallel,
            "kv_type": self.settings.limits.kv_type,
            "fits": not self.problem,
            "memory": self.memory,
        }


def inspect(
    model: o.Model,
    ctx_size: o.Context = None,
    parallel: o.Parallel = RunConfig.parallel,
    kv_type: o.KVType = RunConfig.kv_type,
    threads: o.Threads = None,
    draft_model: o.DraftModel = None,
    spec_type: o.SpecType = RunConfig.spec_type,
    spec_draft_n_max: o.SpecMost = RunConfig.spec_draft_n_max,
    as_json: o.Json = False,
) -> None:
    """Tell what a file holds and how much memory a run with these options takes, without reading a tensor."""
    from outpace import hub
    from outpace.cli.progress import Meter
    from outpace.gguf.join import open_with_head

    config = RunConfig(
        context=ctx_size,
        parallel=parallel,
        kv_type=kv_type,
        threads=threads,
        spec_type=spec_type,
        spec_draft_n_max=spec_draft_n_max,
    )
    with Meter() as meter:
        path = hub.resolve(model, progress=meter)
        head = None if draft_model is None else hub.resolve(draft_model, progress=meter)
    with open_with_head(path, head) as file:
        report = _report(path, file, config)
    _print(report)
    if as_json:
        typer.echo(json.dumps(report.as_json()))


def _report(path: Path, file: GGUFFile, config: RunConfig) -> Report:
    from outpace import env, llm  # noqa: F401 - a run imports it, and its memory counts
    from outpace.backends.cpu import CpuBackend
    from outpace.models import load_plan

    found = load_plan(file)
    metadata, tier = file.metadata, env.read().tier
    backend = CpuBackend(config.threads, tier)
    settings, problem = _settings(config, found, tier)
    memory = settings.memory
    types: Counter[str] = Counter()
    for info in file.tensors.values():
        types[info.type.name] += info.n_bytes
    n_parameters = 0
    for info in file.tensors.values():
        n = 1
        for size in info.shape:
            n *= size
        n_parameters += n
    arch = found.definition.arch
    tokenizer, has_template = _text(file)
    # By now this process has imported and built what a run does. The most it took counts: a run builds its tokenizer
    # while its weights are packed, and may have packed them before.
    runtime_bytes = most_memory()
    parts = {
        "weights_bytes": memory.weights_bytes,
        "kv_bytes": memory.kv_bytes,
        "state_bytes": memory.state_bytes,
        "mtp_bytes": 0,
        "workspace_bytes": memory.workspace_bytes,
        "runtime_bytes": runtime_bytes,
    }
    return Report(
        name=metadata.str("general.name", path.name),
        architecture=arch,
        mtp_layers=metadata.int(f"{arch}.nextn_predict_layers", 0),
        parameters=n_parameters,
        types=dict(types.most_common()),
        tokenizer=None
        if tokenizer is None
        else {"model": tokenizer.name, "pre": tokenizer.pre, "vocab_size": tokenizer.vocab_size},
        has_template=has_template,
        unused=found.unused,
        converted=backend.converted(found.plan),
        settings=settings,
        memory=parts | {"total_bytes": sum(parts.values())},
        problem=problem,
    )


def _settings(config: RunConfig, found: Model, tier: str | None) -> tuple[Settings, str]:
    """Return what a run would settle on; if it would be refused, what it would have been and the refusal."""
    from outpace import env
    from outpace.backends.cpu import CpuBackend
    from outpace.engine.resolve import resolve

    def settle(available_bytes: int | None = None) -> Settings:
        return resolve(
            config,
            found.plan,
            found.config.n_ctx_train,
            lambda threads: CpuBackend(threads, tier),
            environment_threads=env.read().threads,
            available_bytes=available_bytes,
        )

    try:
        return settle(), ""
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


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    tokenizer = report.tokenizer
    text = "none: prompts must be tokens"
    if tokenizer:
        text = f"{tokenizer['model']}{', ' + tokenizer['pre'] if tokenizer['pre'] else ''}"
        text += f", {tokenizer['vocab_size']} tokens"
    types = ", ".join(f"{name} {readable_bytes(n)}" for name, n in report.types.items())
    facts = {
        "architecture": f"{report.architecture}, {report.parameters / 1e6:.1f} M parameters",
        "types": types,
        "tokenizer": text,
        "chat template": "yes" if report.has_template else "no: prompts are fed as they are (--raw)",
        "MTP layers": str(report.mtp_layers or "none"),
    }
    if report.unused:
        more = f" and {len(report.unused) - 4} more" if len(report.unused) > 4 else ""
        facts["not used"] = f"{len(report.unused)} tensors: {', '.join(report.unused[:4])}{more}"
    if report.converted:
        changes = Counter(report.converted.values())
        facts["converted"] = ", ".join(f"{n} tensors {change}" for change, n in changes.items())
    console.print(escape(report.name), style="bold")
    for name, value in facts.items():
        console.print(f"{name:<14} {escape(value)}")
    settings = report.settings
    room = f"context {settings.context}, {settings.reasons['context']}"
    if settings.parallel > 1:
        room += f"; {settings.reasons['n_pages']}"
    table = Table("memory", "MB", title=room, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.columns[1].justify = "right"
    for key, what in PARTS.items():
        table.add_row(what, f"{report.memory[key] / 1e6:.1f}", style="bold" if key == "total_bytes" else "")
    console.print(table)
    if report.problem:
        console.print(f"does not fit: {escape(report.problem)}")
