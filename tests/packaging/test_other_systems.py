"""Systems without POSIX: what Windows lacks is hidden, and a verifier with the NumPy definition works.

Only Python's own differences are imitated: modules and functions that are not there, and locks that only
``msvcrt`` knows. How a file system of Windows behaves is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import synthetic
from cuda_rig import ROOT
from proofcompute.verifier import write_key

HIDDEN = """
import concurrent.futures, ctypes, logging, os, pathlib, random, shutil, subprocess, sys, tempfile, threading
import cbor2, numpy, typer, Crypto.Signature.eddsa
import fcntl, sysconfig
sysconfig.get_config_vars()
flock = fcntl.flock
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios")))
for name in (
    "fork", "geteuid", "getloadavg", "getuid", "register_at_fork", "sched_getaffinity", "set_blocking",
    "sysconf", "fchmod", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_TMPFILE",
):
    delattr(os, name)
"""
WINDOWS = """
import types
msvcrt = sys.modules["msvcrt"] = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK = 2
def locking(fd, mode, count):
    assert (mode, count) == (2, 1)
    assert os.lseek(fd, 0, os.SEEK_CUR) > os.fstat(fd).st_size
    try:
        flock(fd, 6)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None
msvcrt.locking = locking
sys.platform = "win32"
"""
COMMAND = "from proofcompute.cli import main\nsys.exit(main(sys.argv[1:]))"


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key, a request, a receipt, a challenge and an opening, made on a system that has everything."""
    home, model = tmp_path_factory.mktemp("other"), synthetic.model()
    write_key(model, synthetic.KERNELS, home / "key")
    run = synthetic.prove(model, synthetic.request(model, max_tokens=3))
    challenge = synthetic.challenge_all(run)
    model.save(home / "model")
    (home / "request").write_bytes(run.request.encode())
    (home / "receipt").write_bytes(run.receipt.encode())
    (home / "challenge").write_bytes(challenge.encode())
    (home / "opening").write_bytes(run.open(challenge))
    return home


def verify(files: Path) -> list[object]:
    given = [files / name for name in ("key", "receipt", "challenge", "opening")]
    return ["verify", *given, "--request", files / "request", "--device", "numpy", "--tokens-only", "--json"]


def test_windows_verifies_and_counts_the_attempt(files: Path) -> None:
    size = (files / "key").stat().st_size
    done = python(HIDDEN + WINDOWS + COMMAND, *verify(files))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["verified"]
    assert (files / "key").stat().st_size == size + 72


def test_windows_makes_a_key_and_writes_files(files: Path, tmp_path: Path) -> None:
    words = ("keygen", files / "model", "-o", tmp_path / "key", "--device", "numpy", "--json")
    done = python(HIDDEN + WINDOWS + COMMAND, *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "key").stat().st_size > 0
    given = (tmp_path / "key", files / "receipt", "--request", files / "request")
    done = python(HIDDEN + WINDOWS + COMMAND, "challenge", *given, "-o", tmp_path / "challenge", "--json")
    assert done.returncode == 0, done.stderr


def test_without_locks_a_key_in_a_file_is_refused_in_words(files: Path) -> None:
    size = (files / "key").stat().st_size
    done = python(HIDDEN + COMMAND, *verify(files))
    assert done.returncode == 2
    assert "cannot lock key" in json.loads(done.stdout.splitlines()[-1])["error"]
    assert (files / "key").stat().st_size == size


def test_without_locks_a_key_in_memory_verifies(files: Path) -> None:
    code = "import synthetic as s; m = s.model(); s.audit(s.key(), s.prove(m, s.request(m, max_tokens=2)))"
    done = python(HIDDEN + code)
    assert done.returncode == 0, done.stderr


def test_a_chat_template_is_refused_in_words() -> None:
    code = """
from datetime import UTC, datetime
from proofcompute.errors import UnsupportedError
from proofcompute.templates.process import Renderer
try:
    Renderer("x").render([("user", "Hello")], {}, date=datetime.now(UTC), max_output=9)
except UnsupportedError as e:
    print(e)
"""
    done = python(HIDDEN + code)
    assert "a system that limits what a process may take" in done.stdout, done.stderr
