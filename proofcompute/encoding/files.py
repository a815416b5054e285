"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from proofcompute.errors import InputError, LimitError, StorageError

__all__ = [
    "check_private",
    "destination",
    "exclusive",
    "is_plain",
    "read_limited",
    "read_private",
    "require_plain",
    "write_atomic",
    "writing",
]

_PAUSE = 0.02
"""Seconds between two attempts to get a lock."""
READER_SECONDS = 10.0
"""How long a pipe is waited on until somebody reads from it."""
_FAR = 1 << 40
"""Where a lock is put in a file on Windows: beyond the end of every file of ours that is locked."""


@contextmanager
def writing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write; it gets its final name, with permissions ``mode``, only when the block succeeds.

    A symbolic link stays one, and the file that it names is replaced. A device or a pipe stays what it is and
    gets the bytes when the block succeeds. Raises StorageError if the file system refuses, InputError if what
    is at ``path`` takes no bytes; what stood there is then as it was.
    """
    temporary: Path | None = None
    try:
        place, into = destination(path)
        fd, name = tempfile.mkstemp(dir=None if into else place.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        os.close(fd)
        with temporary.open("wb") as stream:
            yield stream
        if into:
            with temporary.open("rb") as source, _open_there(place) as sink:
                shutil.copyfileobj(source, sink)
            return
        _sync(temporary)  # by name: a library that was given the name may have put a file of its own there
        temporary.chmod(mode)
        temporary.replace(place)
        temporary = None
        with suppress(OSError):  # the file is in place, and not every file system can do this
            _sync(place.parent)  # its name as well, before whoever waits for it removes what it replaces
    except OSError as e:
        raise StorageError(
            f"cannot write {path}: {e.strerror or e}; free some space or choose another place"
        ) from e
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def destination(path: Path) -> tuple[Path, bool]:
    """Where bytes for ``path`` go, links followed; and whether *into* what is there, a device or a pipe.

    InputError for a directory, a block device or a socket; OSError if the file system refuses to say.
    """
    real = Path(os.path.realpath(path))
    try:
        there = path.stat()
    except FileNotFoundError:
        return real, False
    mode = there.st_mode
    if stat.S_ISREG(mode) and real.exists() and os.path.samestat(real.stat(), there):
        return real, False
    # a plain file without a name of its own is one that /dev/stdout and the like lead to
    if stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return path, True
    raise InputError(f"{path} is {_kind(mode)}; choose another name")


def _open_there(path: Path) -> BinaryIO:
    """What is at ``path``, to write into; nothing is made. OSError for a pipe that nobody comes to read."""
    flags = os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    give_up = time.monotonic() + READER_SECONDS
    while True:
        try:
            fd = os.open(path, flags)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise
            if time.monotonic() >= give_up:
                raise OSError(errno.ENXIO, "nobody reads what is written there") from e
            time.sleep(_PAUSE)
        else:
            if hasattr(os, "O_NONBLOCK"):
                os.set_blocking(fd, True)
            return open(fd, "wb")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "a plain file",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a block device",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "no plain file")


def _sync(path: Path) -> None:
    """Return when a file's bytes, or the names in a directory, are on the disk."""
    # Windows flushes only what is open for writing
    mode = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    fd = os.open(path, mode | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole small file; see :func:`writing`."""
    with writing(path, mode) as stream:
        stream.write(data)


def check_private(fd: int, path: Path, what: str, *, made_here: bool = False) -> None:
    """InputError unless an open file is a plain one of this user's that nobody else may read.

    One of root's, who may read everything, will do, unless it is ``made_here``: then it is this user's own.

    As ssh asks of its keys. It is asked of the open file and never of a name, behind which another file may
    stand a moment later.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{what} {path} is {_kind(status.st_mode)}; a plain file is needed")
    if not hasattr(os, "geteuid"):
        return  # a system whose permissions are others
    mine = os.geteuid()
    if status.st_uid not in ((mine,) if made_here else (mine, 0)):
        raise InputError(f"{what} {path} is no file of yours: somebody else made it; make one of your own")
    if status.st_mode & 0o077:
        raise InputError(f"{what} {path} is secret, but others may read it; run: chmod 600 {path}")


def read_private(path: Path, limit: int, what: str) -> bytes:
    """The bytes of a secret file of at most ``limit`` bytes, which is opened once: what is checked is read.

    A symbolic link is followed, since secrets are often mounted by links; what it leads to is checked. A pipe
    is refused without waiting for whoever may write into it. Raises as :func:`check_private` and
    :func:`read_limited`.
    """
    words = ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")  # what one system or another lacks
    try:
        fd = os.open(path, os.O_RDONLY | sum(getattr(os, word, 0) for word in words))
    except OSError as e:
        raise InputError(f"cannot read {what} {path}: {e.strerror or e}") from e
    try:
        check_private(fd, path, what)
        return read_limited(path, limit, what, fd)
    finally:
        os.close(fd)


def read_limited(path: Path, limit: int, what: str, fd: int | None = None) -> bytes:
    """The bytes of a file of at most ``limit`` bytes; from its start if ``fd``, which is the same file, is
    given.

    Raises InputError if it cannot be read, LimitError if it is larger.
    """
    try:
        with open(path if fd is None else fd, "rb", closefd=fd is None) as stream:
            if fd is not None:
                stream.seek(0)
            data = stream.read(limit + 1)
    except OSError as e:
        raise InputError(f"cannot read {what} {path}: {e.strerror or e}") from e
    if len(data) > limit:
        raise LimitError(f"{what} {path} is larger than {limit} bytes")
    return data


def is_plain(path: Path) -> bool:
    """Whether what is at ``path``, links followed, can be read more than once; so can what is absent."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # whoever opens it says what is wrong


def require_plain(path: Path, what: str) -> None:
    """InputError for a pipe or a device where a file is read at several places."""
    if not is_plain(path):
        raise InputError(f"{what} {path} is {_kind(path.stat().st_mode)}; a plain file is needed")


@contextmanager
def exclusive(
    path: Path,
    what: str,
    *,
    create: bool = True,
    follow: bool = False,
    wait: float = 0.0,
    shown: Path | None = None,
) -> Iterator[int]:
    """A file for this process alone until the block ends: its descriptor, to read from and to append to.

    The lock is the system's own, on the open file and not on its name: hard links share it, it excludes two
    users within one process too, and it is gone with the process, however that ends. If ``create``, an absent
    file is made, with mode 0600. ``follow``: whether ``path`` may be a symbolic link; otherwise that is a
    StorageError. ``wait``: seconds to wait for another process. Messages name ``shown``, or else ``path``.

    Raises InputError if another process has the file, StorageError if it cannot be opened or locked.
    """
    name, give_up = f"{what} {shown or path}", time.monotonic() + wait
    while True:
        fd = _opened(path, name, create, follow)
        try:
            if _try_lock(fd, name):
                if not _is_at(fd, path):
                    continue  # whoever had it removed it, or put another file in its place
                yield fd
                return
        finally:
            os.close(fd)
        if time.monotonic() >= give_up:
            raise InputError(f"{name} is in use by another process")
        time.sleep(_PAUSE)


def _opened(path: Path, name: str, create: bool, follow: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
    # what one system or another lacks
    words = ("O_CLOEXEC", "O_BINARY") if follow else ("O_CLOEXEC", "O_BINARY", "O_NOFOLLOW")
    try:
        return os.open(path, flags | sum(getattr(os, word, 0) for word in words), 0o600)
    except OSError as e:
        raise StorageError(f"cannot open {name}: {e.strerror or e}") from e


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(fd: int, name: str) -> bool:
    """Whether the open file is now locked. The modules that know how are each system's own."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, _FAR, os.SEEK_SET)  # Windows keeps others from what is locked: no byte of the file
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            except PermissionError:
                return False
            os.lseek(fd, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except ModuleNotFoundError as e:
        raise StorageError(f"cannot lock {name}: Python has no module {e.name} on this system") from e
    except OSError as e:
        raise StorageError(f"cannot lock {name}: {e.strerror or e}") from e
    return True
