"""Measures line coverage of ``cuda/`` by recorded launches, with gcov."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from cuda_rig.build import build

__all__ = ["lines_not_run", "why_not"]


def why_not() -> str:
    """Returns why nothing can be counted here; empty if it can."""
    return "" if shutil.which("gcov") else "gcov is not installed"


def lines_not_run(recorded: Path, scratch: Path) -> tuple[int, dict[str, list[int]]]:
    """Replays a recording. Returns the number of lines of ``cuda/`` with code, and those that never ran."""
    program = build("coverage")
    folder = program.parent
    environment = {"GCOV_PREFIX": str(scratch), "GCOV_PREFIX_STRIP": str(len(folder.parts) - 1)}
    done = subprocess.run(
        [str(program), str(recorded), "0"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout
    ran: dict[tuple[str, int], bool] = {}
    counts = sorted(scratch.glob("*.gcda"))
    assert counts, "gcov counted nothing"
    for count in counts:
        shutil.copy(folder / f"{count.stem}.gcno", scratch)
        report = subprocess.run(
            ["gcov", "--json-format", "--stdout", count.name],
            capture_output=True,
            text=True,
            cwd=scratch,
            check=True,
        )
        for line in report.stdout.splitlines():
            for file in json.loads(line)["files"]:
                name = Path(file["file"]).name
                if not name.endswith((".cu", ".cuh")):
                    continue
                name = name.split("-")[0] + ".cu" if name.endswith(".cu") else name
                for each in file["lines"]:
                    at = name, each["line_number"]
                    ran[at] = ran.get(at, False) or each["count"] > 0
    missed: dict[str, list[int]] = {}
    for (name, number), hit in sorted(ran.items()):
        if not hit:
            missed.setdefault(name, []).append(number)
    return len(ran), missed
