"""Attacks on committed rows, table rows and their Merkle proofs; with the step that rejects each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32, Array
from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Build, Case, case
from proofcompute.attacks.taken_apart import Opening, opened
from proofcompute.attacks.target import ROWS, NotApplicable, Target
from proofcompute.attacks.values import edit_rows
from proofcompute.commitments.merkle import Tree
from proofcompute.errors import Cell
from proofcompute.protocol.messages import GroupOpening, TableOpening
from proofcompute.protocol.needs import needs
from proofcompute.protocol.trace import group_leaves, group_seal, trace_root
from proofcompute.testing.altered import reweighted
from proofcompute.testing.forging import Forgery

__all__ = ["ROWS_AND_PROOFS"]


def _places(t: Target) -> tuple[int, int]:
    """Return the places of what the middle block reads and writes among the groups of its cell."""
    program = t.model.program
    numbers = [group for group, _ in program.plans[t.middle].groups]
    before, after = (program.group_of[name] for name in (t.entry(t.middle), t.exit(t.middle)))
    return numbers.index(before), numbers.index(after)


def _streams(t: Target) -> tuple[int, int]:
    """Return the groups of what the middle block reads and of what it writes."""
    group_of = t.model.program.group_of
    return group_of[t.entry(t.middle)], group_of[t.exit(t.middle)]


def _group(change: Callable[[GroupOpening], GroupOpening]) -> Build:
    """Change what is opened of the stream that the middle block reads."""

    def build(t: Target) -> Case:
        at, _ = _places(t)

        def edit(opening: Opening) -> Opening:
            groups = list(opening.parts[0].groups)
            groups[at] = change(groups[at])
            return opening.with_part(0, groups=tuple(groups))

        return case(t, t.honest(), Cell(t.middle, 4, 6), edit=edit)

    return build


def _with_group(opening: Opening, at: int, group: GroupOpening) -> Opening:
    groups = list(opening.parts[0].groups)
    groups[at] = group
    return opening.with_part(0, groups=tuple(groups))


def _of_another_cell(t: Target) -> Case:
    """Row 6 of the stream with its valid proof in place of row 4: both proofs have one length."""
    at, _ = _places(t)
    other = opened(t.honest(), t.honest().challenge(Cell(t.middle, 6, 7))).parts[0].groups[at]
    return case(t, t.honest(), Cell(t.middle, 4, 5), edit=lambda o: _with_group(o, at, other))


def _duplicated(t: Target) -> Case:
    """One leaf stands for two rows: row 4 is opened twice, under the proof of rows 4 and 5."""

    def twice(group: GroupOpening) -> GroupOpening:
        row = bytes(group.rows)[: len(group.rows) // 2]
        return replace(group, rows=row + row)

    return _group(twice)(t)


def _leaf_as_node(t: Target) -> Case:
    """The proof of a row holds the row's bytes where the digest of its neighbour is due."""

    def swap(group: GroupOpening) -> GroupOpening:
        data = bytes(group.rows)[:32].ljust(32, b"\0")
        return replace(group, proof=(data, *group.proof[1:]))

    return _group(swap)(t)


def _of_another_group(t: Target) -> Case:
    """Rows that the block writes, with their valid proof, given as rows that it reads, of one width."""
    before, after = _places(t)

    def edit(opening: Opening) -> Opening:
        return _with_group(opening, before, opening.parts[0].groups[after])

    return case(t, t.honest(), Cell(t.middle, 4, 6), edit=edit)


def _roots_swapped(t: Target) -> Case:
    """Two streams change places under the trace root, rows and roots alike."""
    groups: list[Array] = list(t.honest().stored.groups)
    a, b = _streams(t)
    groups[a], groups[b] = groups[b], groups[a]
    return case(t, t.honest().recommitted(groups), Cell(t.middle, 4, 6))


def _roots_swapped_in_the_head(t: Target) -> Case:
    def edit(opening: Opening) -> Opening:
        roots = list(opening.head.roots)
        a, b = _streams(t)
        roots[a], roots[b] = roots[b], roots[a]
        return replace(opening, head=replace(opening.head, roots=tuple(roots)))

    return case(t, t.honest(), Cell(t.middle, 4, 6), edit=edit)


def _tree_of_another_size(t: Target) -> Case:
    """A stream was committed with a row more than the trace has; the last row's proof is cut to fit."""
    program, stored, (at, _) = t.model.program, t.honest().stored, _streams(t)
    longer = np.concatenate([stored.groups[at], stored.groups[at][:1]])
    hash_rows = t.kernels.hash_rows
    tree = Tree(stored.suite, group_leaves(program, stored.suite, at, longer, hash_rows), hash_rows)
    roots = [*stored.roots()]
    roots[at] = tree.root
    seals = [group_seal(program, stored.suite, g, ROWS, root) for g, root in enumerate(roots)]
    forgery = t.honest().signed(trace_root=trace_root(stored.suite, seals))
    challenge = forgery.challenge(Cell(t.middle, ROWS - 1, ROWS))
    opening = opened(forgery, challenge)
    place, _ = _places(t)
    proof = tuple(tree.range_proof(ROWS - 1, ROWS))[1:]
    opening = _with_group(opening, place, replace(opening.parts[0].groups[place], proof=proof))
    opening = replace(opening, head=replace(opening.head, roots=tuple(roots)))
    return Case(t.key(), forgery.request, forgery.receipt.encode(), challenge, opening.encode())


def _noise_committed(t: Target) -> Case:
    """Noise is committed instead of a stream; when asked, the right row is recomputed and opened."""
    groups: list[Array] = [g.copy() for g in t.honest().stored.groups]
    _, at = _streams(t)
    groups[at] = np.random.default_rng(0).integers(0, 64, groups[at].shape, np.uint8)
    forgery = t.honest().recommitted(groups)
    cell = Cell(t.middle, 4, 6)
    right = opened(t.honest(), t.honest().challenge(cell)).parts[0]
    wrong = opened(replace(forgery, stored=t.honest().stored), forgery.challenge(cell))
    opening = Opening(replace(wrong.head, roots=tuple(forgery.stored.roots())), (right,))
    return Case(t.key(), forgery.request, forgery.receipt.encode(), forgery.challenge(cell), opening.encode())


def _value(pick: Callable[[Target], str], value: float, cell: Callable[[Target], Cell]) -> Build:
    """Replace a committed float of row 4 after the run; only a cell that reads it is audited."""

    def build(t: Target) -> Case:
        tensor, asked, program = pick(t), cell(t), t.model.program

        def clear(name: str, first: int, rows: Array) -> Array:
            return np.zeros_like(rows) if name == tensor and first == 4 else rows

        forgery = t.forge(write_as=clear)
        groups: list[Array] = [g.copy() for g in forgery.stored.groups]
        group = program.group_of[tensor]
        before = program.committed[group].tensors
        at = sum(program.specs[n].nbytes for n in before[: before.index(tensor)])
        groups[group][4, at : at + 4] = np.array([value], "<f4").view(np.uint8)
        changed = forgery.recommitted(groups)
        # The products follow from the rows as they were: a prover need not run what it commits.
        opening = opened(replace(forgery, receipt=changed.receipt), changed.challenge(asked))
        made = _reopen(opening, changed, asked).encode()
        return Case(t.key(), changed.request, changed.receipt.encode(), changed.challenge(asked), made)

    return build


def _reopen(opening: Opening, forgery: Forgery, cell: Cell) -> Opening:
    """Return the products of one opening over the rows and roots of another."""
    need = needs(forgery.statement, cell)
    pairs = zip(forgery.stored.rows(need.groups), forgery.stored.proofs(need.groups), strict=True)
    groups = tuple(GroupOpening(*pair) for pair in pairs)
    roots = tuple(forgery.stored.roots())
    return replace(opening, head=replace(opening.head, roots=roots)).with_part(0, groups=groups)


def _careless(kernels: Kernels) -> Kernels:
    """Return a prover's kernels: attention takes a negative scale for what it says, -s * q8 = s * -q8."""

    class Careless(type(kernels)):  # type: ignore[misc]
        def attention(self, q: F32, kq: Array, ks: F32, *others: Any) -> F32:
            sign = np.where(ks < 0, np.int8(-1), np.int8(1)).reshape(*ks.shape, *[1] * (kq.ndim - ks.ndim))
            made: F32 = super().attention(q, (kq * sign).astype(np.int8), np.abs(ks), *others)
            return made

    made = copy.copy(kernels)
    made.__class__ = Careless
    return made


def _scales(t: Target) -> str:
    """Return the scales of the first block's keys."""
    specs = t.model.program.specs
    found = [n for n in t.kept(t.first) if specs[n].dtype == "f32"]
    if not found:
        raise NotApplicable("keys have no scales")
    return found[0]


def _negative_scale(t: Target) -> Case:
    """The key of row 4 points the other way, through a negative scale; only a later cell is audited."""
    name = _scales(t)
    if len(t.model.program.specs[name].shape) > 1:
        raise NotApplicable("a key has two scales")
    careless = _careless(t.kernels)
    forgery = t.forge(
        write_as=lambda n, first, rows: -rows if n == name and first == 4 else rows, kernels=careless
    )
    lied = replace(forgery, stored=replace(forgery.stored, kernels=careless))
    return case(t, lied, Cell(t.first, 5, 6))


def _table(t: Target) -> str:
    return t.plans[t.embedding].tables[0][0]


def _table_of_another_model(t: Target) -> Case:
    """Embedding rows of another model, with proofs in its own tree."""
    name = _table(t)
    other = t.another_model.matrix(name)
    runs = reweighted(t.model, lambda n, w: other if n == name else w)
    return case(t, t.forge(runs=runs), Cell(t.embedding, 3, 6))


def _inflated_table_scale(t: Target) -> Case:
    """Scales of the embedding are inflated."""
    name = _table(t)

    def inflate(n: str, w: Matrix) -> Matrix:
        return Matrix(w.q, w.scale * np.float32(1e6), w.bias) if n == name else w

    return case(t, t.forge(runs=reweighted(t.model, inflate)), Cell(t.embedding, 3, 6))


def _row_of_another_token(t: Target) -> Case:
    """The embedding row of another token, with its valid proof, where both proofs have one length."""
    parts = {
        row: opened(t.honest(), t.honest().challenge(Cell(t.embedding, row, row + 1))).parts[0].tables
        for row in range(1, 6)
    }
    for row, mine in parts.items():
        for other in parts.values():
            if mine != other and _lengths(mine) == _lengths(other):
                return case(
                    t,
                    t.honest(),
                    Cell(t.embedding, row, row + 1),
                    edit=lambda o, found=other: o.with_part(0, tables=found),  # type: ignore[misc]
                )
    raise NotApplicable("no two tokens of the prompt have proofs of one length")


def _lengths(tables: tuple[tuple[TableOpening, ...], ...]) -> list[list[int]]:
    return [[len(row.proof) for row in table] for table in tables]


def _edited_row(t: Target) -> Case:
    """One element of a stream is altered, everything later follows from it."""
    return case(t, t.forge(write_as=edit_rows(t.exit(t.first), 5)), Cell(t.first, 5, 6))


def _reversed_halves(group: GroupOpening) -> GroupOpening:
    half, rows = len(group.rows) // 2, bytes(group.rows)
    return replace(group, rows=rows[half:] + rows[:half])


def _stream_cell(t: Target) -> Cell:
    return Cell(t.middle, 4, 5)


def _entry(t: Target) -> str:
    return t.entry(t.middle)


ROWS_AND_PROOFS: Final[Mapping[str, Forged]] = {
    "rows of another cell": Forged(_of_another_cell, 7, "Merkle"),
    "a leaf for two rows": Forged(_duplicated, 7, "Merkle"),
    "bytes of a row for a digest": Forged(_leaf_as_node, 7, "Merkle"),
    "rows of another group": Forged(_of_another_group, 7, "Merkle"),
    "two groups swapped under the trace root": Forged(_roots_swapped, 9, "Merkle"),
    "two roots swapped in the head": Forged(_roots_swapped_in_the_head, 7, "Merkle"),
    "a tree of another size": Forged(_tree_of_another_size, 7, "Merkle"),
    "noise committed, right rows opened": Forged(_noise_committed, 7, "challenge"),
    "a proof in another order": Forged(_group(lambda g: replace(g, proof=g.proof[::-1])), 7, "Merkle"),
    "a proof one digest short": Forged(_group(lambda g: replace(g, proof=g.proof[:-1])), 1, "Merkle"),
    "a proof one digest long": Forged(_group(lambda g: replace(g, proof=(*g.proof, bytes(32)))), 1, "Merkle"),
    "an empty proof": Forged(_group(lambda g: replace(g, proof=())), 1, "Merkle"),
    "a digest of another length": Forged(
        _group(lambda g: replace(g, proof=(*g.proof[:-1], g.proof[-1] + b"\0"))), 1, "Merkle"
    ),
    "one row fewer": Forged(_group(lambda g: replace(g, rows=g.rows[: len(g.rows) // 2])), 1, "opening"),
    "rows in another order": Forged(_group(_reversed_halves), 7, "Merkle"),
    "a committed negative zero": Forged(_value(_entry, -0.0, _stream_cell), 7, "low bits"),
    "a committed NaN": Forged(_value(_entry, float("nan"), _stream_cell), 7, "low bits"),
    "a committed infinity": Forged(_value(_entry, float("inf"), _stream_cell), 7, "low bits"),
    "a key scale that is NaN": Forged(
        _value(_scales, float("nan"), lambda t: Cell(t.first, 5, 6)), 7, "low bits"
    ),
    "a negative key scale": Forged(_negative_scale, 8, "low bits"),
    "embedding of another model": Forged(_table_of_another_model, 7, "another model"),
    "embedding scale inflated": Forged(_inflated_table_scale, 7, "another model"),
    "embedding of another token": Forged(_row_of_another_token, 7, "edited answer"),
    "a committed row altered": Forged(_edited_row, 9, "rows moved"),
}
"""Attacks on rows and proofs."""
