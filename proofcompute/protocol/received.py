"""Read a node's opening so that a broken connection or a late opening is a rejection.

A broken connection counts as the node's failure to open, not as the caller's. What the caller opens on its
own machine, such as a missing file, fails before it gets here.
"""

from __future__ import annotations

from time import monotonic
from typing import BinaryIO, TypeVar, cast

from proofcompute.encoding.window import memory_of
from proofcompute.errors import InputError, VerificationError
from proofcompute.protocol.promises import require_within

__all__ = ["arriving", "received"]

_T = TypeVar("_T")


class _Received:
    """A stream whose read errors are rejections (step 10)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._into = getattr(stream, "readinto", None)

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes. Raises VerificationError (step 10) if the system cannot read."""
        try:
            return _blocking(self._stream.read(size))
        except OSError as e:
            raise _broken(e) from e

    def readinto(self, target: memoryview) -> int:
        """Read into ``target`` and return the number of bytes.

        Raises VerificationError (step 10) if the system cannot read.
        """
        if self._into is None:  # a stream with no more than BinaryIO requires
            data = self.read(min(len(target), _READ_SIZE))
            target[: len(data)] = data
            return len(data)
        try:
            found: int = _blocking(self._into(target))
        except OSError as e:
            raise _broken(e) from e
        return found

    def seek(self, offset: int) -> int:
        """Set the stream's position. Raises VerificationError (step 10) if the system cannot."""
        try:
            return self._stream.seek(offset)
        except OSError as e:
            raise _broken(e) from e


class _Arriving:
    """A stream that is still arriving; the time that its reads take counts against the node's deadline."""

    def __init__(self, stream: BinaryIO, waited: float, deadline: float) -> None:
        self._stream, self._waited, self._deadline = stream, waited, deadline

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes. Raises VerificationError (step 10) once the deadline has passed."""
        start = monotonic()
        data = self._stream.read(size)
        self._waited += monotonic() - start
        require_within(self._waited, self._deadline)
        return data


def arriving(opening: BinaryIO, waited: float, deadline: float) -> BinaryIO:
    """Return ``opening`` as a stream that must arrive within ``deadline`` seconds, ``waited`` of them gone.

    A stream that can be read again has arrived already and is returned as it is. For any other stream the
    time that reads take counts, but not what the verifier does between them: a node that sends slowly is as
    late as one that sends late.
    """
    here = bool(getattr(opening, "seekable", bool)())
    return opening if here else cast(BinaryIO, _Arriving(opening, waited, deadline))


_READ_SIZE = 1 << 16
"""Bytes to read at once from a stream without ``readinto``."""


def received(opening: BinaryIO) -> BinaryIO:
    """Return ``opening`` as a stream whose read errors are rejections.

    A stream that lies in memory has none, and is returned as it is, so that its readers need no copy.
    """
    whole = isinstance(opening, _Received) or memory_of(opening) is not None
    return opening if whole else cast(BinaryIO, _Received(opening))


def _blocking(found: _T | None) -> _T:
    """Return what was read. Raises InputError if the stream is non-blocking and has no data yet."""
    if found is None:
        raise InputError("the opening comes from a stream that does not wait for it; make it blocking")
    return found


def _broken(error: OSError) -> VerificationError:
    text = error.strerror or str(error) or type(error).__name__
    return VerificationError(10, f"no valid opening: it could not be received ({text})")
