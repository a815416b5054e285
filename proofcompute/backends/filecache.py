"""Compiled code kept between processes: where, and under which conditions it is believed.

A cache can only ever save time. A file is a SHA-256 digest and the bytes that it covers, written under a
temporary name and renamed: one that is missing, cut short or damaged counts as absent, and where no directory
can be used there is no cache. Code is loaded only from directories that belong to this user (or, for what was
built ahead, to the administrator) and that nobody else can write. What a file is valid for is part of its
name or its directory's, chosen by the caller from a digest of everything that the content depends on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["cache_directory", "load", "store", "trusted", "user_cache"]

_DIGEST: Final = 32
_ADMINISTRATOR: Final = 0


def user_cache() -> Path | None:
    """The user's cache directory by the custom of the platform; None where there is no home."""
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


def _usable(path: Path) -> bool:
    """Make ``path`` and test that it is ours, writable for us and for nobody else."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
        status = path.stat()
    except OSError:
        return False
    return sys.platform == "win32" or _only_for(status, os.getuid())


def cache_directory(base: Path | None, kind: str, key: str | None) -> Path | None:
    """``base``/proofcompute/``kind``/``key``, made if need be; None where it cannot be used."""
    if base is None or key is None:
        return None
    path = base / "proofcompute" / kind / key
    return path if _usable(path) else None


def trusted(path: Path) -> bool:
    """Whether a directory is there, is this user's or the administrator's, and nobody else can write."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (
        sys.platform == "win32" or _only_for(status, os.getuid(), _ADMINISTRATOR)
    )


def load(file: Path) -> bytes | None:
    """What :func:`store` has written; None if there is none or it is damaged."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    body = data[_DIGEST:]
    return body if body and hashlib.sha256(body).digest() == data[:_DIGEST] else None


def store(file: Path, body: bytes) -> bool:
    """Keep ``body``, which is not empty. False if the file system refuses: that costs only time."""
    name = ""
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as out:
            name = out.name
            out.write(hashlib.sha256(body).digest() + body)
        os.replace(name, file)
    except OSError:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
        return False
    return True
