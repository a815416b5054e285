"""Attacks on committed rows, table rows and their Merkle proofs; with the step that rejects each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adversary.case import Attack, Case, case
from adversary.cheats import edit_rows
from adversary.setting import BLOCK_0, BLOCK_1, EMBEDDING, forge, honest, key, model
from adversary.taken_apart import Opening, opened
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import PLAIN, Matrix
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import hash_rows
from proofcompute.commitments.merkle import Tree
from proofcompute.errors import Cell
from proofcompute.protocol.messages import GroupOpening
from proofcompute.protocol.needs import needs
from proofcompute.protocol.trace import group_leaves, group_seal, trace_root
from proofcompute.testing.altered import reweighted
from proofcompute.testing.forging import Forgery


def _group(
    index: int, change: Callable[[GroupOpening], GroupOpening], cell: Cell = Cell(BLOCK_1, 4, 6)
) -> Attack:
    """One opened group of one cell is changed."""

    def edit(opening: Opening) -> Opening:
        groups = list(opening.parts[0].groups)
        groups[index] = change(groups[index])
        return opening.with_part(0, groups=tuple(groups))

    return lambda: case(honest(), cell, edit=edit)


def rows_of_another_cell() -> Case:
    """Row 6 of x.1 with its valid proof in place of row 4: both proofs have one length."""
    other = opened(honest(), honest().challenge(Cell(BLOCK_1, 6, 7))).parts[0].groups[0]
    return case(
        honest(),
        Cell(BLOCK_1, 4, 5),
        edit=lambda o: o.with_part(0, groups=(other, *o.parts[0].groups[1:])),
    )


def rows_of_another_group() -> Case:
    """Rows of x.2 with their valid proof, given as rows of x.1: both have one width."""

    def edit(opening: Opening) -> Opening:
        _, kv, x2 = opening.parts[0].groups
        return opening.with_part(0, groups=(x2, kv, x2))

    return case(honest(), Cell(BLOCK_1, 4, 6), edit=edit)


def roots_swapped() -> Case:
    """x.1 and x.2 change places under the trace root, rows and roots alike."""
    groups: list[Array] = list(honest().stored.groups)
    a, b = (model().program.group_of[n] for n in ("x.1", "x.2"))
    groups[a], groups[b] = groups[b], groups[a]
    return case(honest().recommitted(groups), Cell(BLOCK_1, 4, 6))


def roots_swapped_in_the_head() -> Case:
    def edit(opening: Opening) -> Opening:
        roots = list(opening.head.roots)
        a, b = (model().program.group_of[n] for n in ("x.1", "x.2"))
        roots[a], roots[b] = roots[b], roots[a]
        return replace(opening, head=replace(opening.head, roots=tuple(roots)))

    return case(honest(), Cell(BLOCK_1, 4, 6), edit=edit)


def tree_of_another_size() -> Case:
    """x.1 was committed with a row more than the trace has; the last row's proof is cut to fit."""
    program, stored, at = model().program, honest().stored, model().program.group_of["x.1"]
    longer = np.concatenate([stored.groups[at], stored.groups[at][:1]])
    tree = Tree(stored.suite, group_leaves(program, stored.suite, at, longer, hash_rows), hash_rows)
    roots = [*stored.roots()]
    roots[at] = tree.root
    rows = honest().statement.rows
    seals = [group_seal(program, stored.suite, g, rows, root) for g, root in enumerate(roots)]
    forgery = honest().signed(trace_root=trace_root(stored.suite, seals))
    cell = Cell(BLOCK_1, 16, 17)
    challenge = forgery.challenge(cell)
    opening = opened(forgery, challenge)
    proof = tuple(tree.range_proof(16, 17))[1:]
    x1 = replace(opening.parts[0].groups[0], proof=proof)
    opening = replace(opening, head=replace(opening.head, roots=tuple(roots))).with_part(
        0, groups=(x1, *opening.parts[0].groups[1:])
    )
    return Case(key(), forgery.request, forgery.receipt.encode(), challenge, opening.encode())


def garbage_committed() -> Case:
    """Noise is committed instead of x.1; when asked, the right row is recomputed and opened."""
    groups: list[Array] = [g.copy() for g in honest().stored.groups]
    at = model().program.group_of["x.1"]
    groups[at] = np.random.default_rng(0).integers(0, 64, groups[at].shape, np.uint8)
    forgery = honest().recommitted(groups)
    cell = Cell(BLOCK_0, 4, 6)
    right = opened(honest(), honest().challenge(cell)).parts[0]
    wrong = opened(replace(forgery, stored=honest().stored), forgery.challenge(cell))
    roots = tuple(forgery.stored.roots())
    opening = Opening(replace(wrong.head, roots=roots), (right,))
    return Case(key(), forgery.request, forgery.receipt.encode(), forgery.challenge(cell), opening.encode())


def _value(tensor: str, value: float, cell: Cell) -> Attack:
    """A committed float is replaced by ``value`` after the run; only a cell that reads it is audited."""

    def build() -> Case:
        forgery = forge(write_as=lambda name, first, rows: rows * (first != 4) if name == tensor else rows)
        groups: list[Array] = [g.copy() for g in forgery.stored.groups]
        program = model().program
        group = program.group_of[tensor]
        at = sum(
            program.specs[t].nbytes
            for t in program.committed[group].tensors[: program.committed[group].tensors.index(tensor)]
        )
        groups[group][4, at : at + 4] = np.array([value], "<f4").view(np.uint8)
        changed = forgery.recommitted(groups)
        # The products follow from the rows as they were: a prover need not run what it commits.
        opening = opened(replace(forgery, receipt=changed.receipt), changed.challenge(cell))
        altered = _reopen(opening, changed, cell)
        return Case(
            key(), changed.request, changed.receipt.encode(), changed.challenge(cell), altered.encode()
        )

    return build


def _reopen(opening: Opening, forgery: Forgery, cell: Cell) -> Opening:
    """The products of one opening over the rows and roots of another."""
    need = needs(forgery.statement, cell)
    pairs = zip(forgery.stored.rows(need.groups), forgery.stored.proofs(need.groups), strict=True)
    groups = tuple(GroupOpening(*pair) for pair in pairs)
    roots = tuple(forgery.stored.roots())
    return replace(opening, head=replace(opening.head, roots=roots)).with_part(0, groups=groups)


class Careless(NumpyKernels):
    """A prover's kernels: attention takes any scale."""

    def attention(self, q, kq, ks, vq, vs, first, scale, window, options=PLAIN):  # type: ignore[no-untyped-def]
        sign = np.where(ks < 0, np.int8(-1), np.int8(1))
        # -s * q8 = s * -q8: what the arithmetic gives for a negative scale of a key
        flipped = (kq * sign[:, :, np.newaxis]).astype(np.int8)
        return super().attention(q, flipped, np.abs(ks), vq, vs, first, scale, window, options)


def negative_scale() -> Case:
    """The key of row 4 points the other way, through a negative scale; only a later cell is audited."""
    forgery = forge(
        write_as=lambda name, first, rows: -rows if name == "k_scale.0" and first == 4 else rows,
        kernels=Careless(),
    )
    careless = replace(forgery, stored=replace(forgery.stored, kernels=Careless()))
    return case(careless, Cell(BLOCK_0, 9, 10))


def table_of_another_model() -> Case:
    """Embedding rows of another model, with proofs in its own tree."""
    other = model(1).weights["embedding"]
    assert isinstance(other, Matrix)
    runs = reweighted(model(), lambda n, w: other if n == "embedding" else w)
    return case(forge(runs=runs), Cell(EMBEDDING, 3, 6))


def inflated_table_scale() -> Case:
    """One scale of the embedding is inflated."""

    def inflate(name: str, w: Matrix) -> Matrix:
        return Matrix(w.q, w.scale * np.float32(1e6), w.bias) if name == "embedding" else w

    return case(forge(runs=reweighted(model(), inflate)), Cell(EMBEDDING, 3, 6))


def row_of_another_token() -> Case:
    """The embedding row of another token, with its valid proof."""
    tokens = honest().statement.inputs["tokens"]
    # 'e' is 0x65 and 'l' is 0x6c: their proofs have one length
    a, b = (opened(honest(), honest().challenge(Cell(EMBEDDING, r, r + 1))).parts[0].tables for r in (1, 2))
    assert tokens[1] != tokens[2]
    return case(honest(), Cell(EMBEDDING, 1, 2), edit=lambda o: o.with_part(0, tables=b if a != b else a))


def edited_row() -> Case:
    """One element of x.1 is altered, everything later follows from it."""
    return case(forge(write_as=edit_rows("x.1", 5)), Cell(BLOCK_0, 5, 6))


ROWS_AND_PROOFS: dict[str, tuple[Attack, int]] = {
    "rows of another cell": (rows_of_another_cell, 7),
    "rows of another group": (rows_of_another_group, 7),
    "two groups swapped under the trace root": (roots_swapped, 9),
    "two roots swapped in the head": (roots_swapped_in_the_head, 7),
    "a tree of another size": (tree_of_another_size, 7),
    "noise committed, right rows opened": (garbage_committed, 7),
    "a proof in another order": (_group(0, lambda g: replace(g, proof=g.proof[::-1])), 7),
    "a proof one digest short": (_group(0, lambda g: replace(g, proof=g.proof[:-1])), 1),
    "a proof one digest long": (_group(0, lambda g: replace(g, proof=(*g.proof, bytes(32)))), 1),
    "an empty proof": (_group(0, lambda g: replace(g, proof=())), 1),
    "a digest of another length": (
        _group(0, lambda g: replace(g, proof=(*g.proof[:-1], g.proof[-1] + b"\0"))),
        1,
    ),
    "one row fewer": (_group(0, lambda g: replace(g, rows=g.rows[: len(g.rows) // 2])), 1),
    "rows in another order": (
        _group(
            0,
            lambda g: replace(g, rows=bytes(g.rows[len(g.rows) // 2 :]) + bytes(g.rows[: len(g.rows) // 2])),
        ),
        7,
    ),
    "a committed negative zero": (_value("x.1", -0.0, Cell(BLOCK_1, 4, 5)), 7),
    "a committed NaN": (_value("x.1", float("nan"), Cell(BLOCK_1, 4, 5)), 7),
    "a committed infinity": (_value("x.1", float("inf"), Cell(BLOCK_1, 4, 5)), 7),
    "a key scale that is NaN": (_value("k_scale.0", float("nan"), Cell(BLOCK_0, 7, 8)), 7),
    "a negative key scale": (negative_scale, 8),
    "embedding of another model": (table_of_another_model, 7),
    "embedding scale inflated": (inflated_table_scale, 7),
    "embedding of another token": (row_of_another_token, 7),
    "a committed row altered": (edited_row, 9),
}
