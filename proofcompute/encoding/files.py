"""Write files that appear whole or not at all, and read files under limits and locks."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from proofcompute.encoding.whole import whole
from proofcompute.errors import InputError, LimitError, StorageError

__all__ = [
    "append",
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
"""Seconds between two tries to get a lock."""
READER_SECONDS = 10.0
"""Seconds to wait until somebody reads from a pipe."""
_FAR = 1 << 40
"""The offset of a lock in a file on Windows: beyond the end of every file that is locked here."""


@contextmanager
def writing(path: Path, mode: int = 0o644, *, named: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write and to read, which gets its name and its ``mode`` only when the block succeeds.

    A symbolic link stays one, and the file that it names is replaced. A device or a pipe gets the bytes when
    the block succeeds. If ``named``, the file has a temporary name meanwhile, at which a library may write
    it; otherwise a process that is killed leaves none where the system allows that. Raises StorageError if
    the file system refuses, InputError if what is at ``path`` takes no bytes; then nothing at ``path`` has
    changed.
    """
    try:
        place, into = destination(path)
        with _collected(place, named) if into else whole(place, mode, named=named) as stream:
            yield stream
    except OSError as e:
        raise StorageError(
            f"cannot write {path}: {e.strerror or e}; free some space or choose another place"
        ) from e


@contextmanager
def _collected(place: Path, named: bool) -> Iterator[BinaryIO]:
    """Open a file whose bytes go to a device or a pipe when the block succeeds."""
    if named:
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder, "bytes")
            with kept.open("w+b") as stream:
                yield stream
            with kept.open("rb") as source, _open_there(place) as sink:
                shutil.copyfileobj(source, sink)
    else:
        with tempfile.TemporaryFile() as stream:
            yield cast(BinaryIO, stream)
            stream.seek(0)
            with _open_there(place) as sink:
                shutil.copyfileobj(stream, sink)


def destination(path: Path) -> tuple[Path, bool]:
    """Return where bytes for ``path`` go, links followed, and whether it is a device or a pipe to write into.

    Raises InputError for a directory, a block device or a socket, OSError if the file system refuses to say.
    """
    real = Path(os.path.realpath(path))
    try:
        there = path.stat()
    except FileNotFoundError:
        return real, False
    mode = there.st_mode
    if stat.S_ISREG(mode) and real.exists() and os.path.samestat(real.stat(), there):
        return real, False
    # /dev/stdout and the like may lead to a plain file that has no name of its own.
    if stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return path, True
    raise InputError(f"{path} is {_kind(mode)}; choose another name")


def _open_there(path: Path) -> BinaryIO:
    """Open what is at ``path`` to write into it; make nothing. Raises OSError for a pipe without a reader."""
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


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole small file; see :func:`writing`."""
    with writing(path, mode) as stream:
        stream.write(data)


def check_private(fd: int, path: Path, what: str, *, made_here: bool = False) -> None:
    """Raise InputError unless an open file is a plain one that only this user may read, as ssh's keys are.

    Root may own it too, because root may read everything, unless the file is ``made_here``: then this user
    must own it. The check is of the open file and not of its name, which may belong to another file a moment
    later.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{what} {path} is {_kind(status.st_mode)}; a plain file is needed")
    if not hasattr(os, "geteuid"):
        return  # this system has no such permissions
    mine = os.geteuid()
    if status.st_uid not in ((mine,) if made_here else (mine, 0)):
        raise InputError(f"{what} {path} is no file of yours: somebody else made it; make one of your own")
    if status.st_mode & 0o077 and not _handed_over(path, status):
        raise InputError(f"{what} {path} is secret, but others may read it; run: chmod 600 {path}")


def _handed_over(path: Path, status: os.stat_result) -> bool:
    """Return whether systemd handed a file of root's to this service (LoadCredential=).

    Since version 254 it lets the service's user read the file by an access control list, and a list's mask
    shows as the permissions of the file's group. Nobody but root and that user gets into the directory.
    """
    place = os.environ.get("CREDENTIALS_DIRECTORY")
    if not place or (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (0, 0, 0o440):
        return False
    try:
        directory = os.stat(place)
        return os.path.samestat(directory, os.stat(path.parent)) and not directory.st_mode & 0o027
    except OSError:
        return False


def read_private(path: Path, limit: int, what: str) -> bytes:
    """Return the bytes of a secret file of at most ``limit`` bytes.

    The file is opened once, so the file that is read is the one that was checked. A symbolic link is
    followed, since secrets are often mounted by links, and its target is checked. A pipe is refused without
    waiting for a writer. Raises as :func:`check_private` and :func:`read_limited`.
    """
    words = ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")  # not every system has all of them
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
    """Return the bytes of a file of at most ``limit`` bytes.

    ``fd``, if given, is the same file, open; it is read from its start. Raises InputError if the file cannot
    be read, LimitError if it is larger.
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
    """Return whether what is at ``path``, links followed, is a plain file; True if nothing is there."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # opening it will say what is wrong


def require_plain(path: Path, what: str) -> None:
    """Raise InputError for a pipe or a device, where ``what`` is read at several places."""
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
    """Open and lock a file until the block ends, and yield its descriptor, to read from and to append to.

    The lock is the system's own, on the open file and not on its name: hard links share it, it excludes two
    users within one process too, and it ends with the process, however that ends. If ``create``, an absent
    file is made, with mode 0600. Unless ``follow``, a symbolic link at ``path`` is a StorageError. ``wait``
    is how many seconds to wait for another process. Messages name ``shown``, or else ``path``.

    Raises InputError if another process has the file, StorageError if it cannot be opened or locked.
    """
    name, give_up = f"{what} {shown or path}", time.monotonic() + wait
    while True:
        fd = _opened(path, name, create, follow)
        try:
            if _try_lock(fd, name):
                if not _is_at(fd, path):
                    continue  # the process that had it removed it, or put another file in its place
                yield fd
                return
        finally:
            os.close(fd)
        if time.monotonic() >= give_up:
            raise InputError(f"{name} is in use by another process")
        time.sleep(_PAUSE)


def append(fd: int, data: bytes, name: str) -> None:
    """Append to a file that :func:`exclusive` opened; the disk has all of it when this returns.

    Raises StorageError if the file system refuses; what it had taken is cut off again, so that the file is as
    before and can be read.
    """
    try:
        size = os.fstat(fd).st_size
        left = memoryview(data)
        try:
            while left:
                taken = os.write(fd, left)
                if not taken:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                left = left[taken:]
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
    except OSError as e:
        raise StorageError(f"cannot write the {name}: {e.strerror or e}") from e


def _opened(path: Path, name: str, create: bool, follow: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
    # Not every system has all of these flags.
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
    """Try to lock the open file, with a module of this system, and return whether that succeeded."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, _FAR, os.SEEK_SET)  # Windows denies others the locked bytes, so none of the file's
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
