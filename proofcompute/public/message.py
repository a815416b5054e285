"""Write and read the evaluation of a public proof (docs/spec/public-proofs.md#the-evaluation).

All sizes follow from the public key's layout, the planes that products used, and the numbers of requests and
positions. So one of another size is refused before it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofcompute.arrays import U32, U64
from proofcompute.codes.extension import DEGREE
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, LimitError
from proofcompute.freivalds.primes import P31
from proofcompute.limits import MAX_TABLE
from proofcompute.public.layout import Layout, Plane

__all__ = ["Evaluation", "Opened", "Shape", "le"]


@dataclass(frozen=True)
class Shape:
    """The sizes that follow from the planes that products used."""

    layout: Layout
    planes: tuple[Plane, ...]
    """The planes, ascending."""
    codes: tuple[int, ...]
    """The codes that hold them, ascending."""

    @staticmethod
    def of(layout: Layout, used: Sequence[int]) -> Shape:
        """Return the shape of an evaluation. Raises LimitError if its table is too large."""
        planes = tuple(layout.planes[number] for number in sorted(used))
        shape = Shape(layout, planes, tuple(sorted({p.code for p in planes})))
        if shape.rounds > MAX_TABLE:
            raise LimitError(f"a table of 2^{shape.rounds} elements, more than 2^{MAX_TABLE}")
        return shape

    @staticmethod
    def masked(layout: Layout, mask: bytes) -> Shape:
        """Return the shape of the planes whose bits are set; bit i % 8 of byte i // 8 is that of plane i.

        Raises FormatError if no bit is set, or one without a plane, and LimitError as :meth:`of`.
        """
        used = np.flatnonzero(np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")).tolist()
        if not used or used[-1] >= len(layout.planes):
            raise FormatError("evaluation: it names no planes, or others than the key has")
        return Shape.of(layout, used)

    @property
    def mask(self) -> bytes:
        """The planes as :meth:`masked` takes them."""
        bits = np.zeros(len(self.layout.planes), np.uint8)
        bits[[p.number for p in self.planes]] = 1
        return np.packbits(bits, bitorder="little").tobytes()

    @property
    def plane_bits(self) -> int:
        """The bits of a plane's number among those used."""
        return (len(self.planes) - 1).bit_length()

    @property
    def column_bits(self) -> int:
        """The bits of a column."""
        return (max(p.d for p in self.planes) - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """I: the bits of a row, at least as many as a message of any code has rows."""
        most = (max(p.m for p in self.planes) - 1).bit_length()
        return max(most, *(self.layout.codes[c].side for c in self.codes))

    @property
    def rounds(self) -> int:
        """The rounds of sumcheck."""
        return self.plane_bits + self.column_bits

    def table(self) -> U64:
        """Return zeros for all planes and columns, [6, 2^plane_bits, 2^column_bits]."""
        return np.zeros((DEGREE, 1 << self.plane_bits, 1 << self.column_bits), np.uint64)


@dataclass(frozen=True, eq=False)
class Opened:
    """The opened positions of one code."""

    words: U32
    """The words of all messages at the distinct drawn positions, ascending: [positions, rows]."""
    paths: tuple[tuple[bytes, ...], ...]
    """The proof of each position."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a prover adds to the openings."""

    shape: Shape
    """The planes that products used, which the prover names."""
    rounds: U64
    """The messages of sumcheck, [rounds, requests, 6, 3]."""
    combined: tuple[U32, ...]
    """w of each code that holds used planes, [6, length]."""
    opened: tuple[Opened, ...]
    """The opened positions of each of them."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        opened = [(le(o.words), [b"".join(path) for path in o.paths]) for o in self.opened]
        combined = [le(w) for w in self.combined]
        return wire.encode((self.shape.mask, le(self.rounds.astype(np.uint32)), combined, opened))

    @staticmethod
    def largest(layout: Layout, requests: int, positions: int) -> int:
        """Return the most bytes of an encoding, for a public key and the numbers of a proof."""
        size = 4 * 3 * DEGREE * MAX_TABLE * requests + len(layout.planes) + 64
        for code in layout.codes:
            path = DIGEST * code.circle.size.bit_length() + 16
            size += 4 * DEGREE * code.length + positions * (4 * code.rows + path) + 64
        return size

    @staticmethod
    def decode(data: bytes | memoryview, layout: Layout, requests: int, positions: int) -> Evaluation:
        """Decode an evaluation. Raises FormatError or LimitError unless it is canonical and of this size.

        The number of distinct positions of each code follows from the transcript later; here it is at most
        ``positions``.
        """
        what, limit = "evaluation", Evaluation.largest(layout, requests, positions)
        top = wire.as_list(wire.decode(data, limit=limit, what=what), what, n=4)
        shape = Shape.masked(layout, wire.as_bytes(top[0], "planes", -(-len(layout.planes) // 8)))
        rounds = _residues(top[1], "rounds", (shape.rounds, requests, DEGREE, 3)).astype(np.uint64)
        combined, opened = [], []
        parts = (wire.as_list(part, what, n=len(shape.codes)) for part in top[2:])
        for number, w, leaves in zip(shape.codes, *parts, strict=True):
            code = layout.codes[number]
            combined.append(_residues(w, "w", (DEGREE, code.length)))
            found = wire.as_list(leaves, "positions", n=2)
            raw = wire.as_list(found[1], "paths", max_n=positions)
            paths = []
            for path in raw:
                flat = wire.as_bytes(path, "path", max_size=DIGEST * code.circle.size.bit_length())
                if len(flat) % DIGEST:
                    raise FormatError("evaluation: a path ends inside a digest")
                paths.append(tuple(flat[i : i + DIGEST] for i in range(0, len(flat), DIGEST)))
            opened.append(Opened(_residues(found[0], "words", (len(raw), code.rows)), tuple(paths)))
        return Evaluation(shape, rounds, tuple(combined), tuple(opened))


def le(values: U32) -> bytes:
    """Return the bytes of residues, little-endian."""
    return np.ascontiguousarray(values, "<u4").tobytes()


def _residues(value: wire.Value, what: str, shape: tuple[int, ...]) -> U32:
    found = np.frombuffer(wire.as_bytes(value, what, 4 * math.prod(shape)), "<u4").astype(np.uint32)
    if found.size and int(found.max()) >= P31:
        raise FormatError(f"evaluation: {what} holds a residue that is not canonical")
    return found.reshape(shape)
