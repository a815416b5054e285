"""Files and modules that the pages name are there; decisions and the changelog speak of their own time."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    p
    for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if p.name != "CHANGELOG.md" and p.parent.name != "adr"
)
NAMES = [p.relative_to(ROOT).as_posix() for p in PAGES]
MAP = "docs/guides/code.md"
FOLDERS = ("benchmarks", "cuda", "docs", "examples", "proofcompute", "tests")


def code(name: str) -> list[str]:
    """What a page has in backticks, blocks left out."""
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_there(name: str) -> None:
    paths = [c for c in code(name) if re.fullmatch(r"[\w.-]+(?:/[\w.-]*)+", c)]
    inside = [p for p in paths if p.split("/")[0] in FOLDERS and p != "proofcompute/v1"]  # a tag
    assert [p for p in inside if not (ROOT / p).exists()] == []


def test_the_map_names_files_that_are_there() -> None:
    """Paths of the guide to the code begin at the checkout or at the package."""
    paths = [c for c in code(MAP) if re.fullmatch(r"[\w-]+(?:/[\w.-]*)+", c)]
    assert len(paths) > 30
    assert [p for p in paths if not any((ROOT / top / p).exists() for top in ("", "proofcompute"))] == []


def test_the_map_has_every_package() -> None:
    rows = [line.split("|")[1] for line in (ROOT / MAP).read_text("utf-8").splitlines() if line[:1] == "|"]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    top = {p.stem for p in (ROOT / "proofcompute").iterdir() if p.suffix in ("", ".py")}
    assert named == {name for name in top if not name.startswith("__")}


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_their_names_are_there(name: str) -> None:
    dotted = {c for c in code(name) if re.fullmatch(r"proofcompute(?:\.\w+)+(?:\(\))?", c)}
    missing = [d for d in dotted if not resolves(d.removesuffix("()").split("."))]
    assert missing == []


def resolves(parts: list[str]) -> bool:
    """Whether the longest prefix that is a module has the rest as attributes."""
    for n in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False
