"""outpace: run a GGUF file, draft ahead, keep the text."""

from importlib.metadata import version

__version__ = version("outpace")
