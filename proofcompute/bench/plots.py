"""Draws plots of results as PNG files; this needs matplotlib (the extra ``bench``)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from proofcompute.bench.results import Results
from proofcompute.bench.timing import ratios, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "drawable", "scale_of"]

RULES: Final = 8.0
"""An axis is logarithmic if its greatest value is more than this many times the median."""


def drawable() -> bool:
    """Return whether matplotlib is installed."""
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
        axes.tick_params(which="minor", labelsize=6)  # an axis of few decades has several of them per decade
        axes.legend(fontsize=8)
        path = directory / name
        figure.savefig(path, dpi=110, metadata={"Software": None})
        written.append(path)
    return written


def _overhead(axes: Axes, rows: Any) -> None:
    drawn: list[float] = []
    for precision, chosen in _lines(rows):
        weights = [r.weights for r in chosen]
        for label, run, commit in (
            (precision, "run", "commit"),
            (f"{precision}, prefill only", "prefill", "commit prefill"),
        ):
            shares = [ratios(r.rounds[run], r.rounds[commit]) for r in chosen]
            _line(axes, weights, [[100 * x for x in share] for share in shares], label)
            drawn += [100 * spread(share)["median"] for share in shares]
    axes.set_xscale("log")
    axes.set_yscale(scale_of(drawn))
    axes.set_xlabel("weights")
    axes.set_ylabel("committing adds, % of running")
    axes.set_title("Prover: overhead against size")


def _verify(axes: Axes, rows: Any) -> None:
    for precision, chosen in _lines(rows):
        chosen = sorted(chosen, key=lambda r: float(r.execute_seconds))
        x = [r.execute_seconds for r in chosen]
        times = [[t * r.execute_seconds for t in _verify_ratios(r)] for r in chosen]
        _line(axes, x, times, precision)
    ends = [f(r.execute_seconds for r in rows) for f in (min, max)]
    axes.plot(ends, ends, "k--", label="as long as running")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("running the request, s")
    axes.set_ylabel("verifying all cells, s")
    axes.set_title("Verifier: full audit against running")


def scale_of(values: Sequence[float]) -> str:
    """Return "log" if one value, many times the median, would flatten the others on a linear axis."""
    if not values or min(values) <= 0:
        return "linear"
    return "log" if max(values) > RULES * median(values) else "linear"


def _lines(rows: Any) -> list[tuple[str, list[Any]]]:
    """Group rows into lines by precision and, if there are several, lengths; small models come first."""
    several = len({(r.prompt, r.tokens) for r in rows}) > 1
    lines: dict[str, list[Any]] = {}
    for r in rows:
        lines.setdefault(f"{r.precision} {r.prompt}+{r.tokens}" if several else r.precision, []).append(r)
    return [(name, sorted(found, key=lambda r: int(r.weights))) for name, found in lines.items()]


def _verify_ratios(r: Any) -> list[float]:
    return ratios(r.rounds["run beside"], r.rounds["verify"])


def _line(axes: Axes, x: Sequence[float], rounds: Sequence[Sequence[float]], label: str) -> None:
    """Draw the medians of rounds, with bars from the lower to the upper quartile."""
    spreads = [spread(times) for times in rounds]
    middle = [s["median"] for s in spreads]
    below = [s["median"] - s["q1"] for s in spreads]
    above = [s["q3"] - s["median"] for s in spreads]
    axes.errorbar(x, middle, yerr=[below, above], marker="o", capsize=2, label=label)


def _sampled(rows: Any) -> list[Any]:
    """Return the audits of single cells; an audit of all cells asks for ranges and is not comparable."""
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
    chances: list[float] = []
    for name, label in (
        ("detects_one", "one altered cell"),
        ("detects_1_percent", "1 % altered"),
        ("detects_10_percent", "10 % altered"),
        ("detects_50_percent", "50 % altered"),
    ):
        found = [getattr(r, name) for r in some]
        axes.plot(cost, found, marker="o", label=label)
        chances += found
    for r in rows:
        if r.cells == r.total:
            axes.plot([100 * r.verify_over_execute], [1.0], "kx", label="all cells: finds everything")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_yscale(scale_of(chances))
    axes.set_xlabel("cost of the audit, % of running")
    axes.set_ylabel("probability of detection")
    axes.set_title(f"Detection against cost, {rows[0].model}")


def _scaling(axes: Axes, rows: Any) -> None:
    for r in rows:
        label = f"{r.name}: {r.verify_exponent:.2f} (formula {r.formula_exponent:.2f})"
        rounds = [[t / r.verify_seconds[0] for t in r.rounds[f"verify {size}"]] for size in r.sizes]
        _line(axes, [size / r.sizes[0] for size in r.sizes], rounds, label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size over the smallest")
    axes.set_ylabel("time of verifying over that at the smallest")
    axes.set_title("Growth of verification, and fitted exponents")
