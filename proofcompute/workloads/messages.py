"""Messages of a GEMM job: request, signed receipt, challenge, and one part of an opening.

The same shape as those of a model's run (design, section 7): the client names A and B, the node answers with
C and a signed receipt, the verifier draws rows after the receipt, and the node opens them. Deterministic CBOR
throughout.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from proofcompute import hashing, wire
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import KIB, MAX_CELL_ROWS, MAX_CHALLENGE, MAX_NAME, MAX_WIDTH, MIB
from proofcompute.merkle import proof_length
from proofcompute.workloads.arrays import FLOATS, INTEGERS, result_dtype
from proofcompute.workloads.commitment import MatrixId

__all__ = ["MAX_PART", "ProductChallenge", "ProductReceipt", "ProductRequest", "RowsPart"]

VERSION = 1
MAX_MESSAGE = 4 * KIB
"""An encoded request or receipt; neither holds any element of a matrix."""
MAX_PART = 256 * MIB
"""Rows of A and C in one part of an opening, in bytes; a challenge must ask for smaller ranges."""
MAX_RANGES = 1 << 18
"""Ranges of rows of one challenge."""


def _suite(value: wire.Value) -> str:
    suite = wire.as_str(value, "hash suite", MAX_NAME)
    if suite not in hashing.SUITES:
        raise FormatError(f"hash suite {suite!r} is none of {', '.join(hashing.SUITES)}")
    return suite


@dataclass(frozen=True)
class ProductRequest:
    """A client asks for A B. It keeps the request; the digest binds the receipt."""

    a: MatrixId
    b: MatrixId
    nonce: bytes
    """32 bytes that the client never used before: no receipt can be replayed."""
    node: bytes = b""
    """Ed25519 public key of the node addressed, or empty for any node."""
    suite: str = "sha256"
    """Hash suite of the job."""

    def __post_init__(self) -> None:
        _suite(self.suite)
        if len(self.nonce) != 32 or len(self.node) not in (0, 32):
            raise FormatError("a nonce has 32 bytes, and a node's key 32 or none")
        if self.a.width != self.b.rows:
            raise FormatError(f"A has {self.a.width} columns where B has {self.b.rows} rows")
        for what, x in (("A", self.a), ("B", self.b)):
            if x.dtype not in (*INTEGERS, *FLOATS):
                raise FormatError(f"{what} has elements of type {x.dtype}, which are not multiplied here")
        try:
            result_dtype(self.a.dtype, self.b.dtype, self.a.width)
        except InputError as e:
            raise FormatError(str(e)) from e

    @property
    def shape(self) -> tuple[str, int, int]:
        """Element type, rows and columns of the product."""
        return result_dtype(self.a.dtype, self.b.dtype, self.a.width), self.a.rows, self.b.width

    def encode(self) -> bytes:
        """Canonical bytes."""
        kind = "proofcompute product request"
        return wire.encode((kind, VERSION, self.suite, self.a.value(), self.b.value(), self.nonce, self.node))

    @cached_property
    def digest(self) -> bytes:
        """What a receipt refers to this request by, 32 bytes."""
        return hashing.message_digest(self.suite, "product request", self.encode())

    @staticmethod
    def decode(data: bytes) -> ProductRequest:
        """The request that ``data`` encodes; FormatError or LimitError otherwise."""
        what = "product request"
        top = wire.as_list(wire.decode(data, limit=MAX_MESSAGE, what=what), what, n=7)
        wire.check_head(top, "proofcompute product request", VERSION)
        return ProductRequest(
            a=MatrixId.from_value(top[3], "A"),
            b=MatrixId.from_value(top[4], "B"),
            nonce=wire.as_bytes(top[5], "nonce", 32),
            node=wire.as_bytes(top[6], "node key", max_size=32),
            suite=_suite(top[2]),
        )


@dataclass(frozen=True)
class ProductReceipt:
    """A node's signed claim: C is the product that the request asks for."""

    suite: str
    request_digest: bytes
    c: MatrixId
    node: bytes
    """Ed25519 public key of the node, 32 bytes."""
    signature: bytes
    """Ed25519 (RFC 8032) over :attr:`signed_digest`, 64 bytes."""

    def _fields(self) -> tuple[wire.Value, ...]:
        kind = "proofcompute product receipt"
        return (kind, VERSION, self.suite, self.request_digest, self.c.value(), self.node)

    @cached_property
    def signed_digest(self) -> bytes:
        """What the node signs: the digest of every field but the signature."""
        return hashing.message_digest(self.suite, "product receipt body", wire.encode(self._fields()))

    @cached_property
    def digest(self) -> bytes:
        """What a challenge refers to this receipt by, 32 bytes."""
        return hashing.message_digest(self.suite, "product receipt", self.encode())

    def signed(self, signature: bytes) -> ProductReceipt:
        """The same receipt with a signature."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((*self._fields(), self.signature))

    @staticmethod
    def decode(data: bytes) -> ProductReceipt:
        """The receipt that ``data`` encodes; FormatError or LimitError otherwise."""
        what = "product receipt"
        top = wire.as_list(wire.decode(data, limit=MAX_MESSAGE, what=what), what, n=7)
        wire.check_head(top, "proofcompute product receipt", VERSION)
        return ProductReceipt(
            suite=_suite(top[2]),
            request_digest=wire.as_bytes(top[3], "request digest", 32),
            c=MatrixId.from_value(top[4], "C"),
            node=wire.as_bytes(top[5], "node key", 32),
            signature=wire.as_bytes(top[6], "signature", 64),
        )


@dataclass(frozen=True)
class ProductChallenge:
    """Rows of C to open, drawn after the receipt."""

    receipt_digest: bytes
    ranges: tuple[tuple[int, int], ...]
    """Rows a (inclusive) to b (exclusive), ascending and without overlap; at least one."""

    def __post_init__(self) -> None:
        if len(self.receipt_digest) != 32:
            raise FormatError("a receipt's digest has 32 bytes")
        if not self.ranges:
            raise InputError("a challenge asks for at least one row")
        if len(self.ranges) > MAX_RANGES:
            raise InputError(f"a challenge asks for at most {MAX_RANGES} ranges of rows")
        end = 0
        for a, b in self.ranges:
            if not end <= a < b <= MAX_WIDTH:
                raise FormatError(f"challenge: rows {a}..{b} are empty, overlap or are not in order")
            end = b

    @property
    def rows(self) -> int:
        """Rows asked for."""
        return sum(b - a for a, b in self.ranges)

    @staticmethod
    def all_rows(receipt: ProductReceipt, step: int = MAX_CELL_ROWS) -> ProductChallenge:
        """Every row, in ranges of ``step``."""
        n = receipt.c.rows
        return ProductChallenge(receipt.digest, tuple((a, min(a + step, n)) for a in range(0, n, step)))

    @staticmethod
    def draw(receipt: ProductReceipt, count: int) -> ProductChallenge:
        """``count`` distinct rows, uniform, from the operating system's randomness.

        InputError if the product has fewer.
        """
        if not 1 <= count <= receipt.c.rows:
            raise InputError(f"{count} rows cannot be drawn: the product has {receipt.c.rows}")
        chosen = secrets.SystemRandom().sample(range(receipt.c.rows), count)
        return ProductChallenge(receipt.digest, _joined(sorted(chosen)))

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode(("proofcompute product challenge", VERSION, self.receipt_digest, self.ranges))

    @staticmethod
    def decode(data: bytes) -> ProductChallenge:
        """The challenge that ``data`` encodes; FormatError, InputError or LimitError otherwise."""
        what = "product challenge"
        top = wire.as_list(wire.decode(data, limit=MAX_CHALLENGE, what=what), what, n=4)
        wire.check_head(top, "proofcompute product challenge", VERSION)
        ranges = []
        for value in wire.as_list(top[3], "ranges", max_n=MAX_RANGES):
            a, b = wire.as_list(value, "range", n=2)
            ranges.append((wire.as_int(a, "first row", 0, MAX_WIDTH), wire.as_int(b, "end", 0, MAX_WIDTH)))
        return ProductChallenge(wire.as_bytes(top[2], "receipt digest", 32), tuple(ranges))


def _joined(rows: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Ascending rows as ranges, each as long as a cell may be."""
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row and row - ranges[-1][0] < MAX_CELL_ROWS:
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return tuple(ranges)


@dataclass(frozen=True)
class RowsPart:
    """One range of rows of A and of C with their range proofs; one frame of an opening."""

    a: bytes
    a_proof: tuple[bytes, ...]
    c: bytes
    c_proof: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((self.a, self.a_proof, self.c, self.c_proof))

    @staticmethod
    def most(a: MatrixId, c: MatrixId, first: int, end: int) -> int:
        """Most bytes of an encoded part for rows first..end: their own, and 64 for each head and digest."""
        nodes = proof_length(a.rows, first, end) + proof_length(c.rows, first, end)
        return (end - first) * (a.row_bytes + c.row_bytes) + 64 * (nodes + 5)

    @staticmethod
    def decode(data: bytes, a: MatrixId, c: MatrixId, first: int, end: int) -> RowsPart:
        """The part for rows first..end of A and C; FormatError or LimitError unless it is exactly that."""
        what = "opened rows"
        top = wire.as_list(wire.decode(data, limit=RowsPart.most(a, c, first, end), what=what), what, n=4)
        n = end - first
        return RowsPart(
            wire.as_bytes(top[0], "rows of A", n * a.row_bytes),
            _proof(top[1], a.rows, first, end),
            wire.as_bytes(top[2], "rows of C", n * c.row_bytes),
            _proof(top[3], c.rows, first, end),
        )


def _proof(value: wire.Value, size: int, first: int, end: int) -> tuple[bytes, ...]:
    nodes = wire.as_list(value, "range proof", n=proof_length(size, first, end))
    return tuple(wire.as_bytes(node, "node of a range proof", 32) for node in nodes)
