"""A node's opening on its way: that the connection breaks is the node's failure to open, not the caller's.

What the caller opens on its own machine (a file that is not there) fails before it gets here.
"""

from __future__ import annotations

import io
from time import monotonic
from typing import BinaryIO, TypeVar, cast

from proofcompute.errors import InputError, VerificationError
from proofcompute.protocol.promises import require_within

__all__ = ["arriving", "received"]

_T = TypeVar("_T")


class _Received:
    """A stream whose failures are rejections (step 10)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._into = getattr(stream, "readinto", None)

    def read(self, size: int) -> bytes:
        """As the stream's; VerificationError (step 10) if the system cannot read."""
        try:
            return _blocking(self._stream.read(size))
        except OSError as e:
            raise _broken(e) from e

    def readinto(self, target: memoryview) -> int:
        """As the stream's, if it has it; VerificationError (step 10) if the system cannot read."""
        if self._into is None:  # a stream that has only what BinaryIO asks for
            data = self.read(min(len(target), _SOME))
            target[: len(data)] = data
            return len(data)
        try:
            found: int = _blocking(self._into(target))
        except OSError as e:
            raise _broken(e) from e
        return found

    def tell(self) -> int:
        """As the stream's."""
        return self._stream.tell()

    def seek(self, offset: int) -> int:
        """As the stream's; VerificationError (step 10) if the system cannot."""
        try:
            return self._stream.seek(offset)
        except OSError as e:
            raise _broken(e) from e

    def seekable(self) -> bool:
        """Whether it can be read again."""
        return bool(getattr(self._stream, "seekable", bool)())


class _Arriving:
    """A stream that is still coming: the time that its reads take is the node's."""

    def __init__(self, stream: BinaryIO, waited: float, deadline: float) -> None:
        self._stream, self._waited, self._deadline = stream, waited, deadline

    def read(self, size: int) -> bytes:
        """As the stream's; VerificationError (step 10) once the deadline has passed."""
        start = monotonic()
        data = self._stream.read(size)
        self._waited += monotonic() - start
        require_within(self._waited, self._deadline)
        return data


def arriving(opening: BinaryIO, waited: float, deadline: float) -> BinaryIO:
    """``opening``, which must have come within ``deadline`` seconds; ``waited`` have gone by.

    What can be read again has come already. Of another one the time counts that reads take, and not what the
    verifier does between them: a node that lets its bytes drip is as late as one that sends them at last.
    """
    here = bool(getattr(opening, "seekable", bool)())
    return opening if here else cast(BinaryIO, _Arriving(opening, waited, deadline))


_SOME = 1 << 16
"""Bytes asked of a stream that cannot read into memory."""


def received(opening: BinaryIO) -> BinaryIO:
    """``opening``, whose failure to be read is a rejection; memory cannot fail, and is read where it is."""
    whole = type(opening) is io.BytesIO or isinstance(opening, _Received)
    return opening if whole else cast(BinaryIO, _Received(opening))


def _blocking(found: _T | None) -> _T:
    """What was read; InputError if the stream says that there is nothing yet."""
    if found is None:
        raise InputError("the opening comes from a stream that does not wait for it; make it blocking")
    return found


def _broken(error: OSError) -> VerificationError:
    text = error.strerror or str(error) or type(error).__name__
    return VerificationError(10, f"no valid opening: it could not be received ({text})")
