"""The count of verifications beside a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proofcompute.cli.counter import attempts_path, count_attempt, forget_attempts, read_attempts
from proofcompute.errors import InputError, StorageError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"")
    return path


def test_it_counts_from_one(key: Path) -> None:
    assert read_attempts(key) == 0
    assert [count_attempt(key) for _ in range(3)] == [1, 2, 3]
    assert read_attempts(key) == 3
    forget_attempts(key)
    forget_attempts(key)
    assert count_attempt(key) == 1


@pytest.mark.parametrize("text", [b"", b"-1\n", b"1 2", b"x", b"\xb2\n", b"9" * 19, b"1\n\n", b" 1"])
def test_a_damaged_count_is_refused(key: Path, text: bytes) -> None:
    attempts_path(key).write_bytes(text)
    with pytest.raises(InputError, match="--attempts"):
        count_attempt(key)
    assert attempts_path(key).read_bytes() == text


def test_a_count_that_cannot_be_read_or_written_says_what_to_do(key: Path) -> None:
    attempts_path(key).mkdir()
    with pytest.raises(StorageError, match="--attempts"):
        count_attempt(key)
    with pytest.raises(StorageError, match="--attempts"):
        count_attempt(key.with_name("missing"))


def test_processes_at_the_same_time_get_different_numbers(key: Path) -> None:
    code = (
        "import pathlib, sys; from proofcompute.cli.counter import count_attempt as c; "
        "[print(c(pathlib.Path(sys.argv[1]))) for _ in range(25)]"
    )
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", code, str(key)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) for _ in range(4)]
    numbers = [int(n) for p in running for n in p.communicate()[0].split()]
    assert sorted(numbers) == list(range(1, 101))
