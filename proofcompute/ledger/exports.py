"""Write a ledger's log to a file, read it, and take it into another ledger (docs/spec/ledger.md#exports)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from proofcompute.encoding import wire
from proofcompute.encoding.files import require_plain, writing
from proofcompute.encoding.frames import FrameReader, write_frame
from proofcompute.errors import FormatError, InputError, LedgerError, LimitError
from proofcompute.ledger.ledger import Ledger
from proofcompute.ledger.messages import MAX_HEAD, MAX_SIZE, TreeHead
from proofcompute.limits import MAX_VERDICT

__all__ = ["EXPORT", "MAX_HEADS", "Export", "open_export", "write_export"]

EXPORT: Final = "proofcompute ledger export"
VERSION: Final = 1
MAX_HEADS: Final = 1 << 16
"""The most heads of an export."""
_WHAT: Final = "ledger export"


@dataclass(frozen=True)
class Export:
    """An export, of which the heads were read."""

    size: int
    """Leaves that it says to have."""
    heads: tuple[TreeHead, ...]
    """The operator's heads, by size."""
    stream: BinaryIO
    start: int
    """Where the leaves begin."""

    def leaves(self) -> Iterator[bytes]:
        """Return what the leaves hold, in order. Raises LedgerError if they are not those of an export."""
        self.stream.seek(self.start)
        reader = FrameReader(self.stream)
        with _theirs():
            for number in range(self.size):
                data = reader.read(limit=MAX_VERDICT, what=_WHAT)
                if data is None:
                    raise FormatError(f"the export ends before leaf {number} of {self.size}")
                yield bytes(data)
            if not reader.ended():
                raise FormatError(f"the export goes on after its {self.size} leaves")


def write_export(ledger: Ledger, path: Path) -> int:
    """Write a ledger's log and its heads to a file, whole or not at all. Returns the number of leaves.

    Verdicts name nodes, auditors, models and digests; no request and no answer is in an export.
    """
    heads = _in_order(ledger.log.heads())  # before the size is read, which grows meanwhile
    size = ledger.log.size
    with writing(path) as stream:
        write_frame(stream, wire.encode((EXPORT, VERSION, size, len(heads))))
        for head in heads:
            write_frame(stream, head.encode())
        for leaf in ledger.log.leaves(0, size):
            write_frame(stream, leaf)
    return size


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """Open an export and read its heads.

    Raises InputError if the file cannot be read, and LedgerError if it is no export.
    """
    require_plain(path, _WHAT)
    try:
        stream = path.open("rb")
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e
    with stream:
        with _theirs():
            made = _read(stream)
        yield made


def _read(stream: BinaryIO) -> Export:
    reader = FrameReader(stream)
    first = reader.read(limit=MAX_HEAD, what=_WHAT)
    if first is None:
        raise FormatError("the export is empty")
    top = wire.as_list(wire.decode(first, limit=MAX_HEAD, what=_WHAT), _WHAT, n=4)
    wire.check_head(top, EXPORT, VERSION)
    size = wire.as_int(top[2], "leaves of the export", 0, MAX_SIZE)
    count = wire.as_int(top[3], "heads of the export", 0, MAX_SIZE)
    if count > MAX_HEADS:
        raise LimitError(f"an export of {count} heads, at most {MAX_HEADS} are allowed")
    heads = []
    for _ in range(count):
        data = reader.read(limit=MAX_HEAD, what=_WHAT)
        if data is None:
            raise FormatError("the export ends before its heads do")
        heads.append(TreeHead.decode(bytes(data)))
    if any(head.size > size for head in heads) or tuple(heads) != _in_order(heads):
        raise FormatError("the heads of an export are in order, and none is of more leaves than it has")
    return Export(size, tuple(heads), stream, reader.count)


def _in_order(heads: Iterable[TreeHead]) -> tuple[TreeHead, ...]:
    return tuple(sorted(heads, key=lambda head: (head.size, head.made, head.signature)))


@contextmanager
def _theirs() -> Iterator[None]:
    """Say of what does not decode that the export does not hold: somebody else wrote it."""
    try:
        yield
    except (FormatError, LimitError) as e:
        raise LedgerError(str(e)) from e
