"""Qwen3.5 and 3.6, dense: three gated-delta layers to one of gated attention, SwiGLU, and a draft head."""

from __future__ import annotations

from functools import partial

from outpace.models.definition import Definition
from outpace.models.delta import Family, draft, projected, trunk
from outpace.models.hybrid import Config

FAMILY = Family(project=projected, tiled=True)

DEFINITION = Definition(
    arch="qwen35", config=Config, trunk=partial(trunk, family=FAMILY), draft=partial(draft, family=FAMILY)
)
