"""Keep the record of an audit in a file to which lines are only added, so that an interruption loses nothing.

Each line is one entry (:mod:`proofcompute.client.entries`) as a JSON object, and ends with a digest of itself
and of the digest of the line before. So a damaged line, or one that is missing, is found, and named. The
digests are no secret: they do not protect against the owner of the file. The file holds the questions, so
only its owner may read it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from proofcompute.client.entries import Begun, Entry, entry_of, fields_of
from proofcompute.client.tally import Tally
from proofcompute.encoding.files import exclusive, require_plain
from proofcompute.errors import FormatError, InputError, LimitError, StorageError

__all__ = ["MAX_LINE", "Record"]

MAX_LINE: Final = 1 << 28
"""The most bytes of one line: a request, a receipt and a response of the greatest sizes fit."""
_DIGEST: Final = 32
_CHAIN: Final = b',"chain":"'
_END: Final = b'"}\n'
_BEGIN: Final = b'{"event":"audit","url":"'
"""How every record begins."""


class Record:
    """A record file, which this process alone uses. Use it in a ``with`` statement.

    What an earlier run wrote is read first; a last line that it did not finish is taken as not written.

    Args:
        path: the file; it is made if there is none.
        begun: what is audited. A record of something else is refused.
        tally: counts the entries.

    Raises InputError if the file is no record, is damaged, is about another audit, or is in use; and
    StorageError if the file system refuses.
    """

    def __init__(self, path: Path, begun: Begun, tally: Tally) -> None:
        self.path, self._tally, self._chain, self._stack = path, tally, "0" * _DIGEST, ExitStack()
        if path.exists():
            require_plain(path, "the record")
        self._fd = self._stack.enter_context(exclusive(path, "the record", follow=True))
        try:
            self._load(begun)
        except BaseException:
            self.close()
            raise

    def _load(self, begun: Begun) -> None:
        whole = 0
        for number, line in self._lines():
            if not line.endswith(b"\n"):
                self._require_unfinished(line, number)
                break
            try:
                self._tally.take(self._read(line))
            except FormatError as e:
                raise InputError(f"the record {self.path}: line {number} cannot be used: {e}") from e
            whole += len(line)
        found = self._tally.begun
        if found is not None and found != begun:
            raise InputError(
                f"the record {self.path} is of an audit of {found.url}, model id {found.model_id}, "
                "and not of this one"
            )
        try:
            os.ftruncate(self._fd, whole)
        except OSError as e:
            raise StorageError(f"cannot write the record {self.path}: {e.strerror or e}") from e
        self._size = whole
        if found is None:
            self._take_from_others()
            self.write(begun)

    def _take_from_others(self) -> None:
        """See to it that only its owner reads a file that was there before, and empty."""
        if not hasattr(os, "fchmod"):  # not every system has it
            return
        try:
            os.fchmod(self._fd, 0o600)
        except OSError as e:
            raise StorageError(f"cannot make the record {self.path} private: {e.strerror or e}") from e

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self.path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    raise InputError(f"the record {self.path}: line {number} is too long for a record")
                yield number, line

    def _require_unfinished(self, line: bytes, number: int) -> None:
        """Raise InputError unless a last line without an end is the beginning of one of a record.

        It is cut off, and neither another file may be nor a line that is whole but for a damaged end.
        """
        start = _BEGIN if number == 1 else b'{"event":"'
        begins = line.startswith(start) or start.startswith(line)
        if not begins or self._chain_of(line[:-1] + b"\n"):
            raise InputError(f"the record {self.path}: line {number} is no line of a record")

    def _read(self, line: bytes) -> Entry:
        """Return the entry of a line, and take its digest. Raises FormatError if it was changed."""
        chain = self._chain_of(line)
        if not chain:
            raise FormatError("it is damaged, or the line before it is missing")
        try:
            entry = entry_of(json.loads(line[: -len(_CHAIN) - _DIGEST - len(_END)] + b"}"))
        except (ValueError, RecursionError) as e:
            raise FormatError(f"it is no JSON: {e}") from e
        self._chain = chain
        return entry

    def _chain_of(self, line: bytes) -> str:
        """Return the digest of a line that is as it was written after those before it, or ""."""
        body = line[: max(0, len(line) - len(_END) - _DIGEST - len(_CHAIN))]
        chain = self._next(body)
        return chain if line == body + _CHAIN + chain.encode() + _END else ""

    def _next(self, body: bytes) -> str:
        return hashlib.sha256(self._chain.encode() + body).hexdigest()[:_DIGEST]

    def write(self, entry: Entry) -> None:
        """Add an entry. It is on the disk when this returns; if it cannot be, the file is as before.

        Raises LimitError for an entry that is too large, and StorageError if the file system refuses.
        """
        body = json.dumps(fields_of(entry), separators=(",", ":"), allow_nan=False).encode()[:-1]
        chain = self._next(body)
        line = body + _CHAIN + chain.encode() + _END
        if len(line) > MAX_LINE:
            raise LimitError(f"an entry of {len(line)} bytes is too large for the record")
        try:
            self._append(line)
        except OSError as e:
            os.ftruncate(self._fd, self._size)
            raise StorageError(f"cannot write the record {self.path}: {e.strerror or e}") from e
        self._size += len(line)
        self._chain = chain
        self._tally.take(entry)

    def _append(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[os.write(self._fd, left) :]
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
