"""Runs the command line in this process, and keeps one finished audit on the tiny model."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofcompute.cli import main

COMPUTES = (
    "import",
    "keygen",
    "run",
    "open",
    "verify",
    "verify-many",
    "verify-public",
    "publish",
    "prove",
    "verify-proof",
    "demo",
    "quality",
)


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on the last line of standard output."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


def arguments(*args: object) -> list[str]:
    """Command-line arguments; where something is computed, with the backend that needs no compilation."""
    words = [str(a) for a in args]
    computes = words[:1] and (
        words[0] in COMPUTES or (words[0] == "job" and words[1:2] and words[1][0] != "-")
    )
    if computes and "--device" not in words:
        words += ["--device", "numpy"]
    return words


def call(*args: object) -> Result:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments(*args))
    assert "Traceback" not in err.getvalue()
    return Result(status, out.getvalue(), err.getvalue())


def done(*args: object) -> dict[str, Any]:
    """Run a command that must succeed and return its JSON."""
    result = call(*args, "--json")
    assert result.status == 0, result.err
    return result.json


def refused(*args: object) -> str:
    """Run a command that must end with status 2, and return its message."""
    result = call(*args, "--json")
    assert result.status == 2, (result.out, result.err)
    error = result.json["error"]
    assert isinstance(error, str)
    assert error in result.err
    return error


def start(*args: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own; an ``unmeasured`` one does not write what lines it ran."""
    command = [sys.executable, "-m", "proofcompute", *arguments(*args)]
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    if options.pop("unmeasured", False):
        env.pop("COVERAGE_PROCESS_CONFIG", None)
    return subprocess.Popen(command, env=env, **{"stdout": -1, "stderr": -1, **options})


def limited(limit: int, *args: object) -> tuple[int, str]:
    """Run a command that cannot make a file larger than ``limit`` bytes, as on a disk that fills up."""
    limits = (limit, resource.RLIM_INFINITY)
    process = start(
        *args,
        unmeasured=True,  # the lines of `make coverage` are a file, too
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    _, err = process.communicate()
    assert b"Traceback" not in err
    return process.returncode, err.decode()


@dataclass(frozen=True)
class Files:
    """Files of one honest audit of a greedy answer."""

    home: Path
    gguf: Path
    model: Path
    key: Path
    identity: Path
    request: Path
    run: Path
    receipt: Path
    challenge: Path
    opening: Path
