"""The page of attacks is complete: every cheat and attack of the tables is there, and nothing that is not."""

from __future__ import annotations

import re
from pathlib import Path

from adversary.attacks import ATTACKS
from adversary.cheats import ALL
from adversary.mixed import LIES
from adversary.test_encoders import LIES as ENCODERS
from cli.test_inputs import BAD_JSON, BAD_NPY
from cli.test_pictures import BAD as BAD_PICTURES
from importers.hostile_folders import HOSTILE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "attacks.md").read_text("utf-8")


def _tests_column() -> list[str]:
    rows = [line.split("|")[3] for line in PAGE.splitlines() if line.startswith("|")]
    return [r for r in rows if r.strip() not in ("test", "---")]


def test_every_attack_names_a_test() -> None:
    assert [r for r in _tests_column() if not re.search(r"`test_\w+`", r)] == []


def test_the_page_lists_exactly_the_cases_of_the_tables() -> None:
    named = {name for row in _tests_column() for name in re.findall(r"`([^`]+)`", row)}
    cases = {name for name in named if not name.startswith("test_")}
    assert cases >= {*ALL, *LIES, *ATTACKS, *ENCODERS}
    # Of the tables of other tests it names some: each is a name there, or a scene of a contract.
    others = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    scenes = (ROOT / "tests/networks/escrow_scenes.py").read_text("utf-8")
    others += "".join(f'"{name}"' for name in re.findall(r"^def (\w+)\(", scenes, re.MULTILINE))
    known = {*ALL, *LIES, *ATTACKS, *ENCODERS, *HOSTILE, *BAD_NPY, *BAD_JSON, *BAD_PICTURES}
    assert {name for name in cases - known if f'"{name}"' not in others} == set()
