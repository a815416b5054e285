"""What code says of the specification leads somewhere: every ``docs/spec/`` link in a source resolves."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"docs/spec/([a-z]+\.md)(?:#([a-z0-9-]+))?")
SOURCES = ("proofcompute/**/*.py", "tests/**/*.py", "benchmarks/**/*.py", "examples/*.py", "cuda/*.cu*")


def links() -> Iterator[tuple[str, str, str]]:
    """Source, page and anchor of every link to the specification; the anchor may be empty."""
    for pattern in SOURCES:
        for file in sorted(ROOT.glob(pattern)):
            if file == Path(__file__).resolve():
                continue
            for page, anchor in LINK.findall(file.read_text("utf-8")):
                yield file.relative_to(ROOT).as_posix(), page, anchor


@cache
def anchors(page: str) -> frozenset[str]:
    """The anchors of a page's headings: lower case, without punctuation, spaces to hyphens."""
    text = re.sub(r"^```.*?^```", "", (ROOT / "docs" / "spec" / page).read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)


def test_there_are_links_from_every_part_of_the_package() -> None:
    found = [source for source, _, _ in links()]
    assert len(found) > 80
    parts = ("arithmetic", "commitments", "freivalds", "program", "protocol", "verifier", "prover", "models")
    for part in parts:
        assert any(f.startswith(f"proofcompute/{part}/") for f in found), part
    assert any(f.startswith("cuda/") for f in found)


def test_every_link_resolves() -> None:
    for source, page, anchor in links():
        assert (ROOT / "docs" / "spec" / page).is_file(), f"{source}: there is no {page}"
        if anchor:
            assert anchor in anchors(page), f"{source}: {page} has no heading {anchor}"


def test_every_page_of_the_specification_is_in_its_index() -> None:
    index = (ROOT / "docs" / "spec" / "README.md").read_text("utf-8")
    for page in (ROOT / "docs" / "spec").glob("*.md"):
        if page.name != "README.md":
            assert f"({page.name}" in index, page.name


@pytest.mark.parametrize("words", ["design, section", "design.md", "format.md"])
def test_nothing_cites_what_users_do_not_have(words: str) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    mine = Path(__file__).relative_to(ROOT).as_posix()
    names = [n for n in tracked.stdout.split() if n.endswith((".py", ".md", ".cu", ".cuh", ".toml"))]
    found = [
        n
        for n in names
        if n not in (mine, "CHANGELOG.md") and words in (ROOT / n).read_text("utf-8", "replace")
    ]
    assert found == []
