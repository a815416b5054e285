"""Open cells of a committed trace: rows with range proofs, table rows and product hints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import BinaryIO, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U8, U64, Array, Arrays, Span
from proofcompute.commitments import merkle
from proofcompute.commitments.hasher import Hasher
from proofcompute.commitments.leaves import Leaves
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, FormatError, MismatchError
from proofcompute.freivalds.sets import hint_sets, largest_squares
from proofcompute.models.card import weight_leaf_rows, weight_tree
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.placement import Placement
from proofcompute.program.source import Recorded, RecordProducts, Source
from proofcompute.protocol.frames import require_signer, write_frames
from proofcompute.protocol.hints import encode_hint
from proofcompute.protocol.messages import Challenge, GroupOpening, OpeningHead, Part, Receipt, TableOpening
from proofcompute.protocol.needs import GroupRows, Needs, TableRows, needs
from proofcompute.protocol.openable import require_openable
from proofcompute.protocol.pieces import cut
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.trace import group_seal, split_rows, trace_root

__all__ = ["StoredTrace", "open_cells"]


_BATCH: Final = 64
"""Number of cells whose proofs are copied from the backend together."""


@dataclass(eq=False)
class StoredTrace:
    """A finished trace that can be opened: leaf data of every committed group, and trees once needed."""

    statement: Statement
    suite: str
    groups: list[U8]
    """Leaf data [rows, width] of each committed group, in program order."""
    kernels: Kernels
    homes: Sequence[Arrays] = ()
    """The part of the backend that holds each group; empty if the backend has no parts."""
    _squares: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the leaf data."""
        program = self.statement.program
        return self.statement.rows * sum(program.group_bytes(g) for g in range(len(self.groups)))

    @cached_property
    def _forests(self) -> list[tuple[list[int], merkle.Forest]]:
        k = self.kernels
        names = [group.name for group in self.statement.program.committed]
        parts = [[k.array(rows)] for rows in self.groups]
        leaves = Leaves(names, self.suite, parts, self.homes or [k] * len(parts))
        return leaves.forests(self.statement.rows, k)

    def roots(self) -> list[bytes]:
        """Return the root of each group's tree."""
        found: dict[int, bytes] = {}
        for numbers, forest in self._forests:
            found |= zip(numbers, forest.roots(), strict=True)
        return [found[group] for group in range(len(self.groups))]

    def root(self) -> bytes:
        """Return the trace root that a receipt names."""
        program, rows = self.statement.program, self.statement.rows
        seals = [group_seal(program, self.suite, i, rows, root) for i, root in enumerate(self.roots())]
        return trace_root(self.suite, seals)

    def proofs(self, wanted: Sequence[GroupRows]) -> list[tuple[bytes, ...]]:
        """Return the range proofs of rows of groups, copied from the backend together."""
        found: list[tuple[bytes, ...]] = [()] * len(wanted)
        for numbers, forest in self._forests:
            mine = [i for i, rows in enumerate(wanted) if rows.group in numbers]
            ranges = [(numbers.index(wanted[i].group), wanted[i].a, wanted[i].b) for i in mine]
            for i, proof in zip(mine, forest.range_proofs(ranges), strict=True):
                found[i] = tuple(proof)
        return found

    def rows(self, wanted: Sequence[GroupRows]) -> list[bytes]:
        """Return the leaf data of rows of groups, copied from the backend together."""
        parts = [self.groups[rows.group][rows.a : rows.b].reshape(-1) for rows in wanted]
        if all(isinstance(part, np.ndarray) for part in parts):
            return [part.tobytes() for part in parts]
        whole, ends = self.kernels.host(self.kernels.concatenate(parts)), [0]
        for part in parts:
            ends.append(ends[-1] + part.size)
        return [whole[a:b].tobytes() for a, b in pairwise(ends)]

    def squares(self, model: Model, weight: str) -> tuple[int, ...]:
        """Return the largest sum of squares of a row of a weight matrix, for each limb."""
        if weight not in self._squares:
            self._squares[weight] = largest_squares(model.matrix(weight).q, self.kernels)
        return self._squares[weight]


class _StoredRows:
    """A RowReader over the rows that one cell needs."""

    def __init__(self, trace: StoredTrace, need: Needs, kernels: Arrays) -> None:
        self.statement = trace.statement
        self.kernels = kernels
        self.arrays: dict[str, tuple[int, Array]] = {}
        for g in need.groups:
            data = kernels.array(trace.groups[g.group][g.a : g.b])
            for name, rows in split_rows(self.statement.program, g.group, data, kernels).items():
                self.arrays[name] = (g.a, rows)

    def read(self, name: str, span: Span) -> Array:
        if name in self.statement.inputs:
            return self.kernels.array(self.statement.inputs[name][span.a : span.b])
        first, rows = self.arrays[name]
        return rows[span.a - first : span.b - first]

    def prefix(self, name: str, span: Span) -> Array:
        return self.read(name, Span(span.trace, 0, span.b))

    def write(self, name: str, span: Span, rows: Array) -> None:
        """Drop the computed rows, since the trace holds them already."""

    def sampling(self, trace: int) -> Sampling:
        return self.statement.sampling

    def draws(self, span: Span) -> U64:
        return self.kernels.array(draws(self.statement.seed, span.a, span.b))


def open_cells(
    model: Model,
    trace: StoredTrace,
    receipt: Receipt,
    challenge: Challenge,
    stream: BinaryIO,
    identity: NodeIdentity,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the opening of a challenge to ``stream``, frame by frame; the last frame signs it.

    ``identity`` is the key pair that signed the receipt. ``progress`` is called with the number of rows that
    each part opens.

    Raises MismatchError if the challenge is for another receipt or ``identity`` did not sign the receipt,
    FormatError or LimitError if the challenge names a cell that does not exist, and InputError if it names
    one that may take more than MAX_CELL_OPENING bytes. Nothing is written then.
    """
    if challenge.receipt_digest != receipt.digest:
        raise MismatchError("the challenge is for another receipt")
    require_signer(receipt, identity)
    for cell in challenge.cells:
        trace.statement.check_cell(cell)
    tables, hints = challenge.tables, challenge.hints
    require_openable(trace.statement.program, challenge.cells, tables=tables, hints=hints)
    frames = _frames(model, trace, receipt, challenge, progress)
    write_frames(stream, frames, receipt, challenge.digest, identity)


def _frames(
    model: Model,
    trace: StoredTrace,
    receipt: Receipt,
    challenge: Challenge,
    progress: Callable[[int], None] | None,
) -> Iterator[bytes]:
    """Yield all frames of an opening except the closing one."""
    program, tables, hints = trace.statement.program, challenge.tables, challenge.hints
    yield OpeningHead(receipt.digest, challenge.digest, tuple(trace.roots())).encode()
    placed = Placement(model.program, model.weights, trace.kernels)
    trees: dict[str, merkle.Tree] = {}
    for cell, need, proofs in _proved(trace, challenge):
        cuts = [cut(program, rows) for rows in need.groups]
        for long in cuts:
            for index in range(long.ahead):
                yield trace.rows([long.piece(index)])[0]
        rows = trace.rows([short.here for short in cuts])
        part = Part(
            tuple(GroupOpening(data, proof) for data, proof in zip(rows, proofs, strict=True)),
            tuple(_table(model, t, trees, trace.kernels) for t in need.tables) if tables else (),
            _hints(model, placed, trace, need, cell) if hints else (),
        )
        yield part.encode()
        if progress is not None:
            progress(cell.b - cell.a)


def _proved(
    trace: StoredTrace, challenge: Challenge
) -> Iterator[tuple[Cell, Needs, Sequence[tuple[bytes, ...]]]]:
    """Yield each cell, what it needs, and the range proof of each of its groups."""
    for first in range(0, len(challenge.cells), _BATCH):
        cells = challenge.cells[first : first + _BATCH]
        wanted = [needs(trace.statement, cell) for cell in cells]
        proofs = iter(trace.proofs([rows for need in wanted for rows in need.groups]))
        for cell, need in zip(cells, wanted, strict=True):
            yield cell, need, [next(proofs) for _ in need.groups]


def _table(
    model: Model, table: TableRows, trees: dict[str, merkle.Tree], kernels: Hasher
) -> tuple[TableOpening, ...]:
    spec, weight = model.program.weight[table.weight], model.weights[table.weight]
    if table.weight not in trees:
        trees[table.weight] = weight_tree(spec, weight, kernels.hash_rows)
    tree = trees[table.weight]
    return tuple(
        TableOpening(weight_leaf_rows(spec, weight, i, i + 1).tobytes(), tuple(tree.range_proof(i, i + 1)))
        for i in table.ids
    )


def _hints(
    model: Model, placed: Placement, trace: StoredTrace, need: Needs, cell: Cell
) -> tuple[tuple[bytes, ...], ...]:
    recorded: list[Recorded] = []
    k, weights = placed.kernels[cell.segment], placed.weights[cell.segment]
    source = Source(_StoredRows(trace, need, k), weights, RecordProducts(weights.matrix, recorded))
    run(placed.program, cell.segment, [Span(0, cell.a, cell.b)], source, k)
    sites = placed.program.plans[cell.segment].sites
    if len(recorded) != len(sites):
        raise FormatError(f"{cell}: {len(recorded)} products were made where {len(sites)} are needed")
    return tuple(
        encode_hint(made, site, hint_sets(site, made.q, trace.squares(model, site.weight), k), k)
        for made, site in zip(recorded, sites, strict=True)
    )
