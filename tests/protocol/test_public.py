"""Public proofs: the third source of products, columns hashed from a transcript."""

from __future__ import annotations

import io
import math
import os
from dataclasses import replace
from typing import Any

import pytest

import synthetic
from adversary import routed
from adversary.mutants import Turncoat
from proofcompute.arrays import I8, U32
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.encoding.wire import decode, encode
from proofcompute.errors import InputError, VerificationError
from proofcompute.freivalds import columns
from proofcompute.freivalds.columns import project_weight
from proofcompute.protocol.cells import public_challenge
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover.node import Node as Prover
from proofcompute.testing.subject import Run
from proofcompute.verifier import Verified, check_receipt, verify_public

CELLS = 12


def public_run(**changes: object) -> tuple[Run, bytes]:
    m = synthetic.model()
    run = synthetic.prove(m, synthetic.request(m, **changes))  # type: ignore[arg-type]
    return run, run.open(public_challenge(run.claim, CELLS))


def check(run: Run, opening: bytes) -> Verified:
    return verify_public(
        run.model,
        run.request,
        run.data,
        CELLS,
        io.BytesIO(opening),
        kernels=synthetic.KERNELS,
    )


def test_an_honest_public_proof_passes() -> None:
    run, opening = public_run(sampling=synthetic.SAMPLED)
    result = check(run, opening)
    assert result.cells == CELLS
    assert result.soundness_bits == pytest.approx(-math.log2(2.0**-106 + 2.0**-97), abs=1e-6)


def test_a_public_proof_from_a_pipe_is_the_callers_mistake() -> None:
    run, opening = public_run()
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as stream, pytest.raises(InputError, match="read twice"):
        verify_public(run.model, run.request, run.data, CELLS, stream, kernels=synthetic.KERNELS)
    assert check(run, opening).cells == CELLS


def test_cells_do_not_depend_on_the_signature() -> None:
    run, _ = public_run()
    other = Claim(run.receipt.signed(bytes(64)), run.claim.statement)
    assert public_challenge(other, CELLS).cells == public_challenge(run.claim, CELLS).cells


def test_a_forged_hint_changes_its_own_columns_and_is_caught() -> None:
    run, opening = public_run()
    stream, frames = io.BytesIO(opening), []
    forged = 0
    while (frame := read_frame(stream, limit=1 << 24, what="opening")) is not None:
        part: Any = decode(frame, limit=1 << 24, what="part")
        if len(part) == 3 and part[2] and not forged:  # the first cell with products: alter one accumulator
            packed = bytearray(part[2][-1][-1])
            packed[len(packed) // 2] ^= 1
            frame = encode((part[0], part[1], (*part[2][:-1], (*part[2][-1][:-1], bytes(packed)))))
            forged += 1
        frames.append(frame)
    assert forged == 1
    signed = synthetic.closed(frames[:-1], run.receipt, public_challenge(run.claim, CELLS))
    with pytest.raises(VerificationError, match="product check failed") as caught:
        check(run, signed)
    assert caught.value.step == 8
    assert caught.value.attributable


class Watched(io.BytesIO):
    """Notes how far it was read."""

    furthest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell())
        return data

    def readinto(self, target: Any, /) -> int:
        found = super().readinto(target)
        self.furthest = max(self.furthest, self.tell())
        return found


def test_an_opening_without_end_is_not_read_to_its_end() -> None:
    """What is read before anything is checked is bounded by the cells asked for."""
    run, opening = public_run()
    more = io.BytesIO()
    for _ in range(100):
        write_frame(more, bytes(1 << 16))
    stream = Watched(opening + more.getvalue())
    with pytest.raises(VerificationError, match="holds more than was asked for"):
        verify_public(
            run.model,
            run.request,
            run.data,
            CELLS,
            stream,
            kernels=synthetic.KERNELS,
        )
    assert stream.furthest == len(opening) + 1


def test_an_empty_opening_is_rejected() -> None:
    run, _ = public_run()
    with pytest.raises(VerificationError, match="empty"):
        check(run, b"")


def test_columns_come_from_the_hints_that_are_checked() -> None:
    """Whoever shows other hints first knows S before choosing those that are checked."""
    run, opening = public_run()

    def shown(first: bytes) -> Verified:
        stream, request = Turncoat(first, opening), run.request
        return verify_public(run.model, request, run.data, CELLS, stream, kernels=synthetic.KERNELS)

    assert shown(opening).cells == CELLS
    with pytest.raises(VerificationError, match="changed while it was read") as caught:
        shown(opening[:1000] + bytes([opening[1000] ^ 1]) + opening[1001:])
    assert caught.value.step == 6


def test_the_cost_of_trying_receipts_until_the_cells_suit_is_stated_in_bits() -> None:
    """Receipts that differ in nothing but how long the trace is kept cost a hash each."""
    run, opening = public_run()
    result = check(run, opening)
    assert result.grinding_bits(0.25) == pytest.approx(-math.log2(1 - result.detects_share(0.25)))
    assert result.grinding_bits(0.25) >= -CELLS * math.log2(0.75)
    assert result.grinding_bits(0) == 0
    assert result.grinding_bits(1) == math.inf

    altered = set(range(math.ceil(0.25 * result.total)))  # the first segment's, and some of the next

    def suits(receipt: Receipt) -> bool:
        firsts = run.stored.statement.first_rows
        starts = [sum(result.rows - f for f in firsts[:s]) for s in range(len(firsts))]
        cells = public_challenge(Claim(receipt, run.claim.statement), CELLS).cells
        return not any(starts[c.segment] + c.a - firsts[c.segment] in altered for c in cells)

    tried, budget = 3000, 5
    lucky = [suits(replace(run.receipt, retention=i)) for i in range(tried)]
    expected = tried * 2.0 ** -result.grinding_bits(0.25)
    assert sum(lucky) == pytest.approx(expected, abs=5 * math.sqrt(expected))

    # provers that try five receipts each: found are those whose every receipt hits an altered cell
    provers = tried // budget
    found = sum(not any(lucky[i : i + budget]) for i in range(0, tried, budget))
    after = result.detects_after(0.25, budget)
    assert after < result.detects_share(0.25)
    assert found == pytest.approx(provers * after, abs=5 * math.sqrt(provers * after * (1 - after)))


def test_detection_after_grinding_has_the_right_ends() -> None:
    run, opening = public_run()
    result = check(run, opening)
    share, miss = 0.25, 1 - result.detects_share(0.25)
    assert result.detects_after(share, 1) == pytest.approx(result.detects_share(share))
    assert result.detects_after(share, 1000) == pytest.approx((1 - miss) ** 1000, abs=1e-12)
    assert result.detects_after(share, 0) == 1
    assert result.detects_after(share, 2.0**80) == 0
    assert result.detects_after(0, 2.0**50) == 0  # nothing is altered, so nothing is found
    assert result.detects_after(1, 2.0**80) == 1
    assert replace(result, cells=result.total).detects_after(0.01, 2.0**80) == 1


def test_each_matrix_of_a_mixture_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells of a public proof have the same columns, so what one cell needed serves the others."""
    m = routed.model()
    request = Request(m.model_id, (("x", routed.rows(20).tobytes()),), bytes(32))
    node = Prover(m, identity=synthetic.NODE, device="numpy")
    answer = node.answer(request)
    claim = check_receipt(m, request, answer.receipt, None)
    opening = node.open(request, answer.receipt, public_challenge(claim, 40))
    projected: list[int] = []

    def counted(limbs: I8, s: U32, kernels: Any) -> U32:
        projected.append(id(limbs.base))
        return project_weight(limbs, s, kernels)

    def verified(budget: int) -> tuple[int, Verified]:
        projected.clear()
        monkeypatch.setattr(columns, "MOST_KEPT", budget)
        given = m, request, answer.receipt, 40, io.BytesIO(opening)
        found = verify_public(*given, kernels=synthetic.KERNELS)
        return len(projected), found

    monkeypatch.setattr("proofcompute.freivalds.columns.project_weight", counted)
    kept, found = verified(1 << 20)
    assert kept <= 1 + 2 * routed.EXPERTS  # the router, and both matrices of each expert
    again, same = verified(0)
    assert again > 3 * kept
    assert found == same


def test_cells_follow_from_a_beacon_whose_attestor_is_believed() -> None:
    pytest.importorskip("py_ecc")
    from beacons.world import ATTESTOR, OTHER, beacon

    run, _ = public_run()
    drawn = beacon(receipt_digest=run.receipt.digest, request_digest=run.request.digest)
    challenge = public_challenge(run.claim, CELLS, drawn.seed)
    assert challenge.cells != public_challenge(run.claim, CELLS).cells
    opening = run.open(challenge)

    def shown(made: Any, attestors: Any) -> Verified:
        given = run.model, run.request, run.data, CELLS, io.BytesIO(opening)
        return verify_public(*given, kernels=synthetic.KERNELS, beacon=made, attestors=attestors)

    found = shown(drawn, [ATTESTOR.public, OTHER.public])
    assert (found.cells, found.attempts) == (CELLS, 2)
    assert found.detects_after(0.25, 2) > 0.5
    other = beacon(receipt_digest=bytes(32), request_digest=run.request.digest)
    for made, attestors, text in (
        (drawn, [OTHER.public], "none of those you believe"),
        (other, [ATTESTOR.public], "another receipt"),
    ):
        with pytest.raises(VerificationError, match=text) as caught:
            shown(made, attestors)
        assert caught.value.step == 6
    with pytest.raises(InputError, match="believe"):
        shown(drawn, [])
    with pytest.raises(InputError, match="believe"):
        shown(None, [ATTESTOR.public])
    with pytest.raises(VerificationError, match="does not open"):  # nor without the beacon
        check(run, opening)
