"""Keeps receipts of calls with their requests, in memory or in a directory, while they may be challenged."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, final

from proofcompute.encoding.files import read_private, write_atomic
from proofcompute.errors import InputError, StorageError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import KIB, MAX_RECEIPT, MAX_REQUEST, MIB
from proofcompute.openai import KeptCall
from proofcompute.protocol.messages import Receipt, Request

__all__ = ["Collected"]

_MOST: Final = 256 * MIB
"""Bytes that are kept in memory without a directory."""
_OVERHEAD: Final = 256
"""Bytes that a pair takes in memory besides itself, about."""
_SWEEP: Final = 60.0
"""Seconds between two looks for files that are too old."""
_SUFFIX: Final = ".proof"


@final
class Collected:
    """Pairs of request and receipt by the digest of the receipt. Any thread may use it.

    A pair is a :class:`proofcompute.openai.KeptCall`, encoded. Whoever has a receipt knows its digest, and
    nobody else can guess it, since it depends on the request's nonce and the signature.
    """

    def __init__(self, store: StrPath | None, retention: int) -> None:
        """Keep pairs for ``retention`` seconds. Raises StorageError if the directory cannot be made."""
        self._folder = None if store is None else path_of(store)
        self._retention = retention
        self._lock = Lock()
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._nbytes = 0
        self._swept = 0.0
        if self._folder is not None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as e:
                raise StorageError(f"cannot make {self._folder}: {e.strerror or e}") from e

    def keep(self, request: Request, receipt: bytes, now: float | None = None) -> bytes:
        """Keep a pair, and return the receipt's digest. Raises StorageError if it cannot be written."""
        at = time.time() if now is None else now
        digest = Receipt.decode(receipt).digest
        pair = KeptCall(request, receipt).encode()
        self.expire(at)
        if self._folder is not None:
            write_atomic(self._path(digest), pair, 0o600)
            return digest
        with self._lock:
            self._kept[digest] = (at, pair)
            self._nbytes += len(pair) + _OVERHEAD
            while self._nbytes > _MOST:
                self._drop()
        return digest

    def get(self, digest: bytes, now: float | None = None) -> bytes | None:
        """Return the pair with a receipt of this digest; None if it is not kept, or not any more."""
        at = time.time() if now is None else now
        if self._folder is None:
            with self._lock:
                found = self._kept.get(digest)
            return None if found is None or found[0] + self._retention < at else found[1]
        path = self._path(digest)
        try:
            if path.stat().st_mtime + self._retention < at:
                return None
            return read_private(path, MAX_REQUEST + MAX_RECEIPT + KIB, "a receipt")
        except (FileNotFoundError, InputError):
            return None

    def expire(self, now: float) -> None:
        """Drop what nobody may challenge any more."""
        with self._lock:
            while self._kept and next(iter(self._kept.values()))[0] + self._retention < now:
                self._drop()
            if self._folder is None or now < self._swept + _SWEEP:
                return
            self._swept = now
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX) and entry.stat().st_mtime + self._retention < now:
                    Path(entry.path).unlink(missing_ok=True)

    def _drop(self) -> None:
        _, (_, pair) = self._kept.popitem(last=False)
        self._nbytes -= len(pair) + _OVERHEAD

    def _path(self, digest: bytes) -> Path:
        if self._folder is None or len(digest) != 32:
            raise InputError(f"a digest of {len(digest)} bytes")
        return self._folder / f"{digest.hex()}{_SUFFIX}"
