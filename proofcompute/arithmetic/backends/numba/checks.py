"""Commit and check on the CPU: hashes, projections, packed integers, hints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.modules import Module
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.through import CpuThrough
from proofcompute.arithmetic.definition import hints
from proofcompute.arithmetic.kernels import Matrix, Prologue
from proofcompute.arrays import F32, I8, I32, U8, U32, U64, Array
from proofcompute.commitments import hashing
from proofcompute.commitments.hasher import check_groups
from proofcompute.freivalds.hint import CheckedHint, Hint, MadeHint, SummedHint, WeighedHint

__all__ = ["CpuChecks"]

_SPLIT_BYTES: Final = 200_000
"""Least bytes to hash in a part for which a thread of the pool pays."""
_FEW_HASHES: Final = 3
"""Up to this many rows are hashed one by one."""
_LONG_ROW: Final = 1 << 16
"""Bytes of a row from which on instructions for SHA-256, for one row at a time, are as fast as lanes."""
_FEW_LONG: Final = 8
"""Up to this many such rows are hashed one by one, since most lanes would be empty."""
_LONG_RANGE: Final = 6144
"""Leaves of a tree above which several threads pay for one level of nodes."""
_LONG_FOREST: Final = 1 << 25
"""Bytes of leaves above which trees are hashed level by level, since those of a thread are copied."""
_LONG_PREFIX: Final = 1024
"""Longest prefix that is hashed in groups; this bounds the memory for prefixes."""
_GROUPS_EACH: Final = 3
"""Groups for each thread from which on a group is the work of one thread; the rows of fewer are shared."""
_MOST_JOINED: Final = 1 << 22
"""Most bytes of a group that one thread hashes: as many are copied where a group has several parts."""


class CpuChecks(CpuThrough):
    """The commitments and checks of the CPU backend, compiled when they are first used."""

    _field = Module("field")
    _hints = Module("hints")
    _making = Module("making")
    _packing = Module("packing")
    _opened = Module("opened")
    _codes = Module("codes")

    def hash_rows(self, suite: str, prefix: bytes, rows: U8) -> U8:
        fast = suite == "sha256" and rows.ndim == 2 and rows.dtype == np.uint8 and len(prefix) <= _LONG_PREFIX
        few = _FEW_LONG if rows.ndim == 2 and rows.shape[1] >= _LONG_ROW else _FEW_HASHES
        if not fast or len(rows) <= few:
            return self._hash_long(suite, prefix, rows)
        from proofcompute.arithmetic.backends.numba.kernels import sha256

        out = np.empty((len(rows), hashing.DIGEST), dtype=np.uint8)
        head = np.frombuffer(prefix, dtype=np.uint8)
        lanes = sha256.LANES
        least = _SPLIT_BYTES // (lanes * (rows.shape[1] + len(prefix) + 64))
        rows = np.ascontiguousarray(rows)
        threads.split(sha256.hash_groups, -(-len(rows) // lanes), least, head, rows, out)
        return out

    @staticmethod
    def _hash_long(suite: str, prefix: bytes, rows: U8) -> U8:
        """Hash rows one by one, several at a time: other threads run while a row is hashed."""
        if rows.ndim != 2 or len(rows) < 2:
            return hashing.hash_rows(suite, prefix, rows)
        out = np.empty((len(rows), hashing.DIGEST), np.uint8)

        def some(a: int, b: int) -> None:
            out[a:b] = hashing.hash_rows(suite, prefix, rows[a:b])

        threads.split(some, len(rows), _SPLIT_BYTES // (rows.shape[1] + 64))
        return out

    def hash_groups(
        self,
        suite: str,
        prefix: bytes,
        tags: Sequence[bytes],
        groups: Sequence[Sequence[Array]],
        out: U8 | None = None,
        row: int = 0,
    ) -> U8:
        check_groups(suite, tags, groups, out, row)
        n = len(groups[0][0])
        made = np.empty((len(groups), n, hashing.DIGEST), np.uint8) if out is None else out
        first = 0 if out is None else row

        def some(a: int, b: int) -> None:
            for i in range(a, b):
                rows = self.row_bytes(groups[i])
                made[i, first : first + n] = self.hash_rows(suite, prefix + tags[i], rows)

        nbytes = sum(part.nbytes for part in groups[0])
        few = len(groups) < threads.size() * _GROUPS_EACH or nbytes > _MOST_JOINED
        threads.split(some, len(groups), len(groups) if few else -(-_SPLIT_BYTES // max(1, nbytes)))
        return made

    def hash_trees(self, suite: str, prefix: bytes, leaves: U8, size: int) -> U8:
        few = len(leaves) < threads.size() and size > _LONG_RANGE
        if suite != "sha256" or len(prefix) != 1 or leaves.ndim != 3 or few or leaves.size > _LONG_FOREST:
            return hashing.hash_trees(suite, prefix, leaves, size, self.hash_rows)
        return self._opened.hash_trees(prefix, leaves, size)  # type: ignore[no-any-return]

    def hash_ranges(
        self, suite: str, prefix: bytes, size: int, ranges: Sequence[tuple[int, int]], leaves: U8, given: U8
    ) -> U8:
        if suite != "sha256" or len(leaves) > _LONG_RANGE or len(prefix) != 1:
            return hashing.hash_ranges(suite, prefix, size, ranges, leaves, given, self.hash_rows)
        return self._opened.hash_ranges(prefix, size, ranges, leaves, given)  # type: ignore[no-any-return]

    def is_settled(self, x: F32) -> bool:
        return self._opened.is_settled(x)  # type: ignore[no-any-return]

    def project(self, y: I32 | I8, s: U32) -> U32:
        return self._field.project(y, s)  # type: ignore[no-any-return]

    def fold(self, w: I8, s: U32) -> U32:
        return self._field.fold(w, s)  # type: ignore[no-any-return]

    def fold_parts(self, parts: Iterable[I8], s: U32) -> U32:
        return self._field.fold_parts(parts, s)  # type: ignore[no-any-return]

    def sum_hint(self, hint: WeighedHint) -> SummedHint:
        return self._codes.sum_hint(hint)  # type: ignore[no-any-return]

    def multiply_extension(self, x: U64, y: U64) -> U64:
        return self._codes.multiply(x, y)  # type: ignore[no-any-return]

    def circle_words(self, rows: I8, bits: int, twiddles: U32) -> U32:
        return self._codes.circle_words(rows, bits, twiddles)  # type: ignore[no-any-return]

    def project61(self, y: Array, s: Array) -> Array:
        from proofcompute.arithmetic.backends.numba.kernels import field61

        return field61.project61(y, s)

    def pack(self, values: I32, bits: int) -> bytes:
        return self._packing.pack(values, bits)  # type: ignore[no-any-return]

    def largest_square(self, q: I8) -> int:
        return self._hints.largest_square(q)  # type: ignore[no-any-return]

    def linear_with_hint(
        self,
        x: F32,
        w: Matrix,
        limbs: int,
        squares: Sequence[int],
        prologue: Prologue = None,
        residual: F32 | None = None,
        wanted: bool = True,
    ) -> MadeHint:
        made = self._making.linear_with_hint(x, w, limbs, squares, prologue, residual, wanted)
        if made is not None:
            return made  # type: ignore[no-any-return]
        whole: Any = self  # a backend is built on this class
        return hints.linear_with_hint(whole, x, w, limbs, squares, prologue, residual, wanted)

    def check_hint(self, hint: Hint) -> CheckedHint:
        return self._hints.check_hint(hint)  # type: ignore[no-any-return]
