"""Draws a file of measurements: one panel for each unit, one bar for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw"]


def draw(report: dict[str, Any], path: Path) -> None:
    """Write a PNG; raise ImportError without matplotlib (extra ``bench``)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows: Sequence[dict[str, Any]] = report["measurements"]
    units = list(dict.fromkeys(row["unit"] for row in rows))
    counts = [sum(row["unit"] == unit for row in rows) for unit in units]
    figure, axes = pyplot.subplots(
        len(units),
        1,
        figsize=(8, 1.2 + 0.42 * len(rows) + 0.5 * len(units)),
        height_ratios=counts,
        squeeze=False,
    )
    for unit, panel in zip(units, axes[:, 0], strict=True):
        mine = [row for row in rows if row["unit"] == unit][::-1]
        bars = panel.barh([row["name"] for row in mine], [row["value"] for row in mine], color="#4477aa")
        panel.bar_label(bars, fmt="%.3g", padding=3)
        panel.set_xlabel(unit)
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(report))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _title(report: dict[str, Any]) -> str:
    where = report["environment"]
    described = [d["description"] for d in where["devices"] if d["device"] == where["device"]]
    return f"proofcompute on {described[0] if described else where['device']}"
