"""An audit that is killed at random moments and started again: its record loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from serving.running import SOON, Running

COUNT = 6
KILLS = 3


def lines(path: Path) -> list[str]:
    """The whole lines of a record."""
    return path.read_text().splitlines(keepends=True) if path.exists() else []


def whole(path: Path) -> list[str]:
    return [line for line in lines(path) if line.endswith("\n")]


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 10))])
def test_an_audit_that_is_killed_goes_on(seed: int, node: Running, files: Path, tmp_path: Path) -> None:
    draw, record = Random(seed), tmp_path / "record"
    command = [sys.executable, "-m", "proofcompute", "audit", node.url, "--key", str(files / "key")]
    command += ["--cells", "2", "--max-tokens", "4", "--count", str(COUNT), "--record", str(record), "--json"]
    command += ["--min-checked", str(COUNT - KILLS)]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    before, known = sorted(os.listdir(files)), whole(record)
    for _ in range(KILLS):
        goal, pause = len(known) + draw.randint(2, 3), draw.random() * 0.05
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as audit:
            end = time.monotonic() + SOON
            while len(whole(record)) < goal and audit.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.001)
            time.sleep(pause)
            audit.kill()
        left = whole(record)
        assert left[: len(known)] == known
        print(f"seed {seed}: killed with {len(left)} lines on record")
        known = left
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=SOON
    )
    assert json.loads(done.stdout.splitlines()[-1])["verified"]
    assert lines(record) == whole(record)
    assert whole(record)[: len(known)] == known
    events = [json.loads(line) for line in whole(record)]
    asked = [e["id"] for e in events if e["event"] == "asked"]
    answers = [(e["id"], e["choice"]) for e in events if e["event"] == "answer"]
    verdicts = {(e["id"], e["choice"]): e["state"] for e in events if e["event"] == "verdict"}
    assert asked == [*range(COUNT)]
    assert len(verdicts) == sum(e["event"] == "verdict" for e in events)
    # each answer was opened, and a question without an answer is one that was being asked when we killed
    assert sorted(p for p, state in verdicts.items() if state == "verified") == answers
    lost = [p for p, state in verdicts.items() if state != "verified"]
    assert {number for number, _ in answers} | {number for number, _ in lost} == {*asked}
    assert {verdicts[place] for place in lost} <= {"unanswered"}
    assert len(lost) <= KILLS
    assert os.listdir(tmp_path / "tmp") == []
    assert sorted(os.listdir(files)) == before
