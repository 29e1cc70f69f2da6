"""How acceptance rose over training, by depth: as a picture, and as lines of a terminal."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from outpace.graft.trainer import Curve
from outpace.graft.work import whole_file

_LEVELS = " ▁▂▃▄▅▆▇█"


def lines(curve: Curve) -> list[str]:
    """Return a line for each depth: what was kept at first and at the end, and bars between, all of one scale."""
    if not curve.kept:
        return []
    most = max(max(each) for each in curve.kept) or 1.0
    found = []
    for depth in range(len(curve.kept[0])):
        values = [each[depth] for each in curve.kept]
        bars = "".join(_LEVELS[round(value / most * (len(_LEVELS) - 1))] for value in values)
        found.append(f"depth {depth + 1}  {values[0]:.3f} {bars} {values[-1]:.3f}")
    return found


def draw(curve: Curve, path: Path) -> bool:
    """Write a picture (PNG); return False where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for depth in range(len(curve.kept[0])):
        axes.plot(curve.steps, [each[depth] for each in curve.kept], marker="o", label=f"up to depth {depth + 1}")
    axes.set(xlabel="training steps", ylabel="share of guesses kept, held-out text", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend()
    with whole_file(path) as part:
        figure.savefig(part, format="png")
    return True
