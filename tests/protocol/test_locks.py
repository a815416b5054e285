"""One process at a time: the lock itself, and runs whose directory somebody else is writing in."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from fuzz import honest
from proofcompute.encoding.files import exclusive
from proofcompute.errors import InputError, StorageError
from proofcompute.prover import RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from proofcompute.encoding.files import exclusive
with exclusive(Path(sys.argv[1]), "file"):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def take(path: Path) -> None:
    """Lock a file for a moment."""
    with exclusive(path, "thing"):
        pass


def test_another_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """However it goes: the lock is not a file that somebody must remove."""
    path = tmp_path / "file"
    process = holder(path)
    with (
        pytest.raises(InputError, match=r"thing .*/file is in use by another process"),
        exclusive(path, "thing"),
    ):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with exclusive(path, "thing") as fd:
        os.write(fd, b"mine")
    assert path.read_bytes() == b"mine"


def test_one_user_at_a_time_within_a_process(tmp_path: Path) -> None:
    """And through another name of the same file; links in place of the file only where they are allowed."""
    path = tmp_path / "file"
    with exclusive(path, "thing"):
        os.link(path, tmp_path / "hard")
        (tmp_path / "soft").symlink_to(path)
        for other, follow in ((path, False), (tmp_path / "hard", False), (tmp_path / "soft", True)):
            with pytest.raises(InputError, match="in use"), exclusive(other, "thing", follow=follow):
                pass
    with pytest.raises(StorageError, match="soft"), exclusive(tmp_path / "soft", "thing"):
        pass
    with exclusive(tmp_path / "soft", "thing", follow=True) as fd:
        assert os.path.samestat(os.fstat(fd), path.stat())


def test_waiting_for_the_lock(tmp_path: Path) -> None:
    path, inside, leave = tmp_path / "file", threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(path, "thing"):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with pytest.raises(InputError, match="in use"), exclusive(path, "thing", wait=0.1):
        pass
    threading.Timer(0.1, leave.set).start()
    with exclusive(path, "thing", wait=600):
        assert leave.is_set()
    thread.join()


def test_a_file_that_is_replaced_while_it_is_waited_for(tmp_path: Path) -> None:
    """Whoever waited has the file that is there now, not the one that nobody will find again."""
    path, inside = tmp_path / "file", threading.Event()

    def replace() -> None:
        with exclusive(path, "thing"):
            inside.set()
            time.sleep(0.1)
            (tmp_path / "new").write_bytes(b"new")
            (tmp_path / "new").replace(path)

    thread = threading.Thread(target=replace)
    thread.start()
    inside.wait()
    with exclusive(path, "thing", wait=600) as fd:
        assert os.pread(fd, 10, 0) == b"new"
    thread.join()


def test_a_file_system_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems refuse every lock: then nobody has the file, and nobody may write."""

    def refuses(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(StorageError, match=r"cannot lock thing .*/file: No locks"):
        take(tmp_path / "file")


def test_a_system_without_the_module_of_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StorageError, match=r"cannot lock thing .*/file: Python has no module fcntl"):
        take(tmp_path / "file")


def test_the_lock_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte is locked, beyond the end of the file, and a byte that another has is a PermissionError."""
    path, locked = tmp_path / "file", set[int]()

    def locking(fd: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        at = os.lseek(fd, 0, os.SEEK_CUR)
        assert at > os.fstat(fd).st_size
        if at in locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        locked.add(at)

    windows = ModuleType("msvcrt")
    vars(windows).update(LK_NBLCK=2, locking=locking)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setattr(sys, "platform", "win32")
    path.write_bytes(b"ours")
    with exclusive(path, "thing") as fd:
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
        with pytest.raises(InputError, match="in use by another process"):
            take(path)
    locked.clear()  # as the system does when the file is closed
    take(path)
    assert path.read_bytes() == b"ours"


def test_a_system_without_the_modules_of_posix_imports_everything() -> None:
    """They are asked for where they are needed, and by nothing else."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'grp', 'pwd', 'resource')))\n"
        "import proofcompute, proofcompute.cli.app, proofcompute.jobs, proofcompute.importers\n"
        "[getattr(proofcompute, name) for name in proofcompute.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- run directories -------------------------------------------------------------------------------------
def test_a_run_that_another_is_at_work_on(tmp_path: Path) -> None:
    """The second is refused before it wrote anything, and the first goes on as if nothing had been."""
    session, path = honest.session(), tmp_path / "run"
    first, second = RunDirectory(path), RunDirectory(path)
    assert first.begin(session.request) == []
    with pytest.raises(InputError, match="in use by another process"):
        second.begin(session.request)
    with pytest.raises(InputError, match="not begun"):
        second.finish(session, honest.run().receipt)
    first.log(session)
    assert (path / "tokens").stat().st_size == 4 * len(session.answer)
    first.finish(session, honest.run().receipt)
    assert sorted(os.listdir(path)) == ["receipt", "request", "tokens", "trace"]
    with pytest.raises(InputError, match="finished"):
        second.begin(session.request)
    with pytest.raises(InputError, match="not begun"):
        first.finish(session, honest.run().receipt)


def test_a_run_is_free_when_it_is_closed_refused_or_its_process_is_gone(tmp_path: Path) -> None:
    session, path = honest.session(), tmp_path / "run"
    path.mkdir()
    process = holder(path / ".lock")
    directory = RunDirectory(path)
    with pytest.raises(InputError, match=r"run directory .*/run is in use"):
        directory.begin(session.request)
    assert sorted(os.listdir(path)) == [".lock"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(2):
        directory.begin(session.request)
        directory.log(session)
        with pytest.raises(InputError, match="begun already"):
            directory.begin(session.request)
        directory.close()
    (path / "tokens").unlink()
    (path / "tokens").mkdir()
    with pytest.raises(InputError, match="no plain file"):
        directory.begin(session.request)
    (path / "tokens").rmdir()
    assert RunDirectory(path).begin(session.request) == []


@pytest.mark.parametrize("name", ["tokens", "request", "trace", "model"])
def test_a_run_directory_of_a_stranger_leads_nowhere(tmp_path: Path, name: str) -> None:
    """A link in it would have the node append to, or replace, a file of its own."""
    session, path, precious = honest.session(), tmp_path / "run", tmp_path / "precious"
    precious.write_bytes(b"precious")
    path.mkdir()
    (path / name).symlink_to(precious)
    with pytest.raises(InputError, match="no plain file"):
        RunDirectory(path).begin(session.request)
    assert precious.read_bytes() == b"precious"
    assert os.listdir(path) == [name]
