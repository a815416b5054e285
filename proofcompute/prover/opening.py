"""Opening cells of a committed trace: rows with range proofs, table rows, product hints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from proofcompute import merkle, wire
from proofcompute.errors import Cell, FormatError, MismatchError
from proofcompute.freivalds import claims, largest_squares
from proofcompute.identity import weight_leaf_rows, weight_tree
from proofcompute.interpreter import Needs, TableRows, needs, run
from proofcompute.kernels import U8, U64, Array, Kernels, Sampling
from proofcompute.messages import Challenge, GroupOpening, OpeningHead, Part, TableOpening, encode_hint
from proofcompute.model import Model
from proofcompute.placement import Placement
from proofcompute.program import Span
from proofcompute.source import Recorded, RecordProducts, Source
from proofcompute.statement import Statement, draws
from proofcompute.trace import group_leaves, split_rows

__all__ = ["StoredTrace", "open_cells"]


@dataclass(eq=False)
class StoredTrace:
    """A finished trace that can be opened: leaf data of every committed group, and lazily its trees."""

    statement: Statement
    suite: str
    groups: list[U8]
    """Leaf data [rows, width] of each committed group, in program order."""
    kernels: Kernels
    _trees: dict[int, merkle.Tree] = field(default_factory=dict)
    _squares: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def tree(self, group: int) -> merkle.Tree:
        """Merkle tree of one group."""
        if group not in self._trees:
            k = self.kernels
            leaves = group_leaves(self.statement.program, self.suite, group, self.groups[group], k.hash_rows)
            self._trees[group] = merkle.Tree(self.suite, leaves, k.hash_rows, k)
        return self._trees[group]

    def squares(self, model: Model, weight: str) -> tuple[int, ...]:
        """The largest squares of one of the model's matrices."""
        if weight not in self._squares:
            self._squares[weight] = largest_squares(model.matrix(weight), self.kernels)
        return self._squares[weight]


class _StoredRows:
    """RowReader over the rows that one cell needs."""

    def __init__(self, trace: StoredTrace, need: Needs, kernels: Kernels) -> None:
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
        """An honest prover's rows are those it committed; nothing to keep."""

    def sampling(self, trace: int) -> Sampling:
        return self.statement.sampling

    def draws(self, span: Span) -> U64:
        return self.kernels.array(draws(self.statement.seed, span.a, span.b))


def open_cells(
    model: Model,
    trace: StoredTrace,
    receipt_digest: bytes,
    challenge: Challenge,
    stream: BinaryIO,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the opening of a challenge to ``stream``, one frame after the other.

    ``progress`` gets the number of rows opened by each part. Raises MismatchError if the challenge is for
    another receipt, FormatError or LimitError if it names a cell that does not exist.
    """
    if challenge.receipt_digest != receipt_digest:
        raise MismatchError("the challenge is for another receipt")
    for cell in challenge.cells:
        trace.statement.check_cell(cell)
    count = len(model.program.committed)
    roots = tuple(trace.tree(g).root for g in range(count))
    wire.write_frame(stream, OpeningHead(receipt_digest, challenge.digest, roots).encode())
    for cell, part in zip(challenge.cells, _parts(model, trace, challenge), strict=True):
        wire.write_frame(stream, part.encode())
        if progress is not None:
            progress(cell.b - cell.a)


def _parts(model: Model, trace: StoredTrace, challenge: Challenge) -> Iterator[Part]:
    tables: dict[str, merkle.Tree] = {}
    placed = Placement(model.program, model.weights, trace.kernels)
    for cell in challenge.cells:
        need = needs(trace.statement, cell)
        groups = tuple(
            GroupOpening(
                trace.groups[g.group][g.a : g.b].tobytes(), tuple(trace.tree(g.group).range_proof(g.a, g.b))
            )
            for g in need.groups
        )
        opened = (
            tuple(_table(model, t, tables, trace.kernels) for t in need.tables) if challenge.tables else ()
        )
        hints = _hints(model, placed, trace, need, cell) if challenge.hints else ()
        yield Part(groups, opened, hints)


def _table(
    model: Model, table: TableRows, trees: dict[str, merkle.Tree], kernels: Kernels
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
        encode_hint(made, site, claims(site, made.q, trace.squares(model, site.weight), k), k)
        for made, site in zip(recorded, sites, strict=True)
    )
