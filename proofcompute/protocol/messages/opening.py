"""Opening: committed rows, table rows and product hints of the cells of a challenge
(docs/spec/messages.md#opening).

An opening is a sequence of frames (one CBOR byte string each), so that both sides stream it: first a head
with the sealed roots' Merkle roots; then for each cell, in the challenge's order, the rows that are too long
for one frame (:mod:`.pieces`) and a part with all the rest; at last the node's signature over all of it
(:mod:`.closing`). What frames hold, and in which order, follows from
:func:`proofcompute.protocol.needs.needs`; they never say so themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from proofcompute.commitments.merkle import proof_length
from proofcompute.encoding import wire
from proofcompute.encoding.reader import Reader
from proofcompute.freivalds.product import product_sets
from proofcompute.limits import MAX_OPENING_PART
from proofcompute.program.program import Program
from proofcompute.program.types import SegmentPlan, once_for_each
from proofcompute.protocol.hints import widest
from proofcompute.protocol.needs import Needs
from proofcompute.protocol.pieces import cut

__all__ = [
    "GroupOpening",
    "OpeningHead",
    "Part",
    "TableOpening",
]

Raw: TypeAlias = "bytes | memoryview"
"""Bytes of a part that was made, or a view of those that were read."""
KIND = "proofcompute opening"
VERSION = 3


@dataclass(frozen=True)
class OpeningHead:
    """The first frame."""

    receipt_digest: bytes
    challenge_digest: bytes
    roots: tuple[bytes, ...]
    """Merkle root of each committed group, in program order."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((KIND, VERSION, self.receipt_digest, self.challenge_digest, self.roots))

    @staticmethod
    def largest(groups: int) -> int:
        """Bytes that no head for so many committed groups exceeds."""
        return 128 + 64 * (groups + 2)

    @staticmethod
    def decode(data: bytes | memoryview, groups: int) -> OpeningHead:
        """The head that ``data`` encodes, for ``groups`` committed groups; FormatError otherwise."""
        top = wire.as_list(wire.decode(data, limit=MAX_OPENING_PART, what="opening"), "opening", n=5)
        wire.check_head(top, KIND, VERSION)
        return OpeningHead(
            wire.as_bytes(top[2], "receipt digest", 32),
            wire.as_bytes(top[3], "challenge digest", 32),
            tuple(wire.as_bytes(r, "root", 32) for r in wire.as_list(top[4], "roots", n=groups)),
        )


@dataclass(frozen=True)
class GroupOpening:
    """Rows of one committed group, end to end, but for those that came ahead; and the range proof of all."""

    rows: Raw
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class TableOpening:
    """One row of a weight table and its Merkle proof."""

    row: Raw
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Part:
    """What one cell needs."""

    groups: tuple[GroupOpening, ...]
    tables: tuple[tuple[TableOpening, ...], ...]
    """For each table, its rows in ascending order of index; empty if the challenge asks for none."""
    hints: tuple[tuple[Raw, ...], ...]
    """For each product, its packed sets of integers; empty if the challenge asks for none."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode(
            (
                [(bytes(g.rows), g.proof) for g in self.groups],
                [[(bytes(t.row), t.proof) for t in table] for table in self.tables],
                [[bytes(packed) for packed in sets] for sets in self.hints],
            )
        )

    @staticmethod
    def largest(program: Program, need: Needs, size: int, rows: int, *, tables: bool, hints: bool) -> int:
        """Bytes that no part of ``need`` exceeds, for a cell of ``rows`` rows in a trace of ``size``.

        Known before anything of the part is read.
        """
        digests, data, items = 0, 0, 3
        for g in need.groups:
            digests += proof_length(size, g.a, g.b)
            here = cut(program, g).here
            data += program.group_bytes(g.group) * (here.b - here.a)
            items += 3
        for t in need.tables if tables else ():
            spec = program.weight[t.weight]
            digests += sum(proof_length(spec.rows, i, i + 1) for i in t.ids)
            data += spec.row_bytes * len(t.ids)
            items += 1 + 3 * len(t.ids)
        for sets, bits in _most_sets(need.plan) if hints else ():
            data += sets * (2 + rows * bits // 8)
            items += 1 + sets
        return 9 + 9 * (items + digests) + 32 * digests + data  # a head takes at most 9 bytes

    @staticmethod
    def decode(
        data: bytes | memoryview, program: Program, need: Needs, size: int, *, tables: bool, hints: bool
    ) -> Part:
        """The part that ``data`` encodes, exactly as ``need`` lists it; FormatError otherwise.

        ``size`` is the number of rows of the trace; every length is fixed by what is needed before a row is
        hashed, but for the sets of a hint (:func:`proofcompute.protocol.hints.check_hint`). Rows and sets are
        views of ``data``.
        """
        reader = Reader(data, limit=MAX_OPENING_PART, what="opening part")
        reader.array(3, "opening part")
        reader.array(len(need.groups), "opened groups")
        groups = []
        for g in need.groups:
            reader.array(2, "opened group")
            here = cut(program, g).here
            rows = reader.view("rows", program.group_bytes(g.group) * (here.b - here.a))
            groups.append(GroupOpening(rows, _proof(reader, size, g.a, g.b)))
        wanted = need.tables if tables else ()
        reader.array(len(wanted), "opened tables")
        opened_tables = []
        for t in wanted:
            spec, opened = program.weight[t.weight], []
            reader.array(len(t.ids), "table rows")
            for i in t.ids:
                reader.array(2, "table row")
                row = reader.view("table row", spec.row_bytes)
                opened.append(TableOpening(row, _proof(reader, spec.rows, i, i + 1)))
            opened_tables.append(tuple(opened))
        most = _most_sets(need.plan) if hints else ()
        reader.array(len(most), "hints")
        found = []
        for sets, _ in most:
            count = reader.array_of_some(sets, "hint")
            found.append(tuple([reader.view("set of a hint") for _ in range(count)]))
        reader.end()
        return Part(tuple(groups), tuple(opened_tables), tuple(found))


def _proof(reader: Reader, size: int, a: int, b: int) -> tuple[bytes, ...]:
    return reader.digests(proof_length(size, a, b), "Merkle proof")


@once_for_each
def _most_sets(plan: SegmentPlan) -> tuple[tuple[int, int], ...]:
    """For each product of a segment: the most sets of its hint, and the most bits of one set for a row."""
    return tuple(
        (len(product_sets(site.d, site.x_limbs, site.w_limbs)), widest(site.bound) * site.m)
        for site in plan.sites
    )
