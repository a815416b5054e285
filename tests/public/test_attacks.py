"""Provers of false products: what stops each of them, and what would not (docs/spec/public-proofs.md).

The node is in league with the prover, and signs what it is given.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import synthetic
from adversary.mutants_coded import rows_known_first
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arrays import U32, U64
from proofcompute.codes import extension, sumcheck
from proofcompute.codes.circle import draw_positions
from proofcompute.commitments import merkle
from proofcompute.commitments.hashing import Transcript, Xof
from proofcompute.encoding.frames import read_frame
from proofcompute.errors import Cell, VerificationError
from proofcompute.freivalds import sets
from proofcompute.freivalds.primes import P31
from proofcompute.freivalds.sets import pack_set
from proofcompute.limits import MAX_OPENING_PART
from proofcompute.protocol.messages import Part
from proofcompute.protocol.needs import needs
from proofcompute.protocol.shapes import part_shape
from proofcompute.public import evaluation, proving
from proofcompute.public.coding import SUITE, digests_of
from proofcompute.public.evaluation import Evaluation, Opened, Shape
from proofcompute.public.holder import CodedHolder
from proofcompute.public.key import PublicKey
from proofcompute.public.proof import ALL, ProofHead, write_proof
from proofcompute.public.proving import Answered, coded_challenge, verify_proof
from proofcompute.public.sums import Sums
from proofcompute.public.transcript import Absorbed, Proved, absorbed, begun
from proofcompute.verifier import check_receipt
from proofcompute.verifier.verify import audit
from public.world import (
    KERNELS,
    LONG,
    POSITIONS,
    SECURITY,
    answered,
    model,
    proof,
    published,
    request,
    verified,
)

EVERY = 10_000
"""More cells than there are, so that each is of one row."""


Off = int | Sequence[int]


def altered(
    kind: str, changes: dict[tuple[int, int, int], Off], cells: int = EVERY, number: int = 0
) -> Answered:
    """An answer with wrong accumulators: what is added, by cell, product and set, to its last column."""
    one = answered(kind, number, cells)
    claim = check_receipt(model(kind), one.request, one.receipt, None)
    challenge, program, frames = coded_challenge(claim, cells), model(kind).program, []
    while (frame := read_frame(one.opening, limit=MAX_OPENING_PART, what="opening")) is not None:
        frames.append(frame)
    assert len(frames) == len(challenge.cells) + 2
    for (at, product, place), off in changes.items():
        need = needs(claim.statement, challenge.cells[at])
        n = challenge.cells[at].b - challenge.cells[at].a
        shape = part_shape(program, need, claim.statement.rows, n, tables=True, hints=True)
        part = Part.decode(frames[at + 1], shape)
        m, hint = need.sites[product].m, [bytes(data) for data in part.hints[product]]
        values = unpack(hint[place][1:], hint[place][0], n * m).reshape(n, m).copy()
        values[:, -1] += off
        hint[place] = pack_set(values, KERNELS)
        hints = (*part.hints[:product], tuple(hint), *part.hints[product + 1 :])
        frames[at + 1] = Part(part.groups, part.tables, hints).encode()
    opening = synthetic.closed(frames[:-1], claim.receipt, challenge)
    return Answered(one.request, one.receipt, io.BytesIO(opening), cells)


def head_cells(kind: str) -> list[int]:
    """The positions of the last segment's cells, whose accumulators no other cell reads."""
    one = answered(kind, cells=EVERY)
    claim = check_receipt(model(kind), one.request, one.receipt, None)
    cells, last = coded_challenge(claim, EVERY).cells, len(model(kind).program.plans) - 1
    return [i for i, cell in enumerate(cells) if cell.segment == last]


@pytest.mark.parametrize("kind", ["w8a16", "w16a16", "w8a8"])
@pytest.mark.parametrize("off", [1, -1, 3])
def test_one_wrong_accumulator_of_one_cell_is_found(kind: str, off: int) -> None:
    data = proof(kind, altered(kind, {(head_cells(kind)[1], 0, 0): off}))
    with pytest.raises(VerificationError, match="step 8: evaluation: a round of sumcheck"):
        verified(kind, data)


def _without_cells(self: Sums, request: int, cell: Cell, product: int, numbers: range, n: int) -> U32:
    return _rows(self, request, Cell(cell.segment, 0, 1), product, numbers, n)


def _without_sets(self: Sums, request: int, cell: Cell, product: int, numbers: range, n: int) -> U32:
    return np.concatenate([_rows(self, request, cell, product, range(1), n) for _ in numbers])


_rows = Sums.rows


def test_random_rows_that_cells_share_would_let_errors_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = head_cells("w8a16")
    false = altered("w8a16", {(first, 0, 0): 1, (second, 0, 0): -1})
    with pytest.raises(VerificationError, match="step 8: evaluation"):
        verified("w8a16", proof("w8a16", false))
    monkeypatch.setattr(Sums, "rows", _without_cells)
    assert verified("w8a16", proof("w8a16", false))


def test_random_rows_that_limbs_share_would_let_errors_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loud rows have a set for each limb of X; here all have, so that a small model shows it."""
    monkeypatch.setattr(sets, "bound_together", lambda largest, square: None)
    from public import world

    world._opened.cache_clear()
    try:
        false = altered("w8a16", {(head_cells("w8a16")[0], 0, 0): 1, (head_cells("w8a16")[0], 0, 1): -1})
        with pytest.raises(VerificationError, match="step 8: evaluation"):
            verified("w8a16", proof("w8a16", false))
        monkeypatch.setattr(Sums, "rows", _without_sets)
        assert verified("w8a16", proof("w8a16", false))
    finally:
        world._opened.cache_clear()


# -- a prover who knows the random rows --------------------------------------------------------------------
def _reduced(basis: Any) -> Any:
    """An LLL-reduced basis [n, n] of the lattice that integer rows span (Lenstra, Lenstra, Lovasz 1982)."""
    b, k = [list(map(int, row)) for row in basis], 1
    n = len(b)

    def orthogonal() -> tuple[Any, Any]:
        star, mu = np.array(b, float), np.eye(n)
        for i in range(n):
            for j in range(i):
                mu[i, j] = np.dot(np.array(b[i], float), star[j]) / np.dot(star[j], star[j])
                star[i] -= mu[i, j] * star[j]
        return (star * star).sum(1), mu

    norms, mu = orthogonal()
    while k < n:
        for j in range(k - 1, -1, -1):
            q = round(mu[k, j])
            if q:
                b[k] = [x - q * y for x, y in zip(b[k], b[j], strict=True)]
                mu[k, : j + 1] -= q * mu[j, : j + 1]
        if norms[k] >= (0.99 - mu[k, k - 1] ** 2) * norms[k - 1]:
            k += 1
        else:
            b[k], b[k - 1] = b[k - 1], b[k]
            norms, mu = orthogonal()
            k = max(k - 1, 1)
    return b


def _unseen(rows: U32) -> list[int]:
    """Short integers [n], not all zero, that random rows [6, n] combine to zero."""
    r, n = rows.astype(object), rows.shape[1]
    left = np.concatenate([r[:, :6], r[:, 6:]], axis=1)
    for c in range(6):  # make the first six columns the identity
        found = next(i for i in range(c, 6) if left[i, c])
        left[[c, found]] = left[[found, c]]
        left[c] = left[c] * pow(int(left[c, c]), P31 - 2, P31) % P31
        for i in range(6):
            if i != c:
                left[i] = (left[i] - left[i, c] * left[c]) % P31
    basis = np.zeros((n, n), object)
    basis[:6, :6] = P31 * np.eye(6, dtype=int)
    basis[6:, 6:] = np.eye(n - 6, dtype=int)
    basis[6:, :6] = -left[:, 6:].T % P31
    short: list[int] = min(_reduced(basis), key=lambda v: sum(x * x for x in v))
    assert not (r @ np.array(short, object) % P31).any()
    return short


def test_random_rows_known_before_the_hints_would_let_short_errors_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that knows the rows reduces a lattice, and finds short errors that they combine to zero."""
    kind = "w8a16"
    key, cells = published(kind).key, len(model(kind).program.plans)
    one = answered(kind, LONG)
    claim = check_receipt(key, one.request, one.receipt, None)
    head = coded_challenge(claim, ALL).cells[-1]
    seed = begun(key.public_id, POSITIONS, [bytes(32)]).challenge("rows").read(32)
    rows = Sums(key, seed).rows(0, head, 0, range(1), head.b - head.a)[0]
    errors = _unseen(rows)
    assert 0 < max(map(abs, errors)) < 4000
    false = altered(kind, {(cells - 1, 0, 0): errors}, ALL, LONG)
    with pytest.raises(VerificationError, match="step 8: evaluation"):
        verified(kind, proof(kind, false), false.request)

    def late(request: Proved) -> Absorbed:
        return replace(absorbed(request), digest=bytes(32))

    monkeypatch.setattr(proving, "absorbed", late)
    assert verified(kind, proof(kind, false), false.request)


# -- a prover who lies about the value, and must lie in w ---------------------------------------------------
def _inverse(x: U64) -> U64:
    out, exponent = extension.ONE, P31**6 - 2
    while exponent:
        if exponent & 1:
            out = extension.multiply(out, x)
        x, exponent = extension.multiply(x, x), exponent >> 1
    return out


def _solved(a: Any, count: int) -> Any:
    """The solution of equations [count, count + 1] over GF(p), the right sides in the last column."""
    for column in range(count):
        found = next(i for i in range(column, count) if a[i, column])
        a[[column, found]] = a[[found, column]]
        a[column] = a[column] * pow(int(a[column, column]), P31 - 2, P31) % P31
        for i in range(count):
            if i != column:
                a[i] = (a[i] - a[i, column] * a[column]) % P31
    return a[:, -1]


def lying(
    kind: str,
    false: Answered,
    guess: Callable[[Shape], Sequence[int]] = lambda shape: (),
    *,
    fit: bool = False,
) -> tuple[bytes, PublicKey]:
    """A proof of a false answer, and the public key that it is for.

    The prover knows some positions of the first code before w; or it publishes, and makes the code's
    positions ``fit`` afterwards.
    """
    mine, m = published(kind), model(kind)
    key, layout = mine.key, mine.key.layout
    claim = check_receipt(key, false.request, false.receipt, None)
    challenge = coded_challenge(claim, false.cells)
    digest = absorbed(Proved(claim, challenge, false.opening)).digest
    transcript = begun(key.public_id, POSITIONS, [digest])
    sums = Sums(key, transcript.challenge("rows").read(32))
    false.opening.seek(0)
    holder = CodedHolder(key, sums, 0, POSITIONS)
    audit(holder, false.request, claim, challenge, false.opening, kernels=KERNELS, progress=None)
    shape = Shape.of(layout, list(sums.a))
    matrices = {p.number: p.matrix(m.matrix(p.weight)) for p in layout.planes}
    point = evaluation._Point.draw(transcript, shape)
    eq = sumcheck.equality(point.s)
    claimed = extension.zeros(1)
    tables = np.zeros((2, 6, 1 << shape.plane_bits, 1 << shape.column_bits), np.uint64)
    for at, plane in enumerate(shape.planes):
        part, beta = np.ascontiguousarray(eq[:, : plane.m]), point.beta[:, at : at + 1]
        u = extension.total(extension.multiply(part, sums.u[plane.number]))
        claimed = extension.add(claimed, extension.multiply(u, beta))
        tables[0, :, at, : plane.d] = KERNELS.fold(matrices[plane.number], extension.words(part))
        tables[1, :, at, : plane.d] = extension.multiply(sums.a[plane.number], beta)
    f, g = tables[0].reshape(6, -1), tables[1].reshape(6, -1)
    draw, rounds, end = evaluation._rounds(transcript), [], []
    for _ in range(shape.rounds):  # all of the lie is in the value at 0; then the own claim is followed
        half = f.shape[1] // 2
        (f0, f1), (g0, g1) = (f[:, :half], f[:, half:]), (g[:, :half], g[:, half:])
        df, dg = extension.subtract(f1, f0), extension.subtract(g1, g0)
        at0, at1, square = (
            extension.total(extension.multiply(a, b)) for a, b in ((f0, g0), (f1, g1), (df, dg))
        )
        at0 = extension.subtract(claimed, at1)
        rounds.append(np.concatenate([at0, at1, square], axis=1)[None])
        x = draw(rounds[-1])
        end.append(x)
        linear = extension.subtract(extension.subtract(at1, at0), square)
        steep = extension.add(linear, extension.multiply(square, x))
        claimed = extension.add(at0, extension.multiply(x, steep))
        f, g = extension.add(f0, extension.multiply(df, x)), extension.add(g0, extension.multiply(dg, x))
    end = end[::-1]
    gap = extension.subtract(extension.multiply(claimed, _inverse(g)), f)
    combined, parts = [], []
    for number in shape.codes:
        rows = evaluation._row_part(shape, number, point.s, end, extension.multiply)
        parts.append(rows.astype(object))
        whole = np.concatenate(
            [layout.messages(p, matrices[p.number], 0, p.rows) for p in layout.of_code(number)]
        )
        combined.append(KERNELS.fold(whole, extension.words(rows)))
    # A message in GF(p) whose word is zero at the known positions closes the gap.
    first = shape.codes[0]
    circle = layout.codes[first].circle
    known = circle.basis(guess(shape)).astype(object)
    column = evaluation._column_part(shape, first, point.s, end, extension.multiply).astype(object)
    count = len(known) + 6
    sides = np.concatenate([np.zeros((len(known), 1), object), gap.astype(object)])
    equations = np.concatenate([np.concatenate([known, column])[:, :count], sides], axis=1)
    combined[0][0, :count] = (combined[0][0, :count] + _solved(equations, count).astype(np.uint64)) % P31
    for w in combined:
        transcript.absorb("combined", evaluation._le(w))
    opened = []
    places = evaluation._positions(transcript, shape, POSITIONS)
    for number, place in zip(shape.codes, places, strict=True):
        basis = layout.codes[number].circle.basis(place)
        planes = [layout.messages(p, matrices[p.number], 0, p.rows) for p in layout.of_code(number)]
        leaves = np.ascontiguousarray(KERNELS.project(np.concatenate(planes), basis).T)
        tree = mine.trees[number]
        if fit and number == first:
            digests = np.array([list(tree.leaf(q)) for q in range(circle.size)], np.uint8)
            for leaf, row in zip(leaves, basis.astype(object), strict=True):
                wanted = combined[0].astype(object) @ row - parts[0] @ leaf.astype(object)
                equations = np.concatenate([parts[0][:, :6], wanted[:, None]], axis=1) % P31
                leaf[:6] = (leaf[:6] + _solved(equations, 6).astype(np.uint64)) % P31
            digests[place] = digests_of(leaves, layout, number, KERNELS)
            tree = merkle.Tree(SUITE, digests, KERNELS.hash_rows)
            key = replace(key, roots=tuple(tree.root if i == first else r for i, r in enumerate(key.roots)))
        opened.append(Opened(leaves, tuple(tuple(tree.range_proof(q, q + 1)) for q in place)))
    made = Evaluation(shape, np.array(rounds), tuple(combined), tuple(opened)).encode()
    out, size = io.BytesIO(), false.opening.seek(0, 2)
    head = ProofHead(key.public_id, POSITIONS, (false.cells,), (digest,))
    write_proof(out, head, [false.receipt], [(false.opening, size)], made)
    return out.getvalue(), key


def test_a_publisher_who_fits_the_code_to_a_proof_is_found_by_the_public_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The public id is absorbed first. Were it not, the code could be made after all challenges are known."""
    kind = "w8a16"
    false = altered(kind, {(head_cells(kind)[0], 0, 0): 1})

    def check() -> None:
        data, key = lying(kind, false, fit=True)
        assert key.public_id != published(kind).key.public_id
        verify_proof(key, [false.request], io.BytesIO(data), kernels=KERNELS, security=SECURITY)

    with pytest.raises(VerificationError, match=r"step [178]: evaluation"):
        check()

    begin = begun

    def without_id(public_id: bytes, positions: int, requests: Sequence[bytes]) -> Transcript:
        return begin(bytes(32), positions, requests)

    monkeypatch.setattr(proving, "begun", without_id)
    monkeypatch.setitem(lying.__globals__, "begun", without_id)
    check()


def test_positions_known_before_w_would_let_a_false_value_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = "w8a16"
    false = altered(kind, {(head_cells(kind)[0], 0, 0): 1})

    def known(shape: Shape) -> list[int]:
        return draw_positions(Xof("known"), shape.layout.codes[shape.codes[0]].circle.size, POSITIONS)

    data, _ = lying(kind, false, known)
    with pytest.raises(VerificationError, match="step 8: evaluation: the combined weights are not those"):
        verified(kind, data)

    def fixed(transcript: object, shape: Shape, count: int) -> list[list[int]]:
        return [draw_positions(Xof("known"), shape.layout.codes[c].circle.size, count) for c in shape.codes]

    monkeypatch.setattr(evaluation, "_positions", fixed)
    assert verified(kind, lying(kind, false, known)[0], request(kind))


def test_an_opening_that_changes_between_its_readings_is_rejected() -> None:
    """Whoever can change the file then knows the random rows before the hints (the mutant shows that)."""
    with pytest.raises(VerificationError, match="step 6: the opening is not the one that was read before"):
        rows_known_first().verify()
