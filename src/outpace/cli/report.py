"""What `inspect` has to say about a file: as an object, and as tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outpace.config import KV_TYPES
from outpace.errors import readable_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from outpace.engine.resolve import Settings

# What the parts of the memory table are.
PARTS = {
    "weights_bytes": "weights, as packed",
    "kv_bytes": "KV cache",
    "state_bytes": "recurrent state",
    "mtp_bytes": "what drafts",
    "workspace_bytes": "workspace",
    "runtime_bytes": "interpreter, libraries, tokenizer",
    "total_bytes": "total",
}
# What drafts, by the speculator's name.
DRAFTING = {"mtp": "MTP", "medusa": "Medusa heads", "draft": "draft model"}
MTP_PARTS = {
    "weights_bytes": "its layers",
    "head_bytes": "its rows of the vocabulary",
    "kv_bytes": "its KV cache",
    "workspace_bytes": "its workspace",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What there is to say about a file; `as_json` is the last line of `--json`.

    Attributes:
        mtp: Bytes of the parts of `memory["mtp_bytes"]`, of whatever drafts; empty where no head and no model does.
        draft_model: Name, architecture and parameters of the draft model, None where none was given.
        contexts: Bytes in all by context and KV type.
        longest: The longest context by KV type in `available_bytes`.
    """

    name: str
    architecture: str
    mtp_layers: int
    medusa_heads: int
    parameters: int
    types: dict[str, int]
    tokenizer: dict[str, Any] | None
    has_template: bool
    unused: tuple[str, ...]
    converted: dict[str, str]
    settings: Settings
    memory: dict[str, int]
    mtp: dict[str, int]
    draft_model: dict[str, Any] | None
    contexts: dict[int, dict[str, int]]
    longest: dict[str, int]
    available_bytes: int
    problem: str

    def as_json(self) -> dict[str, Any]:
        """Return it as an object."""
        return {
            "architecture": self.architecture,
            "mtp_layers": self.mtp_layers,
            "medusa_heads": self.medusa_heads,
            "parameters": self.parameters,
            "types": self.types,
            "tokenizer": self.tokenizer,
            "has_template": self.has_template,
            "unused": list(self.unused),
            "converted": self.converted,
            "context": self.settings.context,
            "parallel": self.settings.parallel,
            "kv_type": self.settings.limits.kv_type,
            "drafter": self.settings.drafter,
            "fits": not self.problem,
            "memory": self.memory,
            "mtp": self.mtp,
            "draft_model": self.draft_model,
            "contexts": {str(context): found for context, found in self.contexts.items()},
            "longest": self.longest,
            "available_bytes": self.available_bytes,
        }


def show(report: Report) -> None:
    """Print a report for people."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    console.print(escape(report.name), style="bold")
    for name, value in _facts(report).items():
        console.print(f"{name:<14} {escape(value)}")
    console.print(_memory(report))
    console.print(_contexts(report))
    if report.problem:
        console.print(f"does not fit: {escape(report.problem)}")


def _facts(report: Report) -> dict[str, str]:
    tokenizer = report.tokenizer
    text = "none: prompts must be tokens"
    if tokenizer:
        text = f"{tokenizer['model']}{', ' + tokenizer['pre'] if tokenizer['pre'] else ''}"
        text += f", {tokenizer['vocab_size']} tokens"
    settings = report.settings
    facts = {
        "architecture": f"{report.architecture}, {report.parameters / 1e6:.1f} M parameters",
        "types": ", ".join(f"{name} {readable_bytes(n)}" for name, n in report.types.items()),
        "tokenizer": text,
        "chat template": "yes" if report.has_template else "no: prompts are fed as they are (--raw)",
        "MTP layers": str(report.mtp_layers or "none"),
        "drafting": f"{settings.drafter}: {settings.reasons['drafter']}",
    }
    if report.medusa_heads:
        facts["Medusa heads"] = str(report.medusa_heads)
    if small := report.draft_model:
        facts["draft model"] = f"{small['name']}: {small['architecture']}, {small['parameters'] / 1e6:.1f} M parameters"
    if "n_slots" in settings.reasons:
        facts["states"] = f"{settings.limits.n_slots}: {settings.reasons['n_slots']}"
    if report.unused:
        more = f" and {len(report.unused) - 4} more" if len(report.unused) > 4 else ""
        facts["not used"] = f"{len(report.unused)} tensors: {', '.join(report.unused[:4])}{more}"
    if report.converted:
        changes = Counter(report.converted.values())
        facts["converted"] = ", ".join(f"{n} tensors {change}" for change, n in changes.items())
    return facts


def _memory(report: Report) -> Table:
    settings = report.settings
    room = f"context {settings.context}, {settings.reasons['context']}"
    if settings.parallel > 1:
        room += f"; {settings.reasons['n_pages']}"
    table = _table(room, "memory", "MB")
    for key, what in PARTS.items():
        if key == "mtp_bytes":
            what = DRAFTING.get(settings.speculator, "MTP")
        table.add_row(what, _mb(report.memory[key]), style="bold" if key == "total_bytes" else "")
        if key == "mtp_bytes":
            for part, of_it in MTP_PARTS.items():
                if report.mtp.get(part):
                    table.add_row(f"  {of_it}", _mb(report.mtp[part]), style="dim")
    return table


def _contexts(report: Report) -> Table:
    """Return the totals by context and KV type; what is more than there is stands in brackets."""
    each = f" for each of {report.settings.parallel} sequences" if report.settings.parallel > 1 else ""
    title = f"MB in all by KV type; {readable_bytes(report.available_bytes)} may be taken"
    table = _table(title, f"context{each}", *KV_TYPES)
    for context, found in report.contexts.items():
        cells = [_mb(n) if n <= report.available_bytes else f"({_mb(n)})" for n in found.values()]
        table.add_row(str(context), *cells)
    table.add_row("longest that fits", *(str(n or "none") for n in report.longest.values()), style="bold")
    return table


def _table(title: str, *headings: str) -> Table:
    from rich.table import Table

    table = Table(*headings, title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f}"
