"""Opening: committed rows, table rows and product hints of the cells of a challenge (design, section 7).

An opening is a sequence of frames (one CBOR byte string each), so that both sides stream it: first a head
with the sealed roots' Merkle roots; then for each cell, in the challenge's order, the rows that are too long
for one frame (:mod:`.pieces`) and a part with all the rest; at last the node's signature over all of it
(:mod:`.closing`). What frames hold, and in which order, follows from
:func:`proofcompute.interpreter.needs`; they never say so themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from proofcompute import wire
from proofcompute.errors import FormatError
from proofcompute.hint import CheckedHint, Claim, Hint, Packed
from proofcompute.interpreter import Needs
from proofcompute.kernels import F32, I8, I32, U32, Kernels, product_sets
from proofcompute.limits import MAX_ACCUMULATOR, MAX_OPENING_PART
from proofcompute.merkle import proof_length
from proofcompute.messages.pieces import cut
from proofcompute.parts import once_for_each
from proofcompute.program import Program, Rows, SegmentPlan, Site
from proofcompute.reader import Reader
from proofcompute.source import Recorded

__all__ = [
    "GroupOpening",
    "OpeningHead",
    "Part",
    "TableOpening",
    "check_hint",
    "encode_hint",
    "pack_set",
    "row_bytes",
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
        hashed, but for the sets of a hint (:func:`check_hint`). Rows and sets are views of ``data``.
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


def row_bytes(program: Program, segment: int) -> int:
    """Bytes that a cell of one row opens at most, rows of prefixes and of weight tables apart."""
    plan = program.plans[segment]
    names = (*(n for n, mode in plan.reads if mode is Rows.SAME), *plan.writes)
    rows = sum(program.group_bytes(g) for g in {program.group_of[n] for n in names})
    sets = sum(site.m * len(product_sets(site.d, site.x_limbs, site.w_limbs)) for site in plan.sites)
    return rows + 4 * sets


def _proof(reader: Reader, size: int, a: int, b: int) -> tuple[bytes, ...]:
    return reader.digests(proof_length(size, a, b), "Merkle proof")


@once_for_each
def _most_sets(plan: SegmentPlan) -> tuple[tuple[int, int], ...]:
    """For each product of a segment: the most sets of its hint, and the most bits of one set for a row."""
    return tuple(
        (len(product_sets(site.d, site.x_limbs, site.w_limbs)), _widest(site.bound) * site.m)
        for site in plan.sites
    )


def encode_hint(made: Recorded, site: Site, wanted: Sequence[Claim], kernels: Kernels) -> tuple[bytes, ...]:
    """The packed sets of one product: for each one byte with the width in bits, then the packed values.

    The width is the least that holds every value of the set, so that the encoding is canonical.
    """
    acc = kernels.host(made.acc)
    index = {
        (a, i, j): n for n, (a, _, i, j, _) in enumerate(product_sets(site.d, site.x_limbs, site.w_limbs))
    }
    return tuple(
        pack_set(_together([acc[index[c.start, i, c.w_limb]] for i in c.limbs]), kernels) for c in wanted
    )


def _together(limbs: Sequence[I32]) -> I32:
    """Accumulators of limbs, high before low, as one; a claim of both says that the sum fits."""
    value = limbs[0]
    for low in limbs[1:]:
        value = (value << np.int32(8)) + low  # modulo 2^32, where only the high part could overflow
    return value


def pack_set(values: I32, kernels: Kernels) -> bytes:
    """One set of a hint, packed."""
    bits = _width(int(values.min()), int(values.max()))
    return bytes([bits]) + kernels.pack(np.ascontiguousarray(values).reshape(-1), bits)


def check_hint(
    packed: Sequence[Raw],
    weight: str,
    q: I8,
    wanted: Sequence[Claim],
    columns: tuple[U32, U32],
    sx: F32,
    scales: tuple[F32, F32 | None],
    kernels: Kernels,
    residual: F32 | None = None,
) -> CheckedHint:
    """A product's hint: FormatError unless it has the claimed sets, canonical and within bounds.

    ``q`` [limbs, n, d] are the rows and ``sx`` [n] their scales, ``columns`` S and V of the weight (see
    :class:`proofcompute.freivalds.Columns`), ``scales`` the channels' scales and biases [m]; the product is
    added to ``residual`` [n, m]. Whether it holds is for the caller to look at.
    """
    if len(packed) != len(wanted):
        raise FormatError(f"hint of {weight}: {len(packed)} sets of integers, not {len(wanted)}")
    sets: list[tuple[int, Packed]] = []
    for data, claim in zip(packed, wanted, strict=True):
        if not data or not 1 <= data[0] <= _widest(claim.bound):
            raise FormatError(f"hint of {weight}: width outside 1..{_widest(claim.bound)} bits")
        sets.append((data[0], memoryview(data)[1:]))
    found = kernels.check_hint(Hint(q, wanted, sets, *columns, sx, *scales, residual))
    for (bits, _), (low, high), claim in zip(sets, found.limits, wanted, strict=True):
        if _width(low, high) != bits:
            raise FormatError(f"hint of {weight}: more bits than its values need")
        if max(high, -low) > claim.bound:
            raise FormatError(f"hint of {weight}: a value is beyond its bound")
    return found


def _widest(bound: int) -> int:
    """Most bits that a value within a bound may take."""
    return min(bound, MAX_ACCUMULATOR - 1).bit_length() + 1


def _width(low: int, high: int) -> int:
    """Least width of a two's complement that holds every value from ``low`` to ``high``; at least 1."""
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
