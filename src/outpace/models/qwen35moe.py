"""Qwen3.5 and 3.6 with experts: the layers of `qwen35`, a mixture of experts and a shared one in place of SwiGLU."""

from __future__ import annotations

from functools import partial

from outpace.models.definition import Definition
from outpace.models.delta import Family, draft, projected, trunk
from outpace.models.hybrid import Config

FAMILY = Family(project=projected, tiled=True)

DEFINITION = Definition(
    arch="qwen35moe", config=Config, trunk=partial(trunk, family=FAMILY), draft=partial(draft, family=FAMILY)
)
