"""What MkDocs does not know: which files of the repository are pages, and how docstrings refer to names.

Pages keep the paths that they have in the repository, README.md and CHANGELOG.md included, so a link leads to
the same place in a checkout, on a forge and in the site. A file that a page links to, such as an example,
becomes part of the site. Whatever else a link names is missing, and the build, which is strict, fails.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md")
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]+)")
ROLE = re.compile(r":(?:attr|class|exc|func|meth|mod):`~?([^`]+)`")
CITED = re.compile(r"(?<![\w/`])docs/([\w/-]+\.md)(#[\w-]+)?")


def pages(folder: str = "") -> list[str]:
    """Paths of all pages in a folder of the repository, from its root."""
    found = (p.relative_to(ROOT).as_posix() for pattern in PAGES for p in ROOT.glob(pattern))
    return sorted(p for p in found if p.startswith(folder))


def linked(page: str) -> list[str]:
    """Paths of the files of the repository that a page links to, from its root, each once."""
    targets = LINK.findall((ROOT / page).read_text("utf-8"))
    files = dict.fromkeys((ROOT / page).parent.joinpath(t).resolve() for t in targets)
    return [f.relative_to(ROOT).as_posix() for f in files if f.is_file() and f.is_relative_to(ROOT)]


def in_order(folder: str) -> list[str]:
    """The pages of a folder: its README.md, what that links to in this order, and the rest by name."""
    inside = pages(folder)
    first = f"{folder}README.md"
    order = [first, *linked(first)] if first in inside else []
    return sorted(inside, key=lambda p: (order.index(p) if p in order else len(order), p))


def with_folders(entry: Any) -> Any:
    """An entry of the navigation, in which the folders became their pages; None if nothing is left of it."""
    if isinstance(entry, dict):
        ((title, inner),) = entry.items()
        inner = with_folders(inner)
        return {title: inner} if inner else None
    if isinstance(entry, list):
        return [e for e in map(with_folders, entry) if e]
    return in_order(entry) if entry.endswith("/") else entry


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of folders into the navigation."""
    config.nav = with_folders(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace what MkDocs found in docs/ by the pages and what they link to, under their own paths."""

    def file(path: str) -> File:
        return File(path, str(ROOT), config.site_dir, config.use_directory_urls)

    kept = [f for f in files if f.src_dir != config.docs_dir]
    shown = pages()
    for path in dict.fromkeys(target for page in shown for target in linked(page)):
        if path not in shown:
            kept.append(file(path))
            kept[-1].inclusion = InclusionLevel.NOT_IN_NAV
    styles = [c for c in config.extra_css if (ROOT / c).is_file()]  # others are made by plugins
    return Files([*kept, *map(file, [*shown, *styles])])


class Docstrings(griffe.Extension):
    """Shows names that docstrings refer to in Sphinx's manner as code, and pages that they cite as links."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            text = ROLE.sub(_as_code, obj.docstring.value)
            obj.docstring.value = CITED.sub(_as_link, text)


def _as_code(role: re.Match[str]) -> str:
    return f"`{role[1].removeprefix('proofcompute.')}`"


def _as_link(cited: re.Match[str]) -> str:
    page, anchor = cited[1], cited[2] or ""
    return f"[{page.removesuffix('.md')}](../{page}{anchor})"  # from a page of docs/api
