"""Opening: committed rows, table rows and product hints of the cells of a challenge (design, section 7).

An opening is a sequence of frames (one CBOR byte string each), so that both sides stream it: first a head
with the sealed roots' Merkle roots, then one part for each cell in the challenge's order. What a part holds,
and in which order, follows from :func:`proofcompute.interpreter.needs`; a part never says so itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofcompute import wire
from proofcompute.errors import FormatError
from proofcompute.interpreter import Needs
from proofcompute.kernels import I32, Kernels, product_sets
from proofcompute.limits import MAX_ACCUMULATOR, MAX_OPENING_PART
from proofcompute.merkle import proof_length
from proofcompute.messages.request import _head
from proofcompute.program import Program, Site

__all__ = ["GroupOpening", "OpeningHead", "Part", "TableOpening", "decode_hint", "encode_hint"]

KIND = "proofcompute opening"
VERSION = 1


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
    def decode(data: bytes, groups: int) -> OpeningHead:
        """The head that ``data`` encodes, for ``groups`` committed groups; FormatError otherwise."""
        top = wire.as_list(wire.decode(data, limit=MAX_OPENING_PART, what="opening"), "opening", n=5)
        _head(top, KIND, VERSION)
        return OpeningHead(
            wire.as_bytes(top[2], "receipt digest", 32),
            wire.as_bytes(top[3], "challenge digest", 32),
            tuple(wire.as_bytes(r, "root", 32) for r in wire.as_list(top[4], "roots", n=groups)),
        )


@dataclass(frozen=True)
class GroupOpening:
    """Rows of one committed group, end to end, and the Merkle range proof."""

    rows: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class TableOpening:
    """One row of a weight table and its Merkle proof."""

    row: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Part:
    """What one cell needs."""

    groups: tuple[GroupOpening, ...]
    tables: tuple[tuple[TableOpening, ...], ...]
    """For each table, its rows in ascending order of index; empty if the challenge asks for none."""
    hints: tuple[tuple[bytes, ...], ...]
    """For each product, its packed accumulator sets; empty if the challenge asks for none."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode(
            (
                [(g.rows, g.proof) for g in self.groups],
                [[(t.row, t.proof) for t in table] for table in self.tables],
                self.hints,
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
            data += program.group_bytes(g.group) * (g.b - g.a)
            items += 3
        for t in need.tables if tables else ():
            spec = program.weight[t.weight]
            digests += sum(proof_length(spec.rows, i, i + 1) for i in t.ids)
            data += spec.row_bytes * len(t.ids)
            items += 1 + 3 * len(t.ids)
        for site in need.sites if hints else ():
            sets = len(product_sets(site.d, site.x_limbs, site.w_limbs))
            data += sets * (2 + _widest(site) * rows * site.m // 8)
            items += 1 + sets
        return 9 + 9 * (items + digests) + 32 * digests + data  # a head takes at most 9 bytes

    @staticmethod
    def decode(data: bytes, program: Program, need: Needs, size: int, *, tables: bool, hints: bool) -> Part:
        """The part that ``data`` encodes, exactly as ``need`` lists it; FormatError otherwise.

        ``size`` is the number of rows of the trace; every length is fixed by what is needed before a row is
        hashed.
        """
        top = wire.as_list(
            wire.decode(data, limit=MAX_OPENING_PART, what="opening part"), "opening part", n=3
        )
        groups = []
        for g, v in zip(need.groups, wire.as_list(top[0], "opened groups", n=len(need.groups)), strict=True):
            rows, proof = wire.as_list(v, "opened group", n=2)
            width = program.group_bytes(g.group) * (g.b - g.a)
            groups.append(GroupOpening(wire.as_bytes(rows, "rows", width), _proof(proof, size, g.a, g.b)))
        opened_tables = []
        wanted = need.tables if tables else ()
        for t, v in zip(wanted, wire.as_list(top[1], "opened tables", n=len(wanted)), strict=True):
            spec = program.weight[t.weight]
            opened = []
            for i, entry in zip(t.ids, wire.as_list(v, "table rows", n=len(t.ids)), strict=True):
                row, proof = wire.as_list(entry, "table row", n=2)
                row_bytes = wire.as_bytes(row, "table row", spec.row_bytes)
                opened.append(TableOpening(row_bytes, _proof(proof, spec.rows, i, i + 1)))
            opened_tables.append(tuple(opened))
        sites = need.sites if hints else ()
        found = []
        for site, v in zip(sites, wire.as_list(top[2], "hints", n=len(sites)), strict=True):
            sets = wire.as_list(v, "hint", n=len(product_sets(site.d, site.x_limbs, site.w_limbs)))
            found.append(tuple(wire.as_bytes(s, "accumulators") for s in sets))
        return Part(tuple(groups), tuple(opened_tables), tuple(found))


def _proof(value: wire.Value, size: int, a: int, b: int) -> tuple[bytes, ...]:
    digests = wire.as_list(value, "Merkle proof", n=proof_length(size, a, b))
    return tuple(wire.as_bytes(d, "Merkle proof", 32) for d in digests)


def encode_hint(acc: I32, kernels: Kernels) -> tuple[bytes, ...]:
    """Packed accumulator sets [sets, n, m]: for each one byte with the width in bits, then the packed values.

    The width is the least that holds every value of the set, so that the encoding is canonical.
    """
    out = []
    for values in kernels.host(acc):
        bits = _width(int(values.min()), int(values.max()))
        out.append(bytes([bits]) + kernels.pack(np.ascontiguousarray(values).reshape(-1), bits))
    return tuple(out)


def decode_hint(packed: Sequence[bytes], site: Site, rows: int, kernels: Kernels) -> I32:
    """The accumulators [sets, n, m] of one product; FormatError if not canonical or beyond the bound."""
    widest = _widest(site)
    out = np.empty((len(packed), rows, site.m), np.int32)
    for i, data in enumerate(packed):
        if not data or not 1 <= data[0] <= widest:
            raise FormatError(f"hint of {site.weight}: width outside 1..{widest} bits")
        values = kernels.unpack(memoryview(data)[1:], data[0], rows * site.m)
        low, high = int(values.min()), int(values.max())
        if _width(low, high) != data[0]:
            raise FormatError(f"hint of {site.weight}: more bits than its values need")
        out[i] = values.reshape(rows, site.m)
        if max(high, -low) > site.bound:
            raise FormatError(f"hint of {site.weight}: an accumulator is beyond its bound")
    return out


def _widest(site: Site) -> int:
    """Most bits that an accumulator of a product may take."""
    return min(site.bound, MAX_ACCUMULATOR - 1).bit_length() + 1


def _width(low: int, high: int) -> int:
    """Least width of a two's complement that holds every value from ``low`` to ``high``; at least 1."""
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
