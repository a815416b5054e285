"""Provide a verifier's sources: opened rows, key material and checked hints
(docs/spec/verification.md#the-opening).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proofcompute.arithmetic.grouped import by_matrix
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, I8, U8, U64, Array, Span
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import Hasher
from proofcompute.errors import Cell, FormatError, VerificationError
from proofcompute.errors.sealed import sealed
from proofcompute.freivalds.columns import Columns
from proofcompute.freivalds.hint import CheckedHint, HintSet
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import hint_sets
from proofcompute.models.card import MODEL_SUITE, ModelCard
from proofcompute.program.program import Program
from proofcompute.program.source import LinearCall, Products, RowProducts, ThroughCall
from proofcompute.protocol.hints import check_hint
from proofcompute.protocol.messages import Part
from proofcompute.protocol.needs import Needs, TableRows
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.trace import group_leaves, split_rows
from proofcompute.verifier.longrows import LongRows

__all__ = [
    "HeldProducts",
    "HintProducts",
    "HintedProducts",
    "OpenedRows",
    "OpenedTables",
    "open_groups",
    "open_tables",
]


@dataclass(eq=False)
class OpenedRows:
    """A RowReader over rows proved to lie under the trace root, which compares computed rows with them."""

    statement: Statement
    cell: Cell
    arrays: Mapping[str, tuple[int, Array]]
    """First row and rows of each opened tensor."""
    compared: set[str] = field(default_factory=set)
    """Tensors whose rows a..b were computed and found equal."""

    def read(self, name: str, span: Span) -> Array:
        """See RowReader."""
        if name in self.statement.inputs:
            return self.statement.inputs[name][span.a : span.b]
        first, rows = self.arrays[name]
        if span.a < first or span.b - first > len(rows):
            raise VerificationError(10, f"other rows of {name} were opened, from {first} on", cell=self.cell)
        return rows[span.a - first : span.b - first]

    def prefix(self, name: str, span: Span) -> Array:
        """See RowReader."""
        return self.read(name, Span(span.trace, 0, span.b))

    def whole(self, name: str, span: Span) -> Array:
        """See RowReader."""
        return self.read(name, Span(span.trace, 0, self.statement.rows))

    def write(self, name: str, span: Span, rows: Array) -> None:
        """Compare computed rows with the committed rows, the answer, or both (step 9).

        Raises VerificationError if they differ.
        """
        claims: list[tuple[str, Array]] = []
        if name in self.statement.outputs:
            emitted = self.statement.emitted(name, self.cell.segment, span.a, span.b)
            claims.append(("the answer", emitted))
        if name in self.statement.program.group_of:
            claims.append(("the committed rows", self.read(name, span)))
        for what, claimed in claims:
            if not _identical(claimed, rows):
                raise VerificationError(
                    9, f"the computed rows differ from {what}", cell=self.cell, operation=name
                )
            self.compared.add(name)

    def sampling(self, trace: int) -> Sampling:
        """See RowReader."""
        return self.statement.sampling

    def draws(self, span: Span) -> U64:
        """See RowReader."""
        return draws(self.statement.seed, span.a, span.b)


def open_groups(
    statement: Statement,
    suite: str,
    need: Needs,
    part: Part,
    ahead: Mapping[int, LongRows],
    roots: Sequence[bytes],
    cell: Cell,
    kernels: Kernels,
) -> OpenedRows:
    """Check committed rows (step 7) and return them.

    ``ahead`` holds, by group, the rows that came in frames before the part; the part holds the others. Raises
    VerificationError unless each row lies under its group's root and is in canonical form.
    """
    program, size = statement.program, statement.rows
    arrays: dict[str, tuple[int, Array]] = {}
    if not need.groups:
        return OpenedRows(statement, cell, arrays)
    leaves: list[U8] = []
    tensors: list[Mapping[str, Array]] = []
    for g, opened in zip(need.groups, part.groups, strict=True):
        long = ahead.get(g.group)
        if long is not None:
            long.add(opened.rows)
            leaves.append(long.leaves)
            tensors.append(long.arrays)
        else:
            rows = np.frombuffer(opened.rows, np.uint8).reshape(g.b - g.a, -1)
            leaves.append(group_leaves(program, suite, g.group, rows, kernels.hash_rows))
            tensors.append(split_rows(program, g.group, rows))
    proofs = [opened.proof for opened in part.groups]
    ranges = [(g.a, g.b) for g in need.groups]
    found = merkle.roots_from_ranges(suite, size, ranges, leaves, proofs, kernels.hash_ranges)
    for g, split, root in zip(need.groups, tensors, found, strict=True):
        if root != roots[g.group]:
            raise VerificationError(
                7,
                f"rows {g.a}..{g.b - 1} of {program.committed[g.group].name} are not under the trace root",
                cell=cell,
                expected=roots[g.group].hex(),
                found=root.hex(),
            )
        for tensor, values in split.items():
            if values.dtype == np.float32 and not kernels.is_settled(values):
                raise VerificationError(7, f"{tensor} holds -0 or a number that is not finite", cell=cell)
            if values.dtype == np.bool_ and values.size and int(values.view(np.uint8).max()) > 1:
                raise VerificationError(7, f"{tensor} holds a byte that is no bool", cell=cell)
            arrays[tensor] = (g.a, values)
    return OpenedRows(statement, cell, arrays)


def _identical(x: Array, y: Any) -> bool:
    """Return whether ``y``, an array of any backend, has dtype, shape and bytes of ``x``, a NumPy array."""
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if not isinstance(y, np.ndarray):
        y = np.frombuffer(y.tobytes(), x.dtype).reshape(x.shape)
    bits = f"u{x.itemsize}"  # compares bits, such as those of -0 and 0, without copies
    return bool((x.view(bits) == y.view(bits)).all())


@dataclass(frozen=True, eq=False)
class OpenedTables:
    """The WeightRows of a verifier without weights: constants from the key, table rows from the opening."""

    constants: Mapping[str, Array]
    tables: Mapping[str, tuple[Array, I8, F32]]
    """Ascending ids int64 [n], rows int8 [limbs, n, w] and scales float32 [n] of each opened table."""

    def constant(self, name: str) -> Array:
        """See WeightRows."""
        return self.constants[name]

    def rows(self, name: str, ids: Array) -> tuple[Sequence[I8], F32]:
        """See WeightRows."""
        known, q, scale = self.tables[name]
        at = np.searchsorted(known, ids)
        return [np.ascontiguousarray(limb[at]) for limb in q], np.ascontiguousarray(scale[at])


def open_tables(
    card: ModelCard, wanted: Sequence[TableRows], part: Part, cell: Cell, kernels: Hasher
) -> dict[str, tuple[Array, I8, F32]]:
    """Check table rows (step 7) and return ids, rows and scales of each table, as in OpenedTables.

    Raises VerificationError unless each row lies under the model id.
    """
    program = card.program
    out: dict[str, tuple[Array, I8, F32]] = {}
    for table, rows in zip(wanted, part.tables, strict=True):
        spec = program.weight[table.weight]
        tag = hashing.tag(MODEL_SUITE, "weight", spec.name)
        data = np.frombuffer(b"".join(r.row for r in rows), np.uint8).reshape(len(rows), spec.row_bytes)
        leaves = merkle.leaves(MODEL_SUITE, tag, data, kernels.hash_rows)
        found = merkle.roots_from_leaves(
            MODEL_SUITE, spec.rows, table.ids, leaves, [r.proof for r in rows], kernels.hash_rows
        )
        for number, root in zip(table.ids, found, strict=True):
            if root != card.root_of[spec.name]:
                raise VerificationError(
                    7, f"row {number} of {spec.name} is not under the model id", cell=cell
                )
        end = spec.limbs * spec.width
        limbs = data[:, :end].reshape(len(rows), spec.limbs, spec.width).swapaxes(0, 1)
        q = np.ascontiguousarray(limbs).view(np.int8)
        scale = data[:, end : end + 4].copy().reshape(-1).view("<f4")  # aligned
        out[table.weight] = (np.array(table.ids, np.int64), q, scale)
    return out


@dataclass(eq=False)
class HeldProducts:
    """Products that the verifier computes itself and counts."""

    products: Products
    made: int = 0
    """Products computed so far."""

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """See Products."""
        self.made += 1
        return self.products.linear(call, k)

    def through(self, call: ThroughCall, k: Kernels) -> Array:
        """See Products."""
        self.made += 1
        return self.products.through(call, k)

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """See Products."""
        self.made += 1
        return self.products.experts(call, numbers, k)


@dataclass(eq=False)
class HintedProducts(RowProducts, ABC):
    """Products that the prover's hints give, and a way to check them (step 8)."""

    program: Program
    cell: Cell
    sites: Sequence[Site]
    hints: Sequence[Sequence[bytes | memoryview]]
    scales: Mapping[str, tuple[F32, F32 | None]]
    made: int = field(default=0, init=False)
    """Products checked so far."""

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        """See Products.

        Raises VerificationError if the check fails. The error holds no value of the failed product, since
        such values would leak S.
        """
        q, sx = k.quantise(call.x, call.limbs, call.prologue)
        found, _ = self._product(call.weight, (q, sx), 0, None, k, call.residual)
        self._require(found.holds, call.weight)
        self.made += 1
        return found.y

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        """See Products; the sets of each chosen matrix follow one another. Raises as :meth:`linear`."""
        used, all_hold = 0, True

        def one(x: F32, group: int) -> F32:
            nonlocal used, all_hold
            found, used = self._product(call.weight, k.quantise(x, call.limbs), used, group, k, None)
            all_hold &= found.holds  # the others are checked too, so that time does not say which one fails
            return found.y

        y = by_matrix(call.x, numbers, self.program.weight[call.weight].groups, k, one)
        if used != len(self.hints[self.made]):
            raise VerificationError(
                8, "the hint holds sets that no row chose", cell=self.cell, operation=call.weight
            )
        self._require(all_hold, call.weight)
        self.made += 1
        return y

    def _product(
        self,
        weight: str,
        rows: tuple[I8, F32],
        used: int,
        group: int | None,
        k: Kernels,
        residual: F32 | None,
    ) -> tuple[CheckedHint, int]:
        """Check one product of quantised rows; return it, and the sets of the hint that are used then.

        The caller must require that it holds.
        """
        if self.made >= len(self.hints) or self.sites[self.made].weight != weight:
            raise VerificationError(10, "no hint for this product", cell=self.cell, operation=weight)
        try:
            found, used = self._checked(weight, *rows, used, group, k, residual)
        except FormatError as e:
            raise VerificationError(8, str(e), cell=self.cell, operation=weight) from e
        return found, used

    def _require(self, holds: bool, weight: str) -> None:
        """Raise VerificationError unless a product holds."""
        if not holds:
            raise VerificationError(8, "the product check failed", cell=self.cell, operation=weight)

    @abstractmethod
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
        """Check the next sets of the hint, from ``used`` on; return the product and where its sets end.

        ``q`` [limbs, n, d] and ``sx`` [n] are quantised rows; of a weight with groups they belong to one
        ``group``. Raises FormatError for sets that are not canonical or beyond their bounds.
        """

    def _sets(self, wanted: Sequence[HintSet], used: int, group: int | None) -> Sequence[bytes | memoryview]:
        """Return the packed sets of the next product that should be the ``wanted`` ones."""
        return self.hints[self.made][used : None if group is None else used + len(wanted)]

    def _scales(self, weight: str, group: int | None) -> tuple[F32, F32 | None]:
        """Return scales and biases of a weight's channels, or of one of its groups."""
        scale, bias = self.scales[weight]
        if group is None:
            return scale, bias
        return scale[group], None if bias is None else bias[group]


@dataclass(eq=False)
class HintProducts(HintedProducts):
    """Products that the prover's hints give and Freivalds' check confirms."""

    columns: Columns

    @sealed
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
        """See HintedProducts; only this sealed frame holds columns and projections."""
        site = self.sites[self.made]
        wanted = hint_sets(site, q, self.columns.squares(weight), k)
        s, v = self.columns.s(weight, site.m), self.columns.v(weight, site.m, group)
        packed, scales = self._sets(wanted, used, group), self._scales(weight, group)
        found = check_hint(packed, weight, q, wanted, (s, v), sx, scales, k, residual)
        return found, used + len(wanted)
