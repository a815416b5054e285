"""Keeps compiled code between processes, and decides which files are trusted.

A cache can only ever save time. A file is a SHA-256 digest and the bytes that it covers, and appears whole: a
file that is missing, cut short or damaged counts as absent, and if no directory can be used there is no
cache. Code is loaded only from directories that belong to this user (or, if it was built ahead, to the
administrator) and that nobody else can write or replace; whoever can write a parent directory could replace
them. The caller names a file, or its directory, by a digest of everything that the content depends on.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Final

from proofcompute.encoding.files import write_atomic
from proofcompute.errors import InputError, StorageError

__all__ = ["cache_directory", "load", "store", "trusted", "user_cache"]

_DIGEST: Final = 32
_ADMINISTRATOR: Final = 0


def user_cache() -> Path | None:
    """Return the user's cache directory by the platform's convention; None if there is no home."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else None
    custom = os.environ.get("XDG_CACHE_HOME")
    if custom and os.path.isabs(custom):
        return Path(custom)
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return None
    return Path(home, "Library", "Caches") if sys.platform == "darwin" else Path(home, ".cache")


def _only_for(status: os.stat_result, *owners: int) -> bool:
    return status.st_uid in owners and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _own_group(gid: int) -> bool:
    """Return whether a group has no member but this user: some systems give each user such a group."""
    import grp  # for two systems out of three, and only where a directory is not private
    import pwd

    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    members = {*group.gr_mem} | {other.pw_name for other in pwd.getpwall() if other.pw_gid == gid}
    return user.pw_gid == gid and group.gr_name == user.pw_name and members <= {user.pw_name}


def _keeps(status: os.stat_result) -> bool:
    """Return whether only this user and the administrator can remove this user's files from a directory."""
    if status.st_uid not in (os.getuid(), _ADMINISTRATOR):
        return False
    if status.st_mode & stat.S_ISVTX:  # such as /tmp: everybody may add files, and remove only their own
        return True
    writers = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not writers or (
        writers == stat.S_IWGRP and (status.st_gid == _ADMINISTRATOR or _own_group(status.st_gid))
    )


def _private(path: Path, depth: int, *, ahead: bool = False) -> bool:
    """Return whether only their owner can write the last ``depth`` directories of a real path.

    The owner must be this user (``ahead``: or the administrator), and nobody else may replace them.
    """
    if sys.platform == "win32":
        return path.is_dir()
    owners = (os.getuid(), _ADMINISTRATOR) if ahead else (os.getuid(),)
    for i, part in enumerate((path, *path.parents)):
        status = part.lstat()
        if not stat.S_ISDIR(status.st_mode):  # a link, too
            return False
        if not (_only_for(status, *owners) if i < depth else _keeps(status)):
            return False
    return True


def cache_directory(base: Path | None, kind: str, key: str | None) -> Path | None:
    """Return ``base``/proofcompute/``kind``/``key``, made if necessary; None if it cannot be trusted.

    An existing directory is returned even if nothing can be written any more, as on a full disk.
    """
    if base is None or key is None:
        return None
    parts = ("proofcompute", kind, key)
    try:
        base.mkdir(parents=True, exist_ok=True)
        path = base.resolve(strict=True)
        for part in parts:
            path = path / part
            path.mkdir(mode=0o700, exist_ok=True)
        return path if _private(path, len(parts)) else None
    except OSError:
        return None


def trusted(path: Path) -> Path | None:
    """Return the real path of an existing directory that may be trusted; else None.

    It must be this user's or the administrator's, and nobody else may write or replace it.
    """
    try:
        real = path.resolve(strict=True)
        return real if _private(real, 1, ahead=True) else None
    except OSError:
        return None


def load(file: Path) -> bytes | None:
    """Return what :func:`store` has written; None if it is missing or damaged."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    body = data[_DIGEST:]
    return body if body and hashlib.sha256(body).digest() == data[:_DIGEST] else None


def store(file: Path, body: bytes) -> bool:
    """Keep ``body``, which must not be empty; False if the file system refuses, which costs time only."""
    try:
        write_atomic(file, hashlib.sha256(body).digest() + body, 0o600)
    except (StorageError, InputError):
        return False
    return True
