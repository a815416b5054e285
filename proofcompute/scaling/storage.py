"""Keep the results of work once, in a folder, in memory or in a bucket, by fsspec.

A name is written once: whoever comes second learns that it is there. A folder gets a file whole or not at
all, by a link to a finished file. A bucket is asked to write only if there is nothing (a conditional PUT),
which S3 and what is compatible with it do.
"""

from __future__ import annotations

import os
import secrets
from typing import Any, Final, final

from proofcompute.errors import InputError, LimitError, StorageError
from proofcompute.errors.extras import lacking
from proofcompute.limits import GIB

__all__ = ["Store"]

MOST: Final = GIB
"""Most bytes of what is read at once by default."""


@final
class Store:
    """A place for results.

    Args:
        url: ``/path``, ``file:///path``, ``memory://name`` or ``s3://bucket/prefix``.
        options: passed to fsspec's file system, such as the endpoint of a service that is compatible with S3.

    Raises UnsupportedError if a package for it is missing, and InputError for a URL that fsspec has no file
    system for.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as e:
            raise lacking(e, "a store of results") from e
        try:
            self._fs, root = url_to_fs(url, **options)
        except ImportError as e:
            raise InputError(f"fsspec cannot open {url}: {e}") from e
        except ValueError as e:
            raise InputError(f"{url} is no place for results: {e}") from e
        self.url, self._root = url, root.rstrip("/")
        protocol = self._fs.protocol
        self._local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _path(self, name: str) -> str:
        parts = name.split("/")
        if not name or any(part in ("", ".", "..") or part.startswith("~") for part in parts):
            raise InputError(f"{name!r} is no name of a result")
        return f"{self._root}/{name}"

    def create(self, name: str, data: bytes) -> bool:
        """Write ``data`` under a name that is not there yet, and return whether it was not.

        Raises StorageError if it cannot be written.
        """
        path = self._path(name)
        try:
            if self._local:
                return self._linked(path, data)
            self._fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as e:
            raise StorageError(f"cannot write {name} to {self.url}: {e}") from e
        return True

    def _linked(self, path: str, data: bytes) -> bool:
        """Write a file beside its place, and link it there unless something is there."""
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        made = f"{folder}/.{secrets.token_hex(8)}"
        try:
            with open(made, "xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(made, path)
        finally:
            if os.path.exists(made):
                os.unlink(made)
        return True

    def read(self, name: str, most: int = MOST) -> bytes:
        """Return what is under a name, of at most ``most`` bytes.

        Raises InputError if nothing is, LimitError if it is longer, and StorageError if it cannot be read.
        """
        path = self._path(name)
        try:
            size = self._fs.size(path)
            if size is not None and size > most:
                raise LimitError(f"{name} has {size} bytes, more than {most}")
            with self._fs.open(path, "rb") as stream:
                data: bytes = stream.read(most + 1)
        except FileNotFoundError as e:
            raise InputError(f"{self.url} has no {name}") from e
        except OSError as e:
            raise StorageError(f"cannot read {name} of {self.url}: {e}") from e
        if len(data) > most:
            raise LimitError(f"{name} has more than {most} bytes")
        return data

    def has(self, name: str) -> bool:
        """Return whether something is under a name."""
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._path(name)))

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(self._root)
        except FileNotFoundError:
            return []
        start = len(self._root) + 1
        names = [str(path)[start:] for path in found]
        return sorted(name for name in names if not name.rpartition("/")[2].startswith("."))
