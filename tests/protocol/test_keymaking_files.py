"""The files of keys being made: who may read them, who is at work on them, and what is on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

import synthetic
from proofcompute.errors import InputError, StorageError
from proofcompute.models.card import Weight
from proofcompute.verifier import keygen
from proofcompute.verifier.partial import partial_path
from protocol.unfinished_keys import SEED, WEIGHTS, Reader, interrupted, make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_partial_key_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    interrupted(path)
    partial_path(path).chmod(mode)
    with pytest.raises(InputError, match="chmod 600"):
        make(path, Reader())


def test_a_file_that_somebody_put_there_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may read the seed, or has chosen it; whether the file is empty or begun."""
    for begun in (True, False):
        if begun:
            interrupted(path)
        else:
            partial_path(path).write_bytes(b"")
        before = partial_path(path).read_bytes()
        with monkeypatch.context() as m:
            me = os.geteuid()
            m.setattr(os, "geteuid", lambda me=me: me + 1)
            with pytest.raises(InputError, match="somebody else made it"):
                make(path, Reader())
        assert partial_path(path).read_bytes() == before
        assert not path.exists()
    partial_path(path).unlink()
    os.mkfifo(partial_path(path), 0o600)
    with pytest.raises(InputError, match="a plain file is needed"):
        make(path, Reader())


def test_one_process_at_a_time(path: Path) -> None:
    interrupted(path)
    fd = os.open(partial_path(path), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process"):
        make(path, Reader())
    os.close(fd)
    make(path, Reader())


def test_a_file_system_without_locks_is_told_as_such(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no file stays open."""
    opened = len(os.listdir("/proc/self/fd"))

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="No locks available"):
        make(path, Reader())
    assert len(os.listdir("/proc/self/fd")) <= opened


def test_a_partial_key_that_goes_while_it_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process finished the key in between: this one begins another."""
    flock, calls = fcntl.flock, 0

    def locked(fd: int, operation: int) -> None:
        nonlocal calls
        flock(fd, operation)
        calls += 1
        if calls == 1:
            partial_path(path).unlink()

    monkeypatch.setattr(fcntl, "flock", locked)
    make(path, Reader())
    assert calls == 2
    assert path.read_bytes() == keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()


def test_a_link_in_place_of_the_partial_key_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    partial_path(path).symlink_to(target)
    with pytest.raises(StorageError):
        make(path, Reader())
    assert not target.exists()


def test_a_full_disk_keeps_what_is_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = os.write, 0

    def short(fd: int, data: memoryview) -> int:
        nonlocal count
        count += 1
        return write(fd, data[:50] if count == 4 else data)  # the fourth frame does not fit

    with monkeypatch.context() as m:
        m.setattr(os, "write", short)
        with pytest.raises(StorageError, match="what is done is kept"):
            make(path, Reader())
    rest = Reader()
    make(path, rest)
    assert rest.asked == WEIGHTS[2:]
    assert path.read_bytes() == keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()


def test_what_is_done_is_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each weight before the next is read, and the key and its name before the partial file goes."""
    events: list[str] = []
    fsync, unlink = os.fsync, Path.unlink

    class Watched(Reader):
        def weight(self, name: str) -> Weight:
            events.append("read")
            return super().weight(name)

    def synced(fd: int) -> None:
        fsync(fd)
        known = {path.parent: "name", partial_path(path): "partial"}
        events.append(next((w for p, w in known.items() if os.path.samestat(p.stat(), os.fstat(fd))), "key"))

    def unlinked(self: Path, missing_ok: bool = False) -> None:
        events.append("removed")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "unlink", unlinked)
    make(path, Watched())
    assert events == ["partial", *["read", "partial"] * len(WEIGHTS), "key", "name", "removed"]


def test_a_model_file_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself, whoever wrote it, and not what stood in its place."""
    fsync, synced = os.fsync, set()

    def noted(fd: int) -> None:
        fsync(fd)
        synced.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    synthetic.model().save(tmp_path / "model")
    assert (tmp_path / "model").stat().st_ino in synced
