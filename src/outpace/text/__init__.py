"""Strings to ids and back; knows no tensors."""

from outpace.text.chat import ChatTemplate
from outpace.text.stops import StopStrings
from outpace.text.stream import Detokenizer
from outpace.text.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Detokenizer", "StopStrings", "Tokenizer"]
