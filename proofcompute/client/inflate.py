"""Undo the compression of a body, within a limit."""

from __future__ import annotations

import zlib

from proofcompute.errors import VerificationError

__all__ = ["CODINGS", "Inflater"]

CODINGS = ("gzip", "deflate")
"""Codings that can be undone."""
_EITHER = 47
"""The window of zlib that takes both formats."""


class Inflater:
    """Inflates the pieces of one body.

    Args:
        coding: the header ``Content-Encoding``, empty if there is none.
        limit: the most bytes of the body, inflated.

    Raises VerificationError (step 1) for a coding that nobody asked for, for data that are not of this
    coding, and for a body that is larger than the limit, before memory for it is taken.
    """

    def __init__(self, coding: str, limit: int) -> None:
        coding = coding.strip().lower()
        if coding not in ("", "identity", *CODINGS):
            raise VerificationError(1, f"a response in the coding {coding[:40]!r}, which was not asked for")
        self._zlib = zlib.decompressobj(_EITHER) if coding in CODINGS else None
        self._left = limit

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` stands for."""
        if self._zlib is None:
            found = data
        else:
            try:
                found = self._zlib.decompress(data, self._left + 1)
            except zlib.error as e:
                raise VerificationError(1, f"a response is not compressed as it says: {e}") from None
            if self._zlib.unused_data:
                raise VerificationError(1, "a compressed response goes on after its end")
        self._left -= len(found)
        if self._left < 0:
            raise VerificationError(1, "the body of a response is larger than its limit")
        return found

    def end(self) -> None:
        """Raise VerificationError (step 1) if the body ends before its compressed form does."""
        if self._zlib is not None and not self._zlib.eof:
            raise VerificationError(1, "a compressed response ends too early")
