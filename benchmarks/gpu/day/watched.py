"""Runs a little of everything under NVIDIA's compute-sanitizer."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from gpu.test_gpu import sanitizer

__all__ = ["initcheck", "memcheck", "racecheck", "synccheck"]

SHOWN = 30


def _watch(tool: str, out: Findings) -> None:
    program = sanitizer()
    if program is None:
        out.say("compute-sanitizer is not installed (extras sanitize12, sanitize13)")
        return
    command = [program, "--tool", tool, "--error-exitcode", "99", "--print-limit", "20"]
    command += [sys.executable, "-m", "gpu.workload", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    said = [line for line in lines if "=====" in line or "rror" in line or "differences" in line]
    out.say(tool, bad=done.returncode != 0, status=done.returncode, said=said[-SHOWN:])


def memcheck(out: Findings, settings: Settings) -> None:
    """Look for accesses outside of arrays, each of which is an allocation of its own."""
    _watch("memcheck", out)


def racecheck(out: Findings, settings: Settings) -> None:
    """Look for uses of shared memory that lack a barrier between them."""
    _watch("racecheck", out)


def synccheck(out: Findings, settings: Settings) -> None:
    """Look for barriers that not all threads reach."""
    _watch("synccheck", out)


def initcheck(out: Findings, settings: Settings) -> None:
    """Look for memory that is read before it is written."""
    _watch("initcheck", out)
