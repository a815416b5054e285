"""Draw what audits cost and find; this needs matplotlib (the extra ``plot``).

The same arguments give the same file, of the format that its name ends in (SVG, PNG or PDF).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proofcompute.errors import InputError
from proofcompute.errors.extras import install
from proofcompute.planning.comparing import Curve, Row
from proofcompute.planning.economics import Market
from proofcompute.planning.figures import Figures
from proofcompute.planning.searching import Goal, Option, option_for
from proofcompute.planning.trace import Trace
from proofcompute.protocol.samples import Sample
from proofcompute.verifier.policy import AuditPolicy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "draw_comparison", "require_drawable"]

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
    with _figure(path, (10, 4.2)) as figure:
        left, right = figure.subplots(1, 2)
        lines = _lines(trace, figures, market, goals[0])
        _detection(left, lines, goals[0], market.saved(trace, figures), chosen)
        _saving(right, lines, market.saved(trace, figures), chosen)
        for axes in (left, right):
            axes.grid(visible=True, which="both", alpha=0.25)
            axes.legend(fontsize=7)


@contextmanager
def _figure(path: Path, inches: tuple[float, float]) -> Iterator[Any]:
    """Give a figure, and write it to a file when it is drawn."""
    require_drawable(path)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "proofcompute", "svg.fonttype": "path"}):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        kind: dict[str, Any] = {"metadata": _FORMATS[path.suffix.lower()]}
        figure.savefig(path, dpi=110, **kind)


def draw_comparison(path: Path, rows: Sequence[Row], curves: Sequence[Curve], about: str) -> None:
    """Write a plot: what a million rows cost on each network, and what is left of the first one's saving."""
    with _figure(path, (13, 7.5)) as figure:
        grid = figure.subplots(2, 3).flatten()
        _prices(grid[0], rows)
        for axes, curve in zip(grid[1:], curves, strict=True):
            axes.plot([x for x, _ in curve.points], [100 * max(y, -1.0) for _, y in curve.points])
            axes.axhline(0, color="grey", linestyle="--", linewidth=1)
            if curve.quantity != "dollars of an hour of the node":
                axes.set_xscale("log")
            axes.set_xlabel(curve.quantity)
            axes.set_ylabel("left of the saving, %")
            axes.grid(visible=True, which="both", alpha=0.25)
        figure.suptitle(about, fontsize=9)


def _prices(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the price of a million rows: stacked for networks, beside redundancy and the cloud."""
    names = [f"{row.network.name}\n/ {row.cloud.name}" for row in rows]
    places = list(range(len(rows)))
    bottom = [0.0] * len(rows)
    for label, part in (
        ("node", [row.node for row in rows]),
        ("committing", [row.committing for row in rows]),
        ("audits", [row.audits for row in rows]),
    ):
        axes.bar(places, part, 0.25, bottom=bottom, label=label)
        bottom = [a + b for a, b in zip(bottom, part, strict=True)]
    axes.bar([x + 0.27 for x in places], [row.redundant for row in rows], 0.25, label="redundancy instead")
    axes.bar([x + 0.54 for x in places], [row.elsewhere for row in rows], 0.25, label="cloud, unverified")
    axes.set_xticks([x + 0.27 for x in places], names, fontsize=7)
    axes.set_ylabel("dollars of a million rows")
    axes.legend(fontsize=7)


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
