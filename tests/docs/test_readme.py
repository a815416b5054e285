"""The examples of README.md and docs/ run, and their links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import markdown_blocks as markdown

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("*.md", "docs/**/*.md", "examples/**/*.md", "tests/data/*.md")
FILES = sorted(file for place in PLACES for file in ROOT.glob(place))
NAMES = [str(f.relative_to(ROOT)) for f in FILES]
HANG = 1_200  # seconds after which an example counts as hanging; nothing is measured
PYTHON_DRIVER = Path(__file__).with_name("run_blocks.py")


def runnable(file: Path) -> list[markdown.Block]:
    return [b for b in markdown.blocks(file.read_text("utf-8")) if b.run]


NEEDS = {"docs/guides/ledger.md": "sqlalchemy", "docs/guides/verdicts.md": "py_ecc"}
"""Packages without which the examples of a page cannot run."""
WITH_EXAMPLES = [name for name, file in zip(NAMES, FILES, strict=True) if runnable(file)]


STOPPING = "trap 'kill $(jobs -p) 2> /dev/null && wait' EXIT; "
"""What a block starts in the background ends with it."""


def on_a_free_port(script: str) -> str:
    """A script in which port 8000, where examples serve, is one that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return re.sub(r"\b8000\b", str(found.getsockname()[1]), script)


def run_blocks(path: str, blocks: list[markdown.Block], folder: Path) -> subprocess.CompletedProcess[str]:
    work = folder / "work"
    work.mkdir()
    steps = [
        (
            ("python", path, b.line, b.text)
            if b.language == "python"
            else ("bash", path, b.line, STOPPING + on_a_free_port(markdown.shell_script(b)))
        )
        for b in blocks
    ]
    listing = folder / "blocks.json"
    listing.write_text(json.dumps(steps), "utf-8")
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": scripts + os.pathsep + os.environ.get("PATH", ""), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, str(PYTHON_DRIVER), str(listing)],
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG,
        check=False,
    )


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    blocks = runnable(ROOT / name)
    assert blocks
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if any(b.model for b in blocks):
        request.getfixturevalue("smollm2_path")
    if any(b.torch for b in blocks):
        pytest.importorskip("torch")
    done = run_blocks(name, blocks, tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    file = ROOT / name
    inside = [t for t in markdown.links(file.read_text("utf-8")) if not re.match(r"[a-z]+:|#", t)]
    missing = [t for t in inside if not (file.parent / t.split("#")[0]).exists()]
    assert missing == []


# -- the extraction itself -------------------------------------------------------------------------------

SAMPLE = """\
Text.

```python
never = 1
```

<!-- run -->
```python
value = 6 * 7
```

<!-- run -->
```console
$ printf '%s\\n' one \\
    two > out.txt
output, not a command
$ wc -l < out.txt
2
```

<!-- run model -->
```python
from pathlib import Path

assert value == 42
assert Path("out.txt").read_text() == "one\\ntwo\\n"
```
"""


def test_marked_blocks_are_found_and_run_in_order(tmp_path: Path) -> None:
    found = markdown.blocks(SAMPLE)
    assert [(b.language, b.line, b.run, b.model) for b in found] == [
        ("python", 3, False, False),
        ("python", 8, True, False),
        ("console", 13, True, False),
        ("python", 22, True, True),
    ]
    assert markdown.shell_script(found[2]) == "printf '%s\\n' one \\\n    two > out.txt\nwc -l < out.txt\n"
    done = run_blocks("SAMPLE.md", [b for b in found if b.run], tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("language", "text", "seen"),
    [
        ("python", "x = 1\nassert x == 2\n", 'SAMPLE.md", line 9'),
        ("console", "$ false\n$ true\n", "SAMPLE.md:7"),
        ("bash", "false | true\n", "SAMPLE.md:7"),
    ],
)
def test_a_failing_block_fails_and_says_where(language: str, text: str, seen: str, tmp_path: Path) -> None:
    done = run_blocks("SAMPLE.md", [markdown.Block(language, 7, text, True, False)], tmp_path)
    assert done.returncode != 0
    assert seen in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nx = 1\n", "never closed"),
        ("<!-- run -->\n\n```python\nx = 1\n```\n", "no fence on the next line"),
        ("<!-- run -->\n```json\n1\n```\n", "cannot run"),
        ("text\n<!-- run -->", "at the end"),
    ],
)
def test_a_mark_that_would_be_ignored_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        markdown.blocks(text)


def test_a_console_block_without_a_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="without a command"):
        markdown.shell_script(markdown.Block("console", 1, "output only\n", True, False))


def test_links_in_code_are_not_links() -> None:
    assert markdown.links("[a](b.md) `[c](d)`\n```text\n[e](f)\n```\n[g](h#i)") == ["b.md", "h#i"]
