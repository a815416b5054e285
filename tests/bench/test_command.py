"""`proofcompute bench`: its files, its JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.driver import call, done, refused
from proofcompute.bench.results import SECTIONS
from proofcompute.bench.settings import SHAPES
from proofcompute.commitments.hashing import SUITES
from proofcompute.importers.compiling import PRECISIONS

SMALL = (
    "--quick",
    "--sizes",
    "tiny",
    "--precisions",
    "w8a8",
    "--rounds",
    1,
    "--budgets",
    2,
    "--device",
    "numpy",
)


def test_results_are_written_and_printed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = (*SMALL, "--sections", "sizes,budgets", "--lengths", "6+2", "--note", "a test")
    printed = done("bench", *options, "-o", folder)
    assert json.loads((folder / "results.json").read_text()) == printed
    assert [r["model"] for r in printed["sizes"]] == ["tiny"]
    assert printed["budgets"][0]["cells"] == 2
    assert (printed["note"], printed["settings"]["quick"], printed["scaling"]) == ("a test", True, [])
    assert printed["command"] == (
        "proofcompute bench --quick --sizes tiny --precisions w8a8 --lengths 6+2 --budgets 2 --sections "
        "sizes,budgets --rounds 1 --device numpy -o DIR"
    )


def test_people_see_progress_and_tables() -> None:
    result = call(
        "bench",
        *SMALL,
        "--sections",
        "sizes,suites,columns,budgets",
        "--columns",
        2,
        "--suites",
        "blake3",
        "--lengths",
        "6+2",
    )
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "1/5 size tiny w8a8"
    for text in ("Models and precisions:", "Hash suites:", "Freivalds columns:", "finds one"):
        assert text in result.out
    (head,) = (i for i, line in enumerate(lines) if line.startswith("suite "))
    assert lines[head + 1].startswith("blake3 ")
    assert len(lines[head]) == len(lines[head + 1])


def test_help_names_every_sweep_and_plot() -> None:
    text = " ".join(call("bench", "--help").out.replace("│", " ").split())
    assert all(section in text for section in SECTIONS)
    assert all(size in text for size in (*SHAPES, "demo"))
    assert all(name in text for name in (*PRECISIONS, *SUITES))
    for plot in (
        "overhead against size",
        "verifying against running",
        "opening bytes against cells",
        "detection against cost",
    ):
        assert plot in text


def test_without_matplotlib_there_is_json_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.bench.plots.drawable", lambda: False)
    result = call("bench", *SMALL, "--sections", "sizes", "--lengths", "6+2", "-o", tmp_path)
    assert result.status == 0
    assert "proofcompute[bench]" in result.err
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra bench is not installed")
    done("bench", *SMALL, "--sections", "sizes,budgets", "--lengths", "6+2", "-o", tmp_path)
    names = {p.name for p in tmp_path.glob("*.png")}
    assert names == {"overhead.png", "verify.png", "opening.png", "detection.png"}
    assert all((tmp_path / n).read_bytes().startswith(b"\x89PNG") for n in names)


def test_what_it_refuses(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in refused("bench", "--quick", "-o", file)
    assert "make it first" in refused("bench", "--quick", "-o", tmp_path / "no" / "such")
    assert "whole numbers" in refused("bench", "--columns", "two")
    assert "size 'giant'" in refused("bench", "--sizes", "giant")
    assert "unknown device" in refused("bench", "--device", "abacus")
