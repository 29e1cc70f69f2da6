"""A model name to a verified local file."""

from outpace.hub.catalogue import CATALOGUE, Entry
from outpace.hub.fetch import resolve

__all__ = ["CATALOGUE", "Entry", "resolve"]
