"""Programs that check the files of examples/deploy; `make test` installs those that a package index has."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"


def program(*names: str, package: str) -> str:
    """The path of a program, of this environment first. CI insists on it, elsewhere tests skip."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    for name in names:
        if (found := shutil.which(name, path=os.pathsep.join(places))) is not None:
            return found
    missing = f"{' or '.join(names)} is not installed ({package})"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def authority() -> Any:
    """A new certificate authority of the package trustme. CI insists on it, elsewhere tests skip."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("trustme", reason="trustme is not installed (extra test)")
    return import_module("trustme").CA()


def replaced(text: str, changes: dict[str, str]) -> str:
    """A file in which each of some words, which stand there exactly once, is another one."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
