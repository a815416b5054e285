"""Checks products with one right factor B (docs/spec/freivalds.md#jobs-of-integers).

:class:`ProductKey` is for integers and can be used many times: B is projected once, which costs d m k, and
each product with another A then costs n (d + m) k, as for the linear layers of F. Tramer and D. Boneh,
"Slalom" (ICLR 2019). **It is secret**, and so is its file: the prover knows B, so V = B S reveals S.

If a prover chooses q products adaptively under one key, any false one passes with probability at most q p^-k:
until the first false product passes, the prover can predict every verdict (true: accepted, false: rejected),
so the verdicts tell it nothing. ``soundness_bits`` subtracts log2 q. So a key's file counts its attempts, as
that of a model's key does (:mod:`proofcompute.freivalds.attempts`).
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Final, Protocol, final

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_private
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.errors.sealed import sealed
from proofcompute.freivalds.attempts import RECORD, FileLog, Log, MemoryLog
from proofcompute.freivalds.keyfiles import save_key
from proofcompute.jobs.arrays import FLOATS, INTEGERS, flat, matrix
from proofcompute.jobs.commitment import MatrixId
from proofcompute.jobs.dlpack import AnyArray
from proofcompute.jobs.floating import FloatBound, FloatCheck
from proofcompute.jobs.messages import ProductRequest
from proofcompute.jobs.projection import Projection, Types
from proofcompute.jobs.result import MOST_BITS, ProductVerified
from proofcompute.jobs.stacks import Stacks
from proofcompute.limits import MAX_ATTEMPTS, MAX_KEY, MAX_NAME
from proofcompute.protocol.messages.signed import decode_suite

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Checker", "ProductKey", "RowTest", "checker", "every_member", "evidence"]

KIND: Final = "proofcompute product key"
VERSION: Final = 1
LARGEST: Final = MAX_KEY + RECORD * MAX_ATTEMPTS
"""Most bytes of a key's file."""


@final
class ProductKey:
    """Secret columns S and the projection V = B S of one integer matrix B, or of each member of a stack.

    Args:
        b: B [d, m] or a stack [.., d, m], int8, int16 or int32.
        left: element type of the left factors; by default that of B.
        claim: element type of the products, int32 or int64; by default that of :func:`matmul`.
        columns: k, 1 to MAX_COLUMNS; by default 2 in GF(2^31 - 1) and 1 in GF(2^61 - 1).
        suite: hash suite in which B is recognised in requests (:func:`verify_rows`); None if it need not be.
        seed: 32 secret bytes for tests; the operating system's randomness otherwise.
        device: the backend.

    Raises InputError if an argument has another type or is out of range.
    """

    def __init__(
        self,
        b: AnyArray,
        *,
        left: str | None = None,
        claim: str | None = None,
        columns: int | None = None,
        suite: str | None = None,
        seed: bytes | None = None,
        device: str = "auto",
    ) -> None:
        right = matrix(b, "B", INTEGERS)
        types = Types(right.dtype.name, right.shape[-2], left, claim, columns)
        kernels = kernels_for(device)
        identity = None if suite is None else MatrixId.of(right, suite, kernels)
        self._set(Projection.of(right, types, kernels, seed), right.shape[:-2], suite, identity, kernels)

    def _set(
        self,
        used: Projection,
        lead: tuple[int, ...],
        suite: str | None,
        identity: MatrixId | None,
        kernels: Kernels,
    ) -> None:
        self._used, self._kernels = used, kernels
        self.d, self.m = used.d, used.m
        self.lead: tuple[int, ...] = lead
        """The leading axes of B, if it is a stack."""
        self.suite = suite
        """The hash suite of :attr:`identity`, if there is one."""
        self.identity = identity
        """The commitment to B by which requests name it; None without a hash suite."""
        self.log: Log = MemoryLog()
        """The attempts under this key, failed ones included; kept in its file once it has one."""

    def __repr__(self) -> str:
        return f"ProductKey({self.dtypes[1]} {[*self.lead, self.d, self.m]}, columns={self.columns})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a product key is secret; save it to a file of its own, or make a new one from B")

    @property
    def dtypes(self) -> tuple[str, str, str]:
        """Element types of A, B and C."""
        return self._used.types.names

    @property
    def columns(self) -> int:
        """k, the number of secret columns."""
        return self._used.types.columns

    @property
    def arithmetic(self) -> str:
        """Name of the field."""
        return self._used.types.field.name

    @property
    def soundness_bits(self) -> float:
        """-log2 of the probability that a false product passed in any of the attempts so far."""
        p = self._used.types.field.p
        bits = self.columns * math.nextafter(math.log2(p), 0)  # binary64 may round log2 up
        bits -= math.log2(max(1, len(self.log.attempts)))
        return min(bits, MOST_BITS)

    def request(self, a: AnyArray, *, nonce: bytes | None = None, node: bytes = b"") -> ProductRequest:
        """Make the request for A B with a fresh nonce, without B.

        Args:
            a: A [n, d] or a stack [.., n, d] of the key's type.
            nonce: 32 bytes that were never used before; fresh ones by default.
            node: public key of the node that is addressed; empty for any.

        Raises InputError if A does not fit, or the key has no hash suite.
        """
        if self.identity is None or self.suite is None:
            raise InputError("this key names no B; make it with the hash suite of the requests")
        left = matrix(a, "A", self.dtypes[:1])
        named = MatrixId.of(left, self.suite, self._kernels)
        fresh = secrets.token_bytes(32) if nonce is None else nonce
        stacks = Stacks(left.shape[:-2], self.lead)
        return ProductRequest(named, self.identity, fresh, node, self.suite, stacks)

    def check(self, a: AnyArray, c: AnyArray) -> ProductVerified:
        """Verify that C [.., n, m] = A B over the integers, for A [.., n, d] of the key's types.

        Raises VerificationError (step 8, without telling which row) if it is not, InputError for other shapes
        or types, LimitError if d max|A| max|B| reaches 2^60 or the key was used MAX_ATTEMPTS times.
        """
        left, claim = matrix(a, "A", self.dtypes[:1]), matrix(c, "C", self.dtypes[2:])
        stacks = Stacks(left.shape[:-2], self.lead)
        if left.shape[-1] != self.d or claim.shape != (*stacks.lead, left.shape[-2], self.m):
            b = [*self.lead, self.d, self.m]
            raise InputError(f"A {list(left.shape)} and C {list(claim.shape)} do not fit B {b}")
        self.log.attempt()
        every_member(self, stacks, left, claim)
        rows = len(flat(claim))
        return evidence(self, rows, rows, [], received=True)

    def test(self, a: Array, c: Array, member: int = 0) -> None:
        """Check some rows of A and C against a member of B, as a part of an attempt.

        Their types and shapes are right. Raises as :meth:`check`.
        """
        self._used.test(a, c, member)

    # -- files -----------------------------------------------------------------------------------------------
    @sealed
    def save(self, path: StrPath) -> None:
        """Write the key and its log, readable by its owner only (mode 0600).

        A key that was in memory only counts its attempts in this file from then on. A key that has a file
        already stays with that file; the file written here is a copy, which begins with the same count.
        Raises InputError if the key has no hash suite, or ``path`` holds this key already with a log of its
        own, which would be lost; StorageError if the file system refuses.
        """
        if self.identity is None or self.suite is None:
            raise InputError("a key that is saved names its B: make it with the hash suite of the requests")
        left, _, claim = self.dtypes
        seed, v = self._used.stored()
        named = (self.suite, self.identity.value(), self.lead, left, claim, self.columns)
        fields = (KIND, VERSION, *named, self._used.largest, seed, v)
        body = wire.encode((*fields, hashing.message_digest("sha256", "product key", wire.encode(fields))))
        self.log = save_key(path_of(path), body, self.log)

    @staticmethod
    @sealed
    def load(path: StrPath, *, device: str = "auto") -> ProductKey:
        """Read a key file, which may be read-only until the key is used.

        Raises InputError if it cannot be read or others may read it, and FormatError or LimitError if it is
        damaged or a file of another kind.
        """
        path = path_of(path)
        data = read_private(path, LARGEST, "product key")
        value, end = wire.decode_first(data, what="product key")
        top = wire.as_list(value, "product key", n=12)
        wire.check_head(top, KIND, VERSION)
        if hashing.message_digest("sha256", "product key", wire.encode(top[:-1])) != top[-1]:
            raise FormatError("the key file is damaged: its checksum does not fit")
        suite, identity = decode_suite(top[2]), MatrixId.from_value(top[3], "B")
        stacks = Stacks.from_value(((), top[4]))
        if identity.dtype not in INTEGERS or identity.rows % stacks.members:
            raise FormatError(f"a key is for integers, in {stacks.members} matrices of the same rows")
        left, claim = (wire.as_str(name, "element type", MAX_NAME) for name in top[5:7])
        d = identity.rows // stacks.members
        types = Types(identity.dtype, d, left, claim, wire.as_int(top[7], "columns", 1, 1 << 8))
        stored = wire.as_bytes(top[9], "seed", 32), wire.as_bytes(top[10], "projections")
        largest, kernels = wire.as_int(top[8], "largest element", 0, 1 << 31), kernels_for(device)
        shape = d, identity.width
        used = Projection.restored(types, shape, stacks.members, stored, largest, kernels)
        key = object.__new__(ProductKey)
        key._set(used, stacks.b, suite, identity, kernels)
        key.log = FileLog(path, end, data[end - DIGEST : end], data[end:])
        return key


@final
class _FloatChecker:
    """Checks one claim about a product of floats."""

    arithmetic = "binary64 with signs"

    def __init__(self, b: Array, columns: int | None, roundings: int | None, seed: bytes | None) -> None:
        self._check = FloatCheck(b, columns, roundings, seed)
        self.d, self.m = b.shape[-2:]
        self.dtypes = (b.dtype.name, b.dtype.name, b.dtype.name)
        self.columns = self._check.columns
        self.log: Log = MemoryLog()

    @property
    def soundness_bits(self) -> float:
        return min(self._check.soundness_bits, MOST_BITS)

    def test(self, a: Array, c: Array, member: int = 0) -> FloatBound:
        return self._check.test(a, c, member)


Checker = ProductKey | _FloatChecker


def checker(
    b: Array,
    left: str,
    claim: str,
    *,
    columns: int | None,
    roundings: int | None,
    seed: bytes | None,
    device: str,
) -> Checker:
    """Draw fresh columns for one claim of type ``claim`` about A (of type ``left``) times B or a stack.

    The types have been checked. Raises InputError if ``roundings`` is given for integers.
    """
    if b.dtype.name in FLOATS:
        return _FloatChecker(b, columns, roundings, seed)
    if roundings is not None:
        raise InputError("products of integers are exact; roundings are for floats")
    return ProductKey(b, left=left, claim=claim, columns=columns, seed=seed, device=device)


class RowTest(Protocol):
    """What tests rows of products: a key, secret columns, or a check of floats."""

    def test(self, a: Array, c: Array, member: int) -> FloatBound | None:
        """Test rows of A and C against a member of B."""
        ...


def every_member(used: RowTest, stacks: Stacks, a: Array, c: Array) -> list[FloatBound]:
    """Check all rows of A [.., n, d] and C [.., n, m], as a part of an attempt; return bounds of floats.

    Raises as ``used`` does.
    """
    rows_a, rows_c = flat(a), flat(c)
    if not stacks.b:  # all members have one B
        bound = used.test(rows_a, rows_c, 0)
        return [] if bound is None else [bound]
    n = c.shape[-2]
    bounds = []
    for i in range(stacks.members):
        left, right = stacks.pair(i)
        bound = used.test(rows_a[left * n : (left + 1) * n], rows_c[i * n : (i + 1) * n], right)
        if bound is not None:
            bounds.append(bound)
    return bounds


def evidence(
    used: Checker, rows: int, total: int, bounds: Sequence[FloatBound], *, received: bool
) -> ProductVerified:
    """Return the evidence of a check that passed; ``bounds`` are those of the parts of a float product."""
    bound = FloatBound.joined(bounds) if isinstance(used, _FloatChecker) else None
    return ProductVerified(
        rows=rows,
        total=total,
        contraction=used.d,
        width=used.m,
        dtypes=used.dtypes,
        arithmetic=used.arithmetic,
        columns=used.columns,
        soundness_bits=used.soundness_bits,
        received=received,
        bound=bound,
    )
