"""What is said of a model file that was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outpace.errors import readable_bytes

if TYPE_CHECKING:
    from outpace.convert.write import Written


def line(written: Written) -> str:
    """Return a line for people: where it is, its size, and what it has beside the trunk."""
    heads = ((written.n_mtp, "MTP layer"), (written.n_medusa, "Medusa head"))
    more = "".join(f", {n} {name}{'s' * (n > 1)}" for n, name in heads if n)
    return f"{written.path}: {readable_bytes(written.n_bytes)}, {written.n_tensors} tensors{more}"


def numbers(written: Written) -> dict[str, Any]:
    """Return the same for a program."""
    return {
        "path": str(written.path),
        "bytes": written.n_bytes,
        "tensors": written.n_tensors,
        "mtp_layers": written.n_mtp,
        "medusa_heads": written.n_medusa,
    }
