"""Running the steps: a process and a limit for each, results after each, what ended well is not repeated."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import STEPS, Settings, Step

__all__ = ["BAD", "LATE", "MISSING", "OK", "digest", "lacking", "one", "run"]

OK, BAD, MISSING, LATE = 0, 1, 3, 4
"""Exit statuses: all is well; something differs or failed; there is no device; there was no time for all."""

_REPOSITORY: Final = Path(__file__).parents[3]
_LEAST: Final = 15
"""Seconds without which no step is begun."""


def lacking() -> list[str]:
    """What is missing to run on a device, each with what to do; empty if nothing is."""
    from proofcompute.backends.cuda.probe import probe

    found = [
        f"the Python package {name} is missing; make gpu-day installs it"
        for name in ("numpy", "numba", "hypothesis")
        if importlib.util.find_spec(name) is None
    ]
    problem = probe().why_not([0])
    return [*found, problem] if problem else found


def digest() -> str:
    """Of the sources: results of others do not count."""
    found = hashlib.sha256()
    folders = ("cuda", "proofcompute", "benchmarks/gpu", "tests/kernel_cases", "tests/gpu")
    for folder in folders:
        for path in sorted((_REPOSITORY / folder).rglob("*")):
            if path.suffix in (".py", ".cu", ".cuh"):
                found.update(str(path.relative_to(_REPOSITORY)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def one(step: Step, settings: Settings) -> int:
    """Run a step here; the exit status of its process."""
    found = Findings(settings.out / "findings.jsonl", step.name)
    step.call()(found, settings)
    return BAD if found.bad else OK


def run(settings: Settings, only: Sequence[str], budget: float, *, again: bool) -> int:
    """Run the steps and say how each one ended; the exit status of the command."""
    settings.out.mkdir(parents=True, exist_ok=True)
    missing = lacking() if settings.device == "cuda" else []
    for what in missing:
        print(f"cannot run: {what}")
    if missing:
        print("without a device, --device emulated runs the correctness steps on the host")
        return MISSING
    key = f"{digest()}-{settings.device}{'-few' if settings.few else ''}"
    path = settings.out / "results.json"
    known = json.loads(path.read_text()) if path.exists() and not again else {}
    results: dict[str, dict[str, Any]] = known["steps"] if known.get("key") == key else {}
    start = time.monotonic()
    late = False
    for step in STEPS:
        left = budget - (time.monotonic() - start)
        if only and step.name not in only:
            continue
        if results.get(step.name, {}).get("status") == "ok":
            print(f"{step.name:<12} ok       before")
            continue
        if settings.device == "emulated" and not step.emulated:
            results[step.name] = {"status": "not run", "why": "it needs a device"}
        elif left < _LEAST:
            late = True
            results[step.name] = {"status": "not run", "why": "no time was left; run the command again"}
        else:
            results[step.name] = _process(step, min(step.limit, left), settings)
        line = results[step.name]
        print(
            f"{step.name:<12} {line['status']:<8} {line.get('seconds', '')} {line.get('why', '')}", flush=True
        )
        path.write_text(json.dumps({"key": key, "steps": results}, indent=1) + "\n")
    print(f"findings: {settings.out / 'findings.jsonl'}")
    if any(line["status"] not in ("ok", "not run") for line in results.values()):
        return BAD
    return LATE if late else OK


def _process(step: Step, limit: float, settings: Settings) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu.day", "--step", step.name, "--out", str(settings.out)]
    command += ["--device", settings.device, *(["--few"] if settings.few else [])]
    paths = [str(_REPOSITORY), str(_REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
    }
    begin = time.monotonic()
    log = settings.out / "log.txt"
    with log.open("a") as file:
        file.write(f"\n== {step.name}, at most {limit:.0f} s\n")
        file.flush()
        at = file.tell()
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=_REPOSITORY,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
            word = {OK: "ok", BAD: "BAD"}.get(status, f"FAILED {status}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: tools, and what they watch
            process.wait()
            word = "TIME"
    with log.open() as file:
        file.seek(at)
        said = file.read()
    if "Traceback (most recent call last)" in said:
        word = "FAILED"
    why = {} if word == "ok" else {"why": said[-400:].strip()}
    return {"status": word, "seconds": round(time.monotonic() - begin, 1), **why}
