"""Plots: what is drawn, on which axes, and with what spread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.stub import Stub
from proofcompute.bench import Results
from proofcompute.bench.plots import RULES, scale_of

pytest.importorskip("matplotlib", reason="the extra bench is not installed")


def test_one_for_each_sweep(measured: tuple[Results, list[str]], tmp_path: Path) -> None:
    from proofcompute.bench.plots import draw

    names = [path.name for path in draw(measured[0], tmp_path)]
    assert names == ["overhead.png", "verify.png", "opening.png", "detection.png", "scaling.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 1.1, 1.2, 1.3], "linear"),
        ([1.0, 1.1, 1.2, 1.3 * RULES], "log"),
        ([1.0, 1.0, RULES], "linear"),
        ([0.0, 1.0, 1.0, 100.0], "linear"),  # nothing has no logarithm
        ([], "linear"),
    ],
)
def test_one_outlier_makes_an_axis_logarithmic(values: list[float], scale: str) -> None:
    assert scale_of(values) == scale


def drawn(results: Results, name: str) -> Any:
    """The axes of a plot that is not written."""
    from matplotlib.figure import Figure

    from proofcompute.bench import plots

    axes = Figure().add_subplot()
    getattr(plots, name)(axes, results.sizes)
    return axes


def sized(results: Results, *shares: float) -> Results:
    """Rows of growing models, committing to which adds these shares of running."""
    (row,) = results.sizes[:1]
    rows = [
        replace(
            row,
            weights=10 ** (i + 3),
            rounds={**row.rounds, "run": [1.0, 1.0, 1.0], "commit": [0.5 * s, s, 1.5 * s]}
            | {"prefill": [1.0] * 3, "commit prefill": [s] * 3},
        )
        for i, s in enumerate(shares)
    ]
    return replace(results, sizes=rows)


def test_the_overhead_is_drawn_on_the_axis_that_fits(measured: tuple[Results, list[str]]) -> None:
    assert drawn(sized(measured[0], 0.01, 0.02, 0.03), "_overhead").get_yscale() == "linear"
    assert drawn(sized(measured[0], 0.01, 0.01, 0.02, 0.95), "_overhead").get_yscale() == "log"


def test_bars_reach_from_quartile_to_quartile(measured: tuple[Results, list[str]]) -> None:
    axes = drawn(sized(measured[0], 0.02, 0.04), "_overhead")
    bars = axes.containers[0]
    segments = bars[2][0].get_segments()
    assert [sorted(y for _, y in segment) for segment in segments] == [
        pytest.approx([1.5, 2.5]),
        pytest.approx([3.0, 5.0]),
    ]


def test_lengths_have_lines_of_their_own(measured: tuple[Results, list[str]]) -> None:
    results = sized(measured[0], 0.02, 0.04)
    longer = [replace(r, prompt=r.prompt + 1) for r in results.sizes]
    axes = drawn(replace(results, sizes=[*results.sizes, *longer]), "_verify")
    labels = [text for text in axes.get_legend_handles_labels()[1] if "+" in text]
    assert labels == ["w8a8 6+3", "w8a8 7+3"]


def test_a_stub_is_drawn_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Equal rounds have no spread, and one row makes no line: neither is an error."""
    from proofcompute.bench.plots import draw

    row = Stub(monkeypatch)("size tiny w8a8", "w8a8")
    empty: dict[str, Any] = {"suites": [], "columns": [], "budgets": [], "scaling": []}
    results = Results(
        command="",
        note="",
        settings={},
        machine=None,  # type: ignore[arg-type]
        code="",
        load=None,  # type: ignore[arg-type]
        seconds=0.0,
        complete=True,
        steps=[],
        sizes=[row],
        left_out=[],
        **empty,
    )
    assert len(draw(results, tmp_path)) == 2
