"""The site is complete: every page has its place, every link leads somewhere, and it loads nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import proofcompute

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [p.relative_to(ROOT).as_posix() for p in PAGES]


def build(project: Path, into: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mkdocs")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "-f",
            str(project / "mkdocs.yml"),
            "-d",
            str(into),
        ],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,  # hangs end
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("site")
    done = build(ROOT, into)
    assert done.returncode == 0, done.stdout
    return into


def html(name: str) -> str:
    """Where a page of the repository lies in the site."""
    return re.sub(r"\.md$", ".html", re.sub(r"README\.md$", "index.md", name))


def test_every_page_is_in_the_site(site: Path) -> None:
    assert [n for n in NAMES if not (site / html(n)).is_file()] == []


def test_every_page_is_in_the_navigation(site: Path) -> None:
    menu = (site / "index.html").read_text("utf-8")
    assert [n for n in NAMES if f'href="{html(n)}"' not in menu and n != "README.md"] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Links may lead to other sites; scripts, styles, fonts and pictures are the site's own."""
    loads = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    found = {str(p): loads.findall(p.read_text("utf-8")) for p in site.rglob("*.html")}
    assert {p: f for p, f in found.items() if f} == {}


def test_a_broken_link_anchor_or_name_and_a_page_without_a_place_fail(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "docs").mkdir(parents=True)
    for name in ("mkdocs.yml", "README.md", "docs/site.py", "docs/supported.md"):
        shutil.copy(ROOT / name, project / name)
    (project / "docs" / "lost.md").write_text("# Lost\n", "utf-8")
    page = project / "docs" / "prompts.md"
    page.write_text("[a](nowhere.md) [b](../examples/no.py) [c](supported.md#no) [d](../docs)\n", "utf-8")
    done = build(project, tmp_path / "site")
    assert done.returncode != 0
    for found in ("'nowhere.md'", "'../examples/no.py'", "'#no'", "'../docs'", "docs/lost.md"):
        assert found in done.stdout, done.stdout
    page.write_text("::: proofcompute.nowhere\n", "utf-8")
    done = build(project, tmp_path / "site")
    assert done.returncode != 0
    assert "proofcompute.nowhere" in done.stdout


def test_every_public_name_is_described_once() -> None:
    text = "\n".join(p.read_text("utf-8") for p in ROOT.glob("docs/api/*.md"))
    described = re.findall(r"^::: proofcompute\.(\w+)$", text, re.MULTILINE)
    assert sorted(described) == sorted(proofcompute.__all__)


def test_the_first_page_is_short() -> None:
    """About 1,000 words; what takes more has a page of its own."""
    text = re.sub(r"\]\([^)]*\)|[|`*#>-]+", " ", (ROOT / "README.md").read_text("utf-8"))
    assert sum(bool(re.search(r"\w", word)) for word in text.split()) < 1_070
