"""Defines the messages of a GEMM job: request, signed receipt, challenge, and one part of an opening.

They resemble those of a model's run (docs/spec/messages.md#jobs): the client names A and B, the node answers
with C and a signed receipt, the verifier draws rows after the receipt, and the node opens them. All are
deterministic CBOR. A request for stacks of matrices has version 2; all other messages are as for single ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

from proofcompute.commitments import hashing
from proofcompute.commitments.merkle import proof_length
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError
from proofcompute.jobs.arrays import FACTORS, result_dtype
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.stacks import PLAIN, Stacks
from proofcompute.limits import KIB, MAX_CHALLENGE, MAX_WIDTH, MIB
from proofcompute.protocol.messages.signed import TAIL, Signed, decode_suite, decode_tail

__all__ = ["MAX_PART", "MAX_RANGES", "ProductChallenge", "ProductReceipt", "ProductRequest", "RowsPart"]

REQUEST: Final = "proofcompute product request"
VERSION: Final = 1
STACKED: Final = 2
"""Version of a request for stacks."""
MAX_MESSAGE = 4 * KIB
"""The most bytes of an encoded request or receipt; neither holds an element of a matrix."""
MAX_PART = 256 * MIB
"""The most bytes of rows of A and C in one part of an opening; a challenge must ask for smaller ranges."""
MAX_RANGES = 1 << 18
"""The most ranges of rows of one challenge."""


@dataclass(frozen=True)
class ProductRequest:
    """A client's request for A B. The client keeps it; its digest is in the receipt."""

    a: MatrixId
    """The left factor."""
    b: MatrixId
    """The right factor."""
    nonce: bytes
    """32 bytes that the client never used before, so that no receipt can be replayed."""
    node: bytes = b""
    """Ed25519 public key of the node that is addressed, or empty for any node."""
    suite: str = "sha256"
    """Hash suite of the job."""
    stacks: Stacks = PLAIN
    """The leading axes of A and B, if they are stacks of matrices; both are named by all of their rows."""

    def __post_init__(self) -> None:
        decode_suite(self.suite)
        if len(self.nonce) != 32 or len(self.node) not in (0, 32):
            raise FormatError("a nonce has 32 bytes, and a node's key 32 or none")
        for what, x, lead in (("A", self.a, self.stacks.a), ("B", self.b, self.stacks.b)):
            if x.rows % math.prod(lead):
                raise FormatError(f"{what} has {x.rows} rows, which are no stack of {list(lead)} matrices")
        if self.a.width != self.b.rows // math.prod(self.stacks.b):
            raise FormatError(f"A has {self.a.width} columns, but B has {self.b.rows} rows in all")
        if self.stacks.members * self.member_rows > MAX_WIDTH:
            raise LimitError(f"a product of more than {MAX_WIDTH} rows")
        for what, x in (("A", self.a), ("B", self.b)):
            if x.dtype not in FACTORS:
                raise FormatError(f"{what} has elements of type {x.dtype}, which are not multiplied here")
        try:
            result_dtype(self.a.dtype, self.b.dtype, self.a.width)
        except InputError as e:
            raise FormatError(str(e)) from e

    @property
    def shape(self) -> tuple[str, int, int]:
        """Element type, rows and columns of the product."""
        rows = self.stacks.members * self.member_rows
        return result_dtype(self.a.dtype, self.b.dtype, self.a.width), rows, self.b.width

    @cached_property
    def member_rows(self) -> int:
        """Rows of one member of A, and of one of the product."""
        return self.a.rows // math.prod(self.stacks.a)

    def factors_of(self, first: int, end: int) -> tuple[int, int, int]:
        """Return what rows first..end of C are the product of: rows a..b of A, and a member of B by number.

        Raises FormatError unless they are rows of one member of the product.
        """
        n = self.member_rows
        member = first // n
        if end > (member + 1) * n:
            raise FormatError(f"rows {first}..{end} are not of one product; each of the stack has {n} rows")
        left, right = self.stacks.pair(member)
        start = left * n + first - member * n
        return start, start + end - first, right

    def encode(self) -> bytes:
        """Canonical bytes."""
        stacks = () if self.stacks.plain else (self.stacks.value(),)
        version = VERSION if self.stacks.plain else STACKED
        names = (self.a.value(), self.b.value())
        return wire.encode((REQUEST, version, self.suite, *names, self.nonce, self.node, *stacks))

    @cached_property
    def digest(self) -> bytes:
        """The digest by which a receipt names this request, 32 bytes."""
        return hashing.message_digest(self.suite, "product request", self.encode())

    @staticmethod
    def decode(data: bytes) -> ProductRequest:
        """Return the request that ``data`` encodes; FormatError or LimitError if it is malformed."""
        what = "product request"
        top = wire.as_list(wire.decode(data, limit=MAX_MESSAGE, what=what), what)
        stacked = len(top) == 8
        top = wire.as_list(top, what, n=8 if stacked else 7)
        wire.check_head(top, REQUEST, STACKED if stacked else VERSION)
        stacks = Stacks.from_value(top[7]) if stacked else PLAIN
        if stacked and stacks.plain:
            raise FormatError("a request for single matrices has no leading axes, and version 1")
        return ProductRequest(
            a=MatrixId.from_value(top[3], "A"),
            b=MatrixId.from_value(top[4], "B"),
            nonce=wire.as_bytes(top[5], "nonce", 32),
            node=wire.as_bytes(top[6], "node key", max_size=32),
            suite=decode_suite(top[2]),
            stacks=stacks,
        )


@dataclass(frozen=True, kw_only=True)
class ProductReceipt(Signed):
    """A node's signed claim that C is the product that the request asks for."""

    WHAT: ClassVar[str] = "product receipt"
    VERSION: ClassVar[int] = 2

    c: MatrixId
    """The product."""

    @property
    def version(self) -> int:
        """Version of the message."""
        return ProductReceipt.VERSION

    def _claims(self) -> tuple[wire.Value, ...]:
        return (self.request_digest, self.c.value())

    @staticmethod
    def decode(data: bytes) -> ProductReceipt:
        """Return the receipt that ``data`` encodes; FormatError, LimitError or UnsupportedError otherwise."""
        what, n = ProductReceipt.WHAT, 5 + TAIL
        top = wire.as_list(wire.decode(data, limit=MAX_MESSAGE, what=what), what, n=n)
        wire.check_head(top, f"proofcompute {what}", ProductReceipt.VERSION)
        return ProductReceipt(
            suite=decode_suite(top[2]),
            request_digest=wire.as_bytes(top[3], "request digest", 32),
            c=MatrixId.from_value(top[4], "C"),
            **decode_tail(top[5:]),
        )


@dataclass(frozen=True)
class ProductChallenge:
    """The rows of C to open, drawn after the receipt."""

    receipt_digest: bytes
    """Digest of the receipt, 32 bytes."""
    ranges: tuple[tuple[int, int], ...]
    """Ranges of rows a..b, ascending and without overlap; at least one."""

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
        """The number of rows asked for."""
        return sum(b - a for a, b in self.ranges)

    def check(self, request: ProductRequest, receipt: ProductReceipt) -> None:
        """Check that the receipt has the rows asked for, and that an opening may hold the parts.

        Raises MismatchError if the challenge is for another receipt, FormatError if it has no such rows or a
        range has rows of two products of a stack, LimitError if a range is too large.
        """
        if self.receipt_digest != receipt.digest:
            raise MismatchError("the challenge is for another receipt")
        for first, end in self.ranges:
            if end > receipt.c.rows:
                raise FormatError(f"the challenge asks for row {end - 1}; C has {receipt.c.rows} rows")
            request.factors_of(first, end)
            if (end - first) * (request.a.row_bytes + receipt.c.row_bytes) > MAX_PART:
                text = f"rows {first}..{end} are more than {MAX_PART} bytes"
                raise LimitError(f"{text}; ask for smaller ranges")

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode(("proofcompute product challenge", VERSION, self.receipt_digest, self.ranges))

    @cached_property
    def digest(self) -> bytes:
        """The digest by which an opening names this challenge, 32 bytes."""
        return hashing.message_digest("sha256", "product challenge", self.encode())

    @staticmethod
    def decode(data: bytes) -> ProductChallenge:
        """Return the challenge that ``data`` encodes; FormatError, InputError or LimitError if malformed."""
        what = "product challenge"
        top = wire.as_list(wire.decode(data, limit=MAX_CHALLENGE, what=what), what, n=4)
        wire.check_head(top, "proofcompute product challenge", VERSION)
        ranges = []
        for value in wire.as_list(top[3], "ranges", max_n=MAX_RANGES):
            a, b = wire.as_list(value, "range", n=2)
            ranges.append((wire.as_int(a, "first row", 0, MAX_WIDTH), wire.as_int(b, "end", 0, MAX_WIDTH)))
        return ProductChallenge(wire.as_bytes(top[2], "receipt digest", 32), tuple(ranges))


@dataclass(frozen=True)
class RowsPart:
    """One range of rows of A and of C with their range proofs: one frame of an opening."""

    a: bytes
    """Rows of A, little-endian."""
    a_proof: tuple[bytes, ...]
    """Range proof of the rows of A."""
    c: bytes
    """Rows of C, little-endian."""
    c_proof: tuple[bytes, ...]
    """Range proof of the rows of C."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return wire.encode((self.a, self.a_proof, self.c, self.c_proof))

    @staticmethod
    def most(request: ProductRequest, c: MatrixId, first: int, end: int) -> int:
        """Return the most bytes of an encoded part for rows first..end, with 64 for each head and digest."""
        a, (start, stop, _) = request.a, request.factors_of(first, end)
        nodes = proof_length(a.rows, start, stop) + proof_length(c.rows, first, end)
        return (end - first) * (a.row_bytes + c.row_bytes) + 64 * (nodes + 5)

    @staticmethod
    def decode(
        data: bytes | memoryview, request: ProductRequest, c: MatrixId, first: int, end: int
    ) -> RowsPart:
        """Return the part for rows first..end of C and those of A; FormatError or LimitError otherwise."""
        what, a = "opened rows", request.a
        limit = RowsPart.most(request, c, first, end)
        top = wire.as_list(wire.decode(data, limit=limit, what=what), what, n=4)
        n, (start, stop, _) = end - first, request.factors_of(first, end)
        return RowsPart(
            wire.as_bytes(top[0], "rows of A", n * a.row_bytes),
            _proof(top[1], a.rows, start, stop),
            wire.as_bytes(top[2], "rows of C", n * c.row_bytes),
            _proof(top[3], c.rows, first, end),
        )


def _proof(value: wire.Value, size: int, first: int, end: int) -> tuple[bytes, ...]:
    nodes = wire.as_list(value, "range proof", n=proof_length(size, first, end))
    return tuple(wire.as_bytes(node, "node of a range proof", 32) for node in nodes)
