"""Provides what the commands of this directory share: output files, messages, exit statuses."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from proofcompute.bench.busy import Busy
from proofcompute.errors import ProofcomputeError

__all__ = ["INTERRUPTED", "UNUSABLE", "directory", "entry", "file", "positive", "read_json", "say", "warn"]

UNUSABLE, INTERRUPTED = 2, 130
"""Exit statuses: the command cannot do its work; the user interrupted it."""


def entry(main: Callable[[], int]) -> int:
    """Run a command and return its exit status; foreseeable errors become one line, without a traceback."""
    try:
        return main()
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except (ProofcomputeError, OSError) as e:
        say(str(e))
        return UNUSABLE


def say(text: str) -> None:
    """Print a line of progress on standard error; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def warn(busy: Busy, when: str) -> None:
    """Print a warning if others use the machine."""
    if complaint := busy.complaint(when):
        say(complaint)


def directory(parser: argparse.ArgumentParser, path: Path) -> Path:
    """Return the directory ``path``, created if absent; end the command with status 2 if that fails."""
    if not path.parent.is_dir() or (path.exists() and not path.is_dir()):
        parser.error(f"{path} cannot be made a directory")
    try:
        path.mkdir(exist_ok=True)
    except OSError as e:
        parser.error(f"{path} cannot be made a directory: {e.strerror or e}")
    return path


def file(parser: argparse.ArgumentParser, path: Path) -> Path:
    """Return ``path`` as a file to write; end the command with status 2, before long work, if it is not."""
    if path.is_dir():
        parser.error(f"{path} is a directory; name a file")
    if not path.parent.is_dir():
        parser.error(f"{path.parent} is not a directory; make it first")
    return path


def read_json(parser: argparse.ArgumentParser, path: Path, needs: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object with these names in a file; end the command with status 2 if there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as e:
        parser.error(f"cannot read {path}: {e.strerror or e}")
    except ValueError:
        parser.error(f"{path} is not JSON")
    missing = [name for name in needs if not isinstance(found, dict) or name not in found]
    if missing:
        parser.error(f"{path} holds no {missing[0]!r}: another file, or one of another version")
    return dict(found)


def positive(text: str) -> int:
    """Parse a positive whole number, for options."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return value
