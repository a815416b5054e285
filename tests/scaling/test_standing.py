"""A worker process that stays beside a service."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofcompute.errors import InputError, VerificationError
from proofcompute.scaling import Standing, WorkerLost
from scaling.jobs import counting

SOON = 30.0


@pytest.fixture
def worker() -> Iterator[Standing[str, tuple[int, int, int]]]:
    made: Standing[str, tuple[int, int, int]] = Standing(counting, behind=3)
    yield made
    made.stop()


def test_the_process_stays_and_has_a_lower_priority(worker: Standing[str, tuple[int, int, int]]) -> None:
    first, second = worker("a"), worker("b")
    assert (first[0], second[0]) == (1, 2)
    assert first[1] == second[1] != os.getpid()
    assert first[2] == os.nice(0) + 3


def test_what_the_actor_raises_is_raised_and_the_process_stays(
    worker: Standing[str, tuple[int, int, int]],
) -> None:
    with pytest.raises(VerificationError, match="another output") as caught:
        worker("reject")
    assert (caught.value.step, caught.value.expected, caught.value.found) == (9, "a", "b")
    assert worker("a")[0] == 2


def test_an_item_that_kills_every_process_is_given_up(worker: Standing[str, tuple[int, int, int]]) -> None:
    before = worker("a")
    with pytest.raises(WorkerLost, match="died 3 times"):
        worker("die")
    count, pid, _ = worker("a")
    assert (count, pid != before[1]) == (1, True)


def test_what_making_the_actor_raises_comes_with_each_item() -> None:
    worker: Standing[str, object] = Standing(counting, "nowhere")
    for _ in range(2):
        with pytest.raises(InputError, match="no such place"):
            worker("a")
    worker.stop()
    with pytest.raises(WorkerLost, match="stopped"):
        worker("a")


_PARENT = """
import os, sys
sys.path[:0] = [{tests!r}]
from scaling.jobs import counting
from proofcompute.scaling import Standing

if __name__ == "__main__":
    print(Standing(counting)("a")[1], flush=True)
    os._exit(0)
"""


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    """Also with one that does not clean up."""
    script = tmp_path / "parent.py"
    script.write_text(_PARENT.format(tests=str(Path(__file__).parents[1])))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    pid, until = int(done.stdout), time.monotonic() + SOON
    while _lives(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for somebody to collect it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
