"""Draw what audits cost and find; this needs matplotlib (the extra ``plot``).

The same arguments give the same file, of the format that its name ends in (SVG, PNG or PDF).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proofcompute.errors import InputError
from proofcompute.errors.extras import install
from proofcompute.planning.economics import Market
from proofcompute.planning.figures import Figures
from proofcompute.planning.searching import Goal, Option, option_for
from proofcompute.planning.trace import Trace
from proofcompute.protocol.samples import Sample
from proofcompute.verifier.policy import AuditPolicy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "require_drawable"]

_FORMATS: Final = {".svg": {"Date": None}, ".png": {"Software": None}, ".pdf": {"CreationDate": None}}
"""Formats, and what of a file would differ from one time to the next."""
_POINTS: Final = 24


def require_drawable(path: Path) -> None:
    """Raise InputError unless a plot can be written in the format of this name."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"a plot is written as {', '.join(_FORMATS)}, not {path.name!r}")
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(f"plots take matplotlib: {install('matplotlib')}")


def draw(
    path: Path, trace: Trace, figures: Figures, market: Market, goals: Sequence[Goal], chosen: Option | None
) -> None:
    """Write a plot: what the first goal's cheat costs to find, and what verification leaves of the saving."""
    require_drawable(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "proofcompute", "svg.fonttype": "path"}):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        lines = _lines(trace, figures, market, goals[0])
        _detection(left, lines, goals[0], market.saved(trace, figures), chosen)
        _saving(right, lines, market.saved(trace, figures), chosen)
        for axes in (left, right):
            axes.grid(visible=True, which="both", alpha=0.25)
            axes.legend(fontsize=7)
        kind: dict[str, Any] = {"metadata": _FORMATS[path.suffix.lower()]}
        figure.savefig(path, dpi=110, **kind)


def _lines(trace: Trace, figures: Figures, market: Market, goal: Goal) -> dict[str, list[Option]]:
    """Return policies of each shape, from seldom to always."""
    rows, segments = max(trace.segments), len(trace.segments)
    shapes = {
        "all cells": None,
        "one layer": Sample(1, rows),
        f"{min(4, segments)} runs of {max(1, rows // 4)} rows": Sample(min(4, segments), max(1, rows // 4)),
        "16 cells": Sample(cells=16),
    }
    shares = [10 ** (-3 * (1 - i / (_POINTS - 1))) for i in range(_POINTS)]
    return {
        name: [
            option_for(
                trace,
                figures,
                market,
                AuditPolicy(p) if sample is None else AuditPolicy(0, p, sample),
                [goal.altered],
            )
            for p in shares
        ]
        for name, sample in shapes.items()
    }


def _detection(
    axes: Axes, lines: dict[str, list[Option]], goal: Goal, saved: float, chosen: Option | None
) -> None:
    for name, line in lines.items():
        axes.plot([100 * o.cost.dollars / saved for o in line], [o.found[0] for o in line], label=name)
    if goal.needed <= 1:
        axes.axhline(goal.needed, color="grey", linestyle="--", linewidth=1, label="needed")
    if chosen is not None:
        axes.plot([100 * chosen.cost.dollars / saved], [chosen.found[0]], "k*", label="chosen")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("cost of verification, % of what is saved")
    axes.set_ylabel("probability of detection")
    axes.set_title(f"What it costs to find {goal.altered}")


def _saving(axes: Axes, lines: dict[str, list[Option]], saved: float, chosen: Option | None) -> None:
    for name, line in lines.items():
        axes.plot(
            [o.policy.whole + o.policy.sampled for o in line],
            [100 * (1 - o.cost.dollars / saved) for o in line],
            label=name,
        )
    if chosen is not None:
        share = chosen.policy.whole + chosen.policy.sampled
        axes.plot([share], [100 * (1 - chosen.cost.dollars / saved)], "k*", label="chosen")
    axes.set_xscale("log")
    axes.set_xlabel("share of answers that are audited")
    axes.set_ylabel("left of the saving, %")
    axes.set_title("What verification leaves of the saving")
