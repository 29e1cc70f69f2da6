"""Prompts that a model asks itself: it goes on where its chat template lets a user begin.

Source: Xu et al. 2024 (arXiv:2406.08464), "Magpie".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outpace.graft.prompts import is_held_out
from outpace.sampling.params import SamplingParams

if TYPE_CHECKING:
    from outpace.llm import LLM
    from outpace.text.chat import ChatTemplate

# Most tokens of a prompt; one that goes on is dropped.
MOST_ASKED = 128
# What may be asked should be anything but the unlikeliest.
TEMPERATURE, MIN_P = 1.0, 0.02
_MARK = "what-a-user-says"


class Asker:
    """A model that is given the beginning of a user's turn.

    Attributes:
        opening: Tokens before what a user says; none where the template does not tell.
    """

    def __init__(self, llm: LLM, template: ChatTemplate) -> None:
        """Find where a user begins in a model's template."""
        self._llm = llm
        before, mark, _ = template.render([{"role": "user", "content": _MARK}]).partition(_MARK)
        self.opening = llm.tokenizer.encode(before) if mark else []

    def ask(self, n: int, seed: int) -> list[str]:
        """Let the model ask n times; return what it asked to the end, each once and nothing near a held-out prompt.

        Args:
            n: How often.
            seed: Of the first question; each has the one after.
        """
        if not self.opening:
            return []
        params = [
            SamplingParams(temperature=TEMPERATURE, top_k=0, top_p=1.0, min_p=MIN_P, seed=(seed + i) % 2**64)
            for i in range(n)
        ]
        found = self._llm.generate(prompt_tokens=[self.opening] * n, params=params, max_tokens=MOST_ASKED)
        texts = dict.fromkeys(each.text.strip() for each in found if each.finish_reason == "stop")
        return [text for text in texts if text and not is_held_out(text)]
