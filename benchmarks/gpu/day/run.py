"""Runs the steps, each in a process with a time limit; steps that succeeded are not repeated."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import REPOSITORY, STEPS, Settings, Step, digest
from proofcompute.encoding.files import write_atomic

__all__ = ["BAD", "LATE", "MISSING", "OK", "lacking", "one", "run"]

OK, BAD, MISSING, LATE = 0, 1, 3, 4
"""Exit statuses: success; something differs or failed; there is no device; there was no time for all."""

RESULTS: Final = "results.json"
_NO_TIME: Final = "no time was left; run the command again"
_LEAST: Final = 15
"""The fewest seconds that must be left to begin a step."""


def lacking() -> list[str]:
    """Return what is missing to run on a device, each with a remedy; empty if nothing is."""
    from proofcompute.arithmetic.backends.cuda.probe import probe

    found = [
        f"the Python package {name} is missing; make gpu-day installs it"
        for name in ("numpy", "numba", "hypothesis")
        if importlib.util.find_spec(name) is None
    ]
    problem = probe().why_not([0])
    return [*found, problem] if problem else found


def one(step: Step, settings: Settings) -> int:
    """Run a step in this process, and return its exit status."""
    found = Findings(settings.out / "findings.jsonl", step.name)
    step.call()(found, settings)
    return BAD if found.bad else OK


def run(settings: Settings, only: Sequence[str], budget: float, *, again: bool) -> int:
    """Run the steps, print how each one ended, and return the exit status of the command."""
    settings.out.mkdir(parents=True, exist_ok=True)
    missing = lacking() if settings.device == "cuda" else []
    for what in missing:
        print(f"cannot run: {what}")
    if missing:
        print("without a device, --device emulated runs the correctness steps on the host")
        return MISSING
    key = f"{digest()}-{settings.device}{'-few' if settings.few else ''}"
    path = settings.out / RESULTS
    known = json.loads(path.read_text()) if path.exists() and not again else {}
    results: dict[str, dict[str, Any]] = known["steps"] if known.get("key") == key else {}
    start = time.monotonic()
    with _prepared(settings, done=results.get("model", {}).get("status") == "ok") as prepared:
        late = _all(settings, only, start + budget, key, results, prepared)
    print(f"findings: {settings.out / 'findings.jsonl'}")
    if any(line["status"] not in ("ok", "not run") for line in results.values()):
        return BAD
    return LATE if late else OK


@contextmanager
def _prepared(settings: Settings, *, done: bool) -> Iterator[Callable[[float], None]]:
    """Compute the CPU's receipts beside the first steps; the yielded function waits for them until a time."""
    process = None
    if settings.device == "cuda" and not settings.expected.exists() and not done:
        with (settings.out / "prepare.txt").open("w") as log:
            process = _start(["--prepare"], settings, log)

    def wait(until: float) -> None:
        if process is not None:
            with suppress(subprocess.TimeoutExpired):  # the step then computes what is missing
                process.wait(max(0.0, until - time.monotonic()))

    try:
        yield wait
    finally:
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _all(
    settings: Settings,
    only: Sequence[str],
    end: float,
    key: str,
    results: dict[str, dict[str, Any]],
    prepared: Callable[[float], None],
) -> bool:
    """Run the wanted steps; return whether there was no time for some."""
    late = False
    for step in STEPS:
        left = end - time.monotonic()
        if only and step.name not in only:
            continue
        if results.get(step.name, {}).get("status") == "ok":
            print(f"{step.name:<12} ok       before")
            continue
        if settings.device == "emulated" and not step.emulated:
            results[step.name] = {"status": "not run", "why": "it needs a device"}
        elif left < _LEAST:
            late = True
            results[step.name] = {"status": "not run", "why": _NO_TIME}
        else:
            if step.name == "model":
                prepared(time.monotonic() + min(step.limit, left - _LEAST))
                left = end - time.monotonic()
            ended = _process(step, min(step.limit, left), settings)
            if ended["status"] == "TIME" and left < step.limit:  # it did not have what it may take
                late, ended = True, {"status": "not run", "why": _NO_TIME}
            results[step.name] = ended
        line = results[step.name]
        print(
            f"{step.name:<12} {line['status']:<8} {line.get('seconds', '')} {line.get('why', '')}", flush=True
        )
        text = json.dumps({"key": key, "steps": results}, indent=1) + "\n"
        write_atomic(settings.out / RESULTS, text.encode())
    return late


def _start(what: list[str], settings: Settings, log: TextIO) -> subprocess.Popen[bytes]:
    """Start this command again, in a session of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu.day", *what, "--out", str(settings.out)]
    command += ["--device", settings.device, *(["--few"] if settings.few else [])]
    paths = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(p for p in paths if p),
    }
    return subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=REPOSITORY,
        start_new_session=True,
    )


def _process(step: Step, limit: float, settings: Settings) -> dict[str, Any]:
    begin = time.monotonic()
    log = settings.out / "log.txt"
    with log.open("a") as file:
        file.write(f"\n== {step.name}, at most {limit:.0f} s\n")
        file.flush()
        at = file.tell()
        process = _start(["--step", step.name], settings, file)
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
