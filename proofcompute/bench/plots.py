"""Plots of results, as PNG files; needs matplotlib (the extra ``bench``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proofcompute.bench.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "drawable"]


def drawable() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(results: Results, directory: Path) -> list[Path]:
    """Write one PNG for each sweep that was run; ImportError without matplotlib (see :func:`drawable`)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    for name, rows, plot in (
        ("overhead.png", results.sizes, _overhead),
        ("verify.png", results.sizes, _verify),
        ("opening.png", results.budgets, _opening),
        ("detection.png", results.budgets, _detection),
        ("scaling.png", results.scaling, _scaling),
    ):
        if not rows:
            continue
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        plot(axes, rows)
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.tick_params(which="minor", labelsize=6)  # several a decade, where there are few decades
        axes.legend(fontsize=8)
        path = directory / name
        figure.savefig(path, dpi=110, metadata={"Software": None})
        written.append(path)
    return written


def _overhead(axes: Axes, rows: Any) -> None:
    for precision in dict.fromkeys(r.precision for r in rows):
        chosen = sorted((r for r in rows if r.precision == precision), key=lambda r: r.weights)
        weights = [r.weights for r in chosen]
        axes.plot(weights, [100 * r.commit_overhead for r in chosen], marker="o", label=precision)
        prefill = [100 * r.commit_overhead_prefill for r in chosen]
        axes.plot(weights, prefill, marker="o", label=f"{precision}, prefill only")
    axes.set_xscale("log")
    axes.set_xlabel("weights")
    axes.set_ylabel("committing adds, % of running")
    axes.set_title("Prover: overhead against size")


def _verify(axes: Axes, rows: Any) -> None:
    for precision in dict.fromkeys(r.precision for r in rows):
        times = sorted(
            (r.execute_seconds, r.verify_over_execute * r.execute_seconds)
            for r in rows
            if r.precision == precision
        )
        axes.plot(*zip(*times, strict=True), marker="o", label=precision)
    ends = [f(r.execute_seconds for r in rows) for f in (min, max)]
    axes.plot(ends, ends, "k--", label="as long as running")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("running the request, s")
    axes.set_ylabel("verifying all cells, s")
    axes.set_title("Verifier: full audit against running")


def _sampled(rows: Any) -> list[Any]:
    """Audits of single cells; the audit of all cells asks for ranges and lies on no common line with them."""
    return [r for r in rows if r.cells < r.total]


def _opening(axes: Axes, rows: Any) -> None:
    some = _sampled(rows)
    axes.plot(
        [r.cells for r in some], [r.opening_bytes / 1024 for r in some], marker="o", label="uniform cells"
    )
    for r in rows:
        if r.cells == r.total:
            axes.plot([r.cells], [r.opening_bytes / 1024], "kx", label="all cells, in ranges")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("cells opened")
    axes.set_ylabel("KiB")
    axes.set_title(f"Opening bytes against cells, {rows[0].model}")


def _detection(axes: Axes, rows: Any) -> None:
    some = _sampled(rows)
    cost = [100 * r.verify_over_execute for r in some]
    for name, label in (
        ("detects_one", "one altered cell"),
        ("detects_1_percent", "1 % altered"),
        ("detects_10_percent", "10 % altered"),
        ("detects_50_percent", "50 % altered"),
    ):
        axes.plot(cost, [getattr(r, name) for r in some], marker="o", label=label)
    for r in rows:
        if r.cells == r.total:
            axes.plot([100 * r.verify_over_execute], [1.0], "kx", label="all cells: finds everything")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel("cost of the audit, % of running")
    axes.set_ylabel("probability of detection")
    axes.set_title(f"Detection against cost, {rows[0].model}")


def _scaling(axes: Axes, rows: Any) -> None:
    for r in rows:
        axes.plot(
            [size / r.sizes[0] for size in r.sizes],
            [t / r.verify_seconds[0] for t in r.verify_seconds],
            marker="o",
            label=f"{r.name}: {r.verify_exponent:.2f} (formula {r.formula_exponent:.2f})",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size over the smallest")
    axes.set_ylabel("time of verifying over that at the smallest")
    axes.set_title("Growth of verification, and fitted exponents")
