"""Keep the newest receipts, for clients that lost theirs."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import final

from proofcompute.serving.clients import Client

__all__ = ["Receipts"]

_OVERHEAD = 256
"""Bytes that a receipt takes here besides itself, about."""


@final
class Receipts:
    """Receipts by the digest of the request that was sent, each for the client that sent it.

    They are in memory only: a client has its receipt with the answer, and the node needs none to open cells.
    """

    def __init__(self, most: int) -> None:
        """Keep at most ``most`` bytes."""
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all receipts that are kept, about."""
        return self._nbytes

    def keep(self, client: Client, digest: bytes, receipt: bytes) -> None:
        """Keep a receipt, and drop the oldest ones beyond the bytes that may be kept."""
        key = client.scope, digest
        with self._lock:
            old = self._kept.pop(key, None)
            self._nbytes -= 0 if old is None else len(old) + _OVERHEAD
            self._kept[key] = receipt
            self._nbytes += len(receipt) + _OVERHEAD
            while self._nbytes > self._most:
                _, dropped = self._kept.popitem(last=False)
                self._nbytes -= len(dropped) + _OVERHEAD

    def get(self, client: Client, digest: bytes) -> bytes | None:
        """Return the receipt for a client's request, if it is kept."""
        with self._lock:
            return self._kept.get((client.scope, digest))
