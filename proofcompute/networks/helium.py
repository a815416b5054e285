"""Write verified work as files that oracles of Helium read: records of protobuf, framed, in gzip.

Helium's oracles keep records in files named ``PREFIX.MILLISECONDS.gz``. Inside of gzip, each record follows
its length in four bytes, the most significant first (``file_store`` of helium/oracles, 2026: at most
15,000,000 bytes a record and 50,000,000 a file). There is no message about computing among Helium's, so the
message here is our own (:data:`PROTO`): frames and names are theirs, the content is not.

A record is the word of the bundle's auditor; the file is signed by nobody, as those of oracles are. Who gets
the bundles too compares them (:func:`check`).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from proofcompute.errors import EnvelopeError, InputError
from proofcompute.networks.adapter import Description, Document
from proofcompute.networks.work import Work
from proofcompute.protocol.messages.evidence import OUTCOMES

__all__ = ["ADAPTER", "MAX_PACKED", "PROTO", "Helium", "check", "file_name", "records", "write"]

PREFIX: Final = "proofcompute_verified_work"
MAX_RECORD: Final = 15_000_000
"""The most bytes of a record, as in Helium's own reader."""
MAX_FILE: Final = 50_000_000
"""The most bytes of all records of a file, likewise."""
MAX_PACKED: Final = 50_000_000
"""The most bytes of a file as it is kept."""
_ED25519: Final = b"\x01"
"""What stands before a public key: main network and curve (helium-crypto)."""
_NAME: Final = re.compile(rf"{PREFIX}\.(0|[1-9][0-9]{{0,15}})\.gz")

PROTO: Final = """\
syntax = "proto3";

package proofcompute;

// What an auditor found about one receipt. All digests are SHA-256 or the receipt's own, 32 bytes.
message verified_work_v1 {
  enum outcome {
    unspecified = 0;
    accepted = 1;
    contradicted = 2;
    silent = 3;
    refused = 4;
  }
  bytes node = 1;       // public key as helium-crypto encodes it: 0x01 and 32 bytes of Ed25519
  bytes auditor = 2;    // likewise
  bytes receipt = 3;    // digest of the signed receipt
  bytes request = 4;    // digest of the request
  bytes model = 5;      // model id
  bytes evidence = 6;   // SHA-256 of the file of the bundle of evidence
  outcome result = 7;
  uint32 step = 8;      // the step of verification that failed, 0 if none did
  uint64 rows = 9;      // tokens or samples
  uint64 timestamp = 10; // when the auditor signed, milliseconds since the Unix epoch
}
"""
"""The message, for tools of protobuf."""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _record(work: Work) -> bytes:
    """Return the record of a bundle, its fields in ascending order, and those of 0 left out."""
    keys = (_ED25519 + work.node, _ED25519 + work.auditor)
    digests = (work.receipt_digest, work.request_digest, work.model_id, work.bundle_sha256)
    parts = [
        bytes([number << 3 | 2]) + _varint(len(data)) + data
        for number, data in enumerate((*keys, *digests), 1)
    ]
    numbers = (1 + OUTCOMES.index(work.outcome.kind), work.outcome.step, work.rows, work.made)
    parts += [bytes([number << 3]) + _varint(value) for number, value in enumerate(numbers, 7) if value]
    return b"".join(parts)


def file_name(works: Sequence[Work]) -> str:
    """Return the name that oracles give a file: the time is that of the oldest record."""
    if not works:
        raise InputError("a file holds one record or more")
    return f"{PREFIX}.{min(work.made for work in works)}.gz"


def write(works: Sequence[Work]) -> Document:
    """Return the file about bundles of evidence, in the order of their times and digests.

    The same bundles give the same bytes. Raises InputError for none, one that is there twice, or too many.
    """
    if not works or len({work.bundle_sha256 for work in works}) < len(works):
        raise InputError("name one or more bundles of evidence, each once")
    made = [_record(work) for work in _sorted(works)]
    framed = b"".join(len(record).to_bytes(4) + record for record in made)
    if len(framed) > MAX_FILE:
        raise InputError(f"the records take {len(framed)} bytes, at most {MAX_FILE} are in one file")
    return Document("application/gzip", gzip.compress(framed, mtime=0), ".gz", "ours")


def _sorted(works: Sequence[Work]) -> list[Work]:
    return sorted(works, key=lambda work: (work.made, work.bundle_sha256))


def records(data: bytes) -> Iterator[bytes]:
    """Return the records of a file of an oracle, whichever message they are.

    Raises EnvelopeError if it is no gzip, is cut off, unpacks to more than oracles read, or has bytes after
    its end.
    """
    if len(data) > MAX_PACKED:
        raise EnvelopeError(f"the file has {len(data)} bytes, at most {MAX_PACKED} are read")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        framed = unpacker.decompress(data, MAX_FILE + 1)
    except zlib.error as e:
        raise EnvelopeError(f"the file is no gzip: {e}") from e
    if len(framed) > MAX_FILE:
        raise EnvelopeError(f"the file unpacks to more than {MAX_FILE} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise EnvelopeError("the file is cut off, or has bytes after its end")
    at = 0
    while at < len(framed):
        n = int.from_bytes(framed[at : at + 4])
        record = framed[at + 4 : at + 4 + n]
        if n > MAX_RECORD or at + 4 > len(framed) or len(record) < n:
            raise EnvelopeError("a record is cut off, or longer than oracles read")
        yield record
        at += 4 + n


def check(data: bytes, works: Sequence[Work], name: str | None = None) -> None:
    """Check that a file says what bundles of evidence say: one record of each, in their order, and no other.

    Raises EnvelopeError if it is malformed or says something else, or if ``name`` is not the file's own.
    """
    if name is not None and (not _NAME.fullmatch(name) or name != file_name(works)):
        raise EnvelopeError(f"a file of these records is named {file_name(works)}, not {name}")
    expected = [_record(work) for work in _sorted(works)]
    # Twelve million records of no bytes fit into a file, so no more are read than there may be, and one.
    found = list(islice(records(data), len(expected) + 1))
    if len(found) != len(expected):
        many = "more" if len(found) > len(expected) else len(found)
        raise EnvelopeError(f"the file has {many} records, and there are {len(expected)} bundles")
    for i, (said, wanted) in enumerate(zip(found, expected, strict=True)):
        if said != wanted:
            raise EnvelopeError(f"record {i} says something else than its bundle, or in another form")


@dataclass(frozen=True)
class Helium:
    """Writes records of verified work for oracles."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="helium",
            title="Helium",
            adopter="oracles that read records of work from files",
            offers=("records of verified work in files as oracles keep them; the message is our own",),
            interface="ours",
            judged_by=("protobuf, the reference implementation",),
        )


ADAPTER = Helium()
