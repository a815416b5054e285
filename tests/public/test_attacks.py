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

from proofcompute.arrays import U32, U64
from proofcompute.codes import extension, sumcheck
from proofcompute.codes.circle import draw_positions
from proofcompute.commitments import merkle
from proofcompute.commitments.hashing import Transcript, Xof
from proofcompute.errors import VerificationError
from proofcompute.freivalds import sets as hinting
from proofcompute.freivalds.primes import P31
from proofcompute.public import evaluation, proving, sums
from proofcompute.public.coding import SUITE, digests_of
from proofcompute.public.holder import CodedHolder
from proofcompute.public.key import PublicKey
from proofcompute.public.message import Evaluation, Opened, Shape, le
from proofcompute.public.proof import ProofHead, Shown, write_proof
from proofcompute.public.proving import Answered, coded_challenge, verify_proof
from proofcompute.public.sums import Sums, random_rows
from proofcompute.public.transcript import Absorbed, begun
from proofcompute.verifier import check_receipt
from proofcompute.verifier.verify import audit
from public.forging import altered, head_cells
from public.world import (
    KERNELS,
    POSITIONS,
    SECURITY,
    model,
    proof,
    published,
    request,
    verified,
)


@pytest.mark.parametrize("kind", ["w8a16", "w16a16", "w8a8"])
@pytest.mark.parametrize("off", [1, -1, 3])
def test_one_wrong_accumulator_of_one_cell_is_found(kind: str, off: int) -> None:
    data = proof(kind, altered(kind, {(head_cells(kind)[1], 0, 0): off}))
    with pytest.raises(VerificationError, match="step 8: evaluation: a round of sumcheck"):
        verified(kind, data)


def _without_cells(seed: bytes, product: int, numbers: range, n: int) -> U32:
    return random_rows(bytes(32), product, numbers, n)


def _without_sets(seed: bytes, product: int, numbers: range, n: int) -> U32:
    return np.concatenate([random_rows(seed, product, range(1), n) for _ in numbers])


def test_random_rows_that_cells_share_would_let_errors_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = head_cells("w8a16")
    false = altered("w8a16", {(first, 0, 0): 1, (second, 0, 0): -1})
    with pytest.raises(VerificationError, match="step 8: evaluation"):
        verified("w8a16", proof("w8a16", false))
    monkeypatch.setattr(sums, "random_rows", _without_cells)
    assert verified("w8a16", proof("w8a16", false))


def test_random_rows_that_limbs_share_would_let_errors_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loud rows have a set for each limb of X; here all have, so that a small model shows it."""
    monkeypatch.setattr(hinting, "bound_together", lambda largest, square: None)
    from public import world

    world._opened.cache_clear()
    try:
        false = altered("w8a16", {(head_cells("w8a16")[0], 0, 0): 1, (head_cells("w8a16")[0], 0, 1): -1})
        with pytest.raises(VerificationError, match="step 8: evaluation"):
            verified("w8a16", proof("w8a16", false))
        monkeypatch.setattr(sums, "random_rows", _without_sets)
        assert verified("w8a16", proof("w8a16", false))
    finally:
        world._opened.cache_clear()


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
    publish: bool = True,
    close: bool = True,
) -> tuple[bytes, PublicKey]:
    """A proof of a false answer, and the public key that it is for.

    The prover knows some positions of the first code before w; or it makes the words at its positions ``fit``
    afterwards, and the code too if it publishes; or it does not ``close`` the gap between the value that the
    rounds end in and that of the weights.
    """
    mine, m = published(kind), model(kind)
    key, layout = mine.key, mine.key.layout
    claim = check_receipt(key, false.request, false.receipt, None)
    challenge = coded_challenge(claim, false.cells)
    heard, summed = Absorbed(key.public_id, claim.receipt, challenge), Sums(key)
    false.opening.seek(0)
    holder = CodedHolder(summed, heard.seeds, POSITIONS)
    audit(
        holder, false.request, claim, challenge, false.opening, kernels=KERNELS, progress=None, hearer=heard
    )
    digest = heard.digest()
    transcript = begun(key.public_id, POSITIONS, [digest])
    shape = Shape.of(layout, list(summed.a))
    matrices = {p.number: p.matrix(m.matrix(p.weight)) for p in layout.planes}
    point = evaluation._Point.draw(transcript, shape)
    eq = sumcheck.equality(point.s)
    claimed = extension.zeros(1)
    tables = np.zeros((2, 6, 1 << shape.plane_bits, 1 << shape.column_bits), np.uint64)
    for at, plane in enumerate(shape.planes):
        part, beta = np.ascontiguousarray(eq[:, : plane.m]), point.beta[:, at : at + 1]
        u = extension.total(extension.multiply(part, summed.u[plane.number]))
        claimed = extension.add(claimed, extension.multiply(u, beta))
        tables[0, :, at, : plane.d] = KERNELS.fold(matrices[plane.number], extension.words(part))
        tables[1, :, at, : plane.d] = extension.multiply(summed.a[plane.number], beta)
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
    if close:
        solution = _solved(equations, count).astype(np.uint64)
        combined[0][0, :count] = (combined[0][0, :count] + solution) % P31
    for w in combined:
        transcript.absorb("combined", le(w))
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
            tree = merkle.Tree(SUITE, digests, KERNELS.hash_rows) if publish else tree
            key = replace(key, roots=tuple(tree.root if i == first else r for i, r in enumerate(key.roots)))
        opened.append(Opened(leaves, tuple(tuple(tree.range_proof(q, q + 1)) for q in place)))
    made = Evaluation(shape, np.array(rounds), tuple(combined), tuple(opened)).encode()
    out, size = io.BytesIO(), false.opening.seek(0, 2)
    head = ProofHead(key.public_id, POSITIONS, (Shown(false.cells, digest),))
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

    begin, absorb = begun, Absorbed.__init__

    def without_id(public_id: bytes, positions: int, requests: Sequence[bytes]) -> Transcript:
        return begin(bytes(32), positions, requests)

    def of_any_id(self: Absorbed, public_id: bytes, *more: Any) -> None:
        absorb(self, bytes(32), *more)

    monkeypatch.setattr(Absorbed, "__init__", of_any_id)
    with pytest.raises(VerificationError, match=r"step [178]: evaluation"):
        check()
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
