"""``proofcompute demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.driver import Files, call, done, refused


def check(figures: dict[str, Any]) -> None:
    assert len(figures["answers"]) == 2
    for answer in figures["answers"]:
        sampled, full = answer["audits"]
        assert sampled["cells"] == 16
        assert full["cells"] == full["total_cells"] == sampled["total_cells"]
        assert full["detects_one"] == 1
        assert answer["receipt_bytes"] < 1024 + 4 * answer["tokens"]
    assert len(figures["cheats"]) >= 6
    for cheat in figures["cheats"]:
        assert cheat["caught_by_full_audit"]
        assert cheat["steps"] == [9]
        assert cheat["draws"] >= 1000
        p = cheat["found_formula"]
        assert cheat["found_measured"] == pytest.approx(p, abs=5 * (p / cheat["draws"]) ** 0.5)


def test_on_a_tiny_model(files: Files) -> None:
    check(done("demo", "--quick", "--source", files.gguf))


def test_in_words(files: Files) -> None:
    result = call("demo", "--quick", "--source", files.gguf)
    assert result.status == 0
    assert "\x1b" not in result.out
    for words in ("An honest node is asked", "Audit of every cell", "Nodes that cheat", "caught"):
        assert words in result.out
    assert "MISSED" not in result.out


def test_without_the_model_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No such file" in refused("demo", "--source", tmp_path / "missing")
    monkeypatch.setenv("PROOFCOMPUTE_SMOLLM2", str(tmp_path / "missing"))
    assert "PROOFCOMPUTE_SMOLLM2" in refused("demo")


@pytest.mark.slow
def test_on_the_demo_model(smollm2_path: Path) -> None:
    figures = done("demo", "--quick", "--source", smollm2_path, "--device", "cpu")
    check(figures)
    assert "Tokyo" in figures["answers"][0]["answer"]
