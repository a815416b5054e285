"""The page of attacks names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_named_test_exists() -> None:
    page = (ROOT / "docs" / "attacks.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    defined = {
        name
        for file in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^\s*def (test_\w+)\(", file.read_text("utf-8"), re.MULTILINE)
    }
    assert named - defined == set()


def test_every_attack_has_three_columns() -> None:
    page = (ROOT / "docs" / "attacks.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) > 30
    assert [row for row in rows if row.count("|") != 4] == []
