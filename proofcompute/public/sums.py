"""Sum up the products of hints under random rows (docs/spec/public-proofs.md#random-rows).

Every set of every hint says Y = X W^T of one plane W: some columns of quantised rows X int8 and one limb of a
weight. For random rows R over F = GF(p^6), fresh for every request, cell, product and set, the sums
U = R Y [m] and A = R X [d] of a plane satisfy U = A W^T if all sets are right. If one is wrong, they do not,
but with a probability of p^-6. The same R for two sets would let errors cancel (256 in a low limb against 1
in a high one).

R of a cell is drawn once the cell is absorbed, before the cells that follow are known. Let D be the sums of
U - A W^T up to some cell. Its errors E = Y - X W^T are fixed before its R. If E is not zero, R E takes each
value, so also the one that makes D zero, with a probability of at most p^-6, whatever D was before; if E is
zero, D stays what it is. So whatever a prover chooses, and whenever, one draw of R makes a false D zero with
a probability of at most p^-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, I8, U32, U64
from proofcompute.codes.extension import DEGREE, add
from proofcompute.commitments.hashing import Xof
from proofcompute.encoding import wire
from proofcompute.errors import Cell
from proofcompute.freivalds.field import sample31
from proofcompute.freivalds.hint import CheckedHint, HintSet
from proofcompute.freivalds.primes import P31
from proofcompute.freivalds.sets import hint_sets
from proofcompute.protocol.hints import sum_hint
from proofcompute.prover.opening import OpenedProduct
from proofcompute.public.key import PublicKey
from proofcompute.public.layout import CodedKey
from proofcompute.public.transcript import Absorbed
from proofcompute.verifier.sources import HintedProducts

__all__ = ["OwnSums", "SummedProducts", "Sums", "random_rows"]


AnyKey = TypeVar("AnyKey", bound=CodedKey)


@dataclass(eq=False)
class Sums(Generic[AnyKey]):
    """U and A of each plane, over everything that a proof holds of one request."""

    key: AnyKey
    proving: bool = False
    """Whether the prover sums up, who needs A only: the hints are its own."""
    u: dict[int, U64] = field(default_factory=dict)
    """U of each plane that a product used, [6, m]."""
    a: dict[int, U64] = field(default_factory=dict)
    """A of each plane that a product used, [6, d]."""
    _lock: Lock = field(default_factory=Lock)

    def add(self, plane: int, start: int, u: U32 | None, a: U32) -> None:
        """Add U of one set, if it is wanted, and A of the columns from ``start`` on."""
        with self._lock:
            if plane not in self.u:
                spec = self.key.layout.planes[plane]
                self.u[plane] = np.zeros((DEGREE, spec.m), np.uint64)
                self.a[plane] = np.zeros((DEGREE, spec.d), np.uint64)
            if u is not None:
                self.u[plane] = add(self.u[plane], u.astype(np.uint64))
            part = self.a[plane][:, start : start + a.shape[1]]
            part[:] = add(part, a.astype(np.uint64))


def random_rows(seed: bytes, product: int, numbers: range, n: int) -> U32:
    """Return R of some sets of n rows of a product of the cell with this seed: [sets, 6, n]."""
    drawn = []
    for number in numbers:
        place = wire.encode((product, number))
        drawn.append(sample31(Xof("coded rows", seed, place), (n, DEGREE)).T)
    return np.ascontiguousarray(np.stack(drawn))


@dataclass(eq=False)
class SummedProducts(HintedProducts):
    """Products that the prover's hints give, and that are summed up for the codes to check."""

    sums: Sums[PublicKey]
    seed: bytes
    """Of the cell's random rows, which nobody could know while choosing a hint."""

    def _checked(
        self,
        weight: str,
        q: I8,
        sx: F32,
        used: int,
        group: int | None,
        k: Kernels,
        residual: F32 | None,
    ) -> tuple[CheckedHint, int]:
        """See HintedProducts; sets are within their bounds then, and become part of the sums."""
        site, key = self.sites[self.made], self.sums.key
        wanted = hint_sets(site, q, key.matrices[weight].largest, k)
        packed = self._sets(wanted, used, group)
        end = used + len(wanted)
        r = random_rows(self.seed, self.made, range(used, end), q.shape[1])
        scales, rows = self._scales(weight, group), k.host(q)
        weighed = r[:, :0] if self.sums.proving else r
        found = sum_hint(packed, weight, wanted, weighed, sx, scales, k, residual)
        for claim, drawn, u in zip(wanted, r, found.u, strict=True):
            plane = key.layout.number[weight, group or 0, claim.w_limb]
            combined = None if self.sums.proving else u
            self.sums.add(plane, claim.start, combined, _inputs(rows, claim, drawn, k))
        # Whether the sets are right is known in the end; until then they are taken to be.
        return CheckedHint(found.extremes, holds=True, y=found.y), end


@dataclass(eq=False)
class OwnSums:
    """A prover's sums of its own opening, made while it is written; a Hearer of it.

    The rows of a cell's products are what a verifier makes of the rows that the cell opens. A prover that
    wrote the hints itself need not read them again.
    """

    sums: Sums[PublicKey]
    absorbed: Absorbed
    kernels: Kernels

    def roots(self, roots: Sequence[bytes]) -> None:
        """See Hearer."""
        self.absorbed.roots(roots)

    def cell(self, cell: Cell, digests: Sequence[bytes], products: Sequence[OpenedProduct]) -> None:
        """See Hearer; the seed of the cell's random rows is drawn now, and its products are summed up."""
        self.absorbed.cell(cell, digests)
        seed, key, k = self.absorbed.seeds[cell], self.sums.key, self.kernels
        for product, (site, matrices) in enumerate(products):
            used = 0
            for group, q in matrices:
                wanted = hint_sets(site, q, key.matrices[site.weight].largest, k)
                end, rows = used + len(wanted), k.host(q)
                r = random_rows(seed, product, range(used, end), q.shape[1])
                for claim, drawn in zip(wanted, r, strict=True):
                    plane = key.layout.number[site.weight, group or 0, claim.w_limb]
                    self.sums.add(plane, claim.start, None, _inputs(rows, claim, drawn, k))
                used = end


def _inputs(rows: I8, claim: HintSet, r: U32, k: Kernels) -> U32:
    """Return R X of one set: [6, stop - start]; of both limbs X is 256 times the high one plus the low."""
    parts = [np.ascontiguousarray(rows[limb][:, claim.start : claim.stop]) for limb in claim.limbs]
    if len(parts) == 2:
        high = (r.astype(np.uint64) * np.uint64(256) % np.uint64(P31)).astype(np.uint32)
        r = np.concatenate([high, r], axis=1)
    return k.fold_parts(parts, r)
