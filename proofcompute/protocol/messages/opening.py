"""Define the opening: committed rows, table rows and product hints of the cells of a challenge
(docs/spec/messages.md#opening).

An opening is a sequence of frames (one CBOR byte string each), so that both sides stream it. First comes a
head with the Merkle root of each committed group. Then follow, for each cell in the challenge's order, the
rows that are too long for one frame (:mod:`proofcompute.protocol.pieces`) and a part with everything else.
The last frame is the node's signature over all of them (:mod:`.closing`).

What frames hold, and in which order, follows from :func:`proofcompute.protocol.needs.needs`; the frames do
not say it. So a reader works out the :class:`PartShape` of a part
(:func:`proofcompute.protocol.shapes.part_shape`) before it reads the part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from proofcompute.encoding import wire
from proofcompute.encoding.reader import Reader
from proofcompute.limits import MAX_OPENING_PART

__all__ = [
    "GroupOpening",
    "GroupShape",
    "HintShape",
    "OpeningHead",
    "Part",
    "PartShape",
    "TableOpening",
    "TableShape",
]

Raw: TypeAlias = "bytes | memoryview"
"""Bytes of a part that was made, or a view of bytes that were read."""
KIND = "proofcompute opening"
VERSION = 3


@dataclass(frozen=True)
class OpeningHead:
    """The first frame of an opening."""

    receipt_digest: bytes
    challenge_digest: bytes
    roots: tuple[bytes, ...]
    """Merkle root of each committed group, in program order."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.receipt_digest, self.challenge_digest, self.roots))

    @staticmethod
    def largest(groups: int) -> int:
        """Return the most bytes of a head for ``groups`` committed groups."""
        return 128 + 64 * (groups + 2)

    @staticmethod
    def decode(data: bytes | memoryview, groups: int) -> OpeningHead:
        """Decode a head. Raises FormatError if ``data`` encodes none for ``groups`` committed groups."""
        top = wire.as_list(wire.decode(data, limit=MAX_OPENING_PART, what="opening"), "opening", n=5)
        wire.check_head(top, KIND, VERSION)
        return OpeningHead(
            wire.as_bytes(top[2], "receipt digest", 32),
            wire.as_bytes(top[3], "challenge digest", 32),
            tuple(wire.as_bytes(r, "root", 32) for r in wire.as_list(top[4], "roots", n=groups)),
        )


class GroupShape(NamedTuple):
    """The sizes of one committed group in a part."""

    size: int
    """Bytes of the rows."""
    proof: int
    """Number of digests in their range proof."""


class TableShape(NamedTuple):
    """The sizes of one weight table in a part."""

    size: int
    """Bytes of each row."""
    proofs: tuple[int, ...]
    """Number of digests in the Merkle proof of each row."""


class HintShape(NamedTuple):
    """The limits of one product's hint in a part, which itself states its number of sets and their widths."""

    sets: int
    """Most sets."""
    size: int
    """Most bytes of all packed sets together."""


class PartShape(NamedTuple):
    """The sizes of everything in a part, known before it is read; for the sets of hints, limits."""

    groups: tuple[GroupShape, ...]
    tables: tuple[TableShape, ...]
    hints: tuple[HintShape, ...]

    def most(self) -> tuple[int, int]:
        """Return the most elements of all arrays, and the most bytes, of a part of this shape."""
        items, digests, data = 3 + 3 * len(self.groups), 0, 0
        for size, proof in self.groups:
            digests += proof
            data += size
        for size, proofs in self.tables:
            items += 1 + 3 * len(proofs)
            digests += sum(proofs)
            data += size * len(proofs)
        for sets, size in self.hints:
            items += 1 + sets
            data += size
        items += digests
        return items, 9 + 9 * items + 32 * digests + data  # a head takes at most 9 bytes

    @property
    def largest(self) -> int:
        """Most bytes of a part of this shape."""
        return self.most()[1]


@dataclass(frozen=True)
class GroupOpening:
    """Rows of one committed group, end to end, without those in earlier frames, and the proof of all rows."""

    rows: Raw
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class TableOpening:
    """One row of a weight table and its Merkle proof."""

    row: Raw
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Part:
    """The frame with everything that one cell needs, except for rows in earlier frames."""

    groups: tuple[GroupOpening, ...]
    tables: tuple[tuple[TableOpening, ...], ...]
    """Rows of each table in ascending order of index; empty if the challenge asks for none."""
    hints: tuple[tuple[Raw, ...], ...]
    """Packed sets of integers of each product; empty if the challenge asks for none."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(self.pieces())

    def pieces(self) -> list[Raw]:
        """Return the canonical bytes in pieces, one after the other; long rows and sets are not copied."""
        groups = [(g.rows, g.proof) for g in self.groups]
        tables = [[(t.row, t.proof) for t in table] for table in self.tables]
        return wire.pieces((groups, tables, self.hints))

    @staticmethod
    def decode(data: bytes | memoryview, shape: PartShape) -> Part:
        """Decode a part. Raises FormatError or LimitError unless ``data`` has exactly this shape.

        The shape fixes every length before a row is hashed, except for the sets of a hint, which
        :func:`proofcompute.protocol.hints.check_hint` checks. Rows and sets are views of ``data``.
        """
        reader = Reader(data, limit=MAX_OPENING_PART, what="opening part")
        reader.array(3, "opening part")
        reader.array(len(shape.groups), "opened groups")
        groups = []
        for group in shape.groups:
            reader.array(2, "opened group")
            rows = reader.view("rows", group.size)
            groups.append(GroupOpening(rows, reader.digests(group.proof, "Merkle proof")))
        reader.array(len(shape.tables), "opened tables")
        tables = []
        for table in shape.tables:
            opened = []
            reader.array(len(table.proofs), "table rows")
            for proof in table.proofs:
                reader.array(2, "table row")
                row = reader.view("table row", table.size)
                opened.append(TableOpening(row, reader.digests(proof, "Merkle proof")))
            tables.append(tuple(opened))
        reader.array(len(shape.hints), "hints")
        hints = []
        for hint in shape.hints:
            count = reader.array_of_some(hint.sets, "hint")
            hints.append(tuple([reader.view("set of a hint") for _ in range(count)]))
        reader.end()
        return Part(tuple(groups), tuple(tables), tuple(hints))
