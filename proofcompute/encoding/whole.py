"""Give bytes a name when they are whole.

Linux makes files without a name (O_TMPFILE), which vanish with the process that writes them, however it
ends. So nothing of a secret or of a large file is left when a process is killed. Where there are no such
files, or a library writes to a name, the bytes have a temporary name meanwhile.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

__all__ = ["whole"]

_NAMELESS: Final = getattr(os, "O_TMPFILE", 0)
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
"""What opening a file without a name fails with, if the file system or the kernel has none."""


@contextmanager
def whole(place: Path, mode: int, *, named: bool) -> Iterator[BinaryIO]:
    """Open a file to write and to read, which replaces the one at ``place`` when the block succeeds.

    Else it vanishes. Its bytes are on the disk before its name is, and then it has permissions ``mode``. If
    ``named``, it has a temporary name, at which a library may write it anew. Raises OSError if the file
    system refuses.
    """
    stream = None if named else _nameless(place.parent)
    if stream is not None:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), mode)
            _link(stream.fileno(), place)
    else:
        fd, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        os.close(fd)
        temporary = Path(name)
        try:
            with temporary.open("w+b") as stream:
                yield stream
            _sync(temporary)  # by name, because a library that was given the name may have replaced the file
            temporary.chmod(mode)
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    with suppress(OSError):  # the file is in place, and not every file system can do this
        _sync(place.parent)  # its name as well, before a waiting caller removes what it replaces


def _nameless(directory: Path) -> BinaryIO | None:
    """Open a file without a name; None if there are none here."""
    if not _NAMELESS:
        return None
    try:
        fd = os.open(directory, os.O_RDWR | _NAMELESS, 0o600)  # Python adds O_CLOEXEC
    except OSError as e:
        if e.errno in _UNSUPPORTED:
            return None
        raise
    if not os.path.exists(_own(fd)):  # /proc is not mounted
        os.close(fd)
        return None
    return cast(BinaryIO, open(fd, "w+b"))


def _own(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _link(fd: int, place: Path) -> None:
    """Name a file without a name, in place of what has that name."""
    # with a descriptor for the source's directory, which means nothing here, Python follows the link in /proc
    try:
        os.link(_own(fd), place, src_dir_fd=fd)
    except FileExistsError:
        # no call replaces a file by one without a name
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        os.link(_own(fd), temporary, src_dir_fd=fd)
        try:
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _sync(path: Path) -> None:
    """Return when a file's bytes, or the names in a directory, are on the disk."""
    # Windows flushes only a file that is open for writing.
    mode = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    fd = os.open(path, mode | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
