"""What a sampled public proof opens: runs, cells from beacons, and what its verifier accepts."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

import synthetic
from beacons.world import ATTESTOR, OTHER, statement
from beacons.world import ROUND as PUBLISHED_ROUND
from proofcompute.beacons import Beacon, Round
from proofcompute.errors import FormatError, InputError, VerificationError
from proofcompute.protocol.samples import Sample
from proofcompute.prover.node import Node
from proofcompute.public.proof import ALL, Proof, ProofHead, Shown, write_proof
from proofcompute.public.proving import Answered, coded_challenge
from proofcompute.verifier import check_receipt
from public.forging import altered, head_cells
from public.world import KERNELS, answered, model, proof, verified

KIND = "w8a16"
RUNS = Sample(2, 3, 1)


def drawn(cells: int | Sample, beacon: Beacon | None = None) -> Answered:
    """The answer of the world's node, with other cells open."""
    one = answered(KIND)
    node = Node(model(KIND), synthetic.NODE, device=KERNELS)
    node.commit(node.run(one.request))
    claim, opening = check_receipt(model(KIND), one.request, one.receipt, None), io.BytesIO()
    node.open(one.request, one.receipt, coded_challenge(claim, cells, beacon), opening)
    return Answered(one.request, one.receipt, opening, cells, beacon)


def attested(by: Any = ATTESTOR, **changes: Any) -> Beacon:
    """A published round, and a statement as if it had been made before it, about the world's receipt."""
    one = answered(KIND)
    receipt = check_receipt(model(KIND), one.request, one.receipt, None).receipt.digest
    about = {"receipt_digest": receipt, "request_digest": one.request.digest, **changes}
    return Beacon(statement(by, **about), PUBLISHED_ROUND.signature)


@pytest.fixture
def rounds_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairings are checked by the tests of beacons; here every round holds."""
    monkeypatch.setattr(Round, "check", lambda self, chain: None)


def test_runs_are_proved() -> None:
    data = proof(KIND, drawn(RUNS))
    (found,) = verified(KIND, data, cells=RUNS)
    assert 2 < found.cells < found.total
    assert found.drawn is not None
    assert found.drawn.runs == 2
    assert 0 < found.detects_after(0.5, 1) <= 1
    for wanted in (Sample(2, 3, 2), Sample(2, 4, 0), Sample(3, 3, 0), 2, ALL):
        with pytest.raises(VerificationError, match=r"step 10: .* cells are proved, and not"):
            verified(KIND, data, cells=wanted)
    for wanted in (Sample(2, 2, 1), Sample(1, 3, 0), 1):
        assert verified(KIND, data, cells=wanted) == (found,)
    assert verified(KIND, proof(KIND), cells=RUNS)[0].complete


@pytest.mark.usefixtures("rounds_hold")
def test_cells_may_be_drawn_from_a_beacon() -> None:
    beacon = attested()
    for cells in (4, RUNS):
        data = proof(KIND, drawn(cells, beacon))
        (found,) = verified(KIND, data, cells=cells, attestors=[ATTESTOR.public, OTHER.public])
        assert found.attempts == 2
        assert verified(KIND, data, cells=cells, attestors=[ATTESTOR.public])[0].attempts == 1
    claim = check_receipt(model(KIND), answered(KIND).request, answered(KIND).receipt, None)
    later = replace(beacon, round_signature=bytes(48))
    challenges = {coded_challenge(claim, 4, b).cells for b in (None, beacon, later)}
    assert len(challenges) == 3


@pytest.mark.usefixtures("rounds_hold")
def test_beacons_that_say_nothing_are_refused() -> None:
    good = attested()
    for wrong, text in (
        (attested(receipt_digest=bytes(32)), "another receipt"),
        (attested(request_digest=bytes(32)), "another request"),
        (attested(OTHER), "none of those you believe"),
        (replace(good, statement=good.statement.signed(bytes(64))), "signature does not hold"),
    ):
        one = replace(drawn(4, good), beacon=wrong)
        data = _shown(proof(KIND, drawn(4, good)), replace(_head(good).requests[0], beacon=wrong.encode()))
        with pytest.raises(VerificationError, match=f"step 6: .*{text}"):
            verified(KIND, data, cells=4, attestors=[ATTESTOR.public])
        if wrong.receipt_digest != good.receipt_digest:
            with pytest.raises(InputError, match="a beacon draws cells of the receipt that it names"):
                proof(KIND, one)
    data = proof(KIND, drawn(4, good))
    with pytest.raises(InputError, match="without an attestor whom you believe"):
        verified(KIND, data, cells=4)
    damaged = _shown(data, replace(_head(good).requests[0], beacon=good.encode()[:-1]))
    with pytest.raises(VerificationError, match="step 1"):
        verified(KIND, damaged, cells=4, attestors=[ATTESTOR.public])
    with pytest.raises(InputError, match="a proof of all has none"):
        proof(KIND, replace(answered(KIND), beacon=good))


def _head(beacon: Beacon) -> ProofHead:
    return Proof.read(io.BytesIO(proof(KIND, drawn(4, beacon)))).head


def _shown(data: bytes, shown: Shown) -> bytes:
    """The proof with something else in its head."""
    found, out = Proof.read(io.BytesIO(data)), io.BytesIO()
    made = found.evaluation.read(found.evaluation_size)
    openings = [(o, len(o.read(1 << 30))) for o in found.openings]
    write_proof(out, replace(found.head, requests=(shown,)), found.receipts, openings, made)
    return out.getvalue()


@pytest.mark.usefixtures("rounds_hold")
def test_who_believes_attestors_takes_no_cells_of_the_receipts_hash() -> None:
    """Whoever made the proof leaves the beacon out, and tries receipts."""
    data = proof(KIND, drawn(4))
    assert verified(KIND, data, cells=4)[0].attempts is None
    with pytest.raises(VerificationError, match="step 6: the cells are drawn by the receipt's hash"):
        verified(KIND, data, cells=4, attestors=[ATTESTOR.public])
    assert verified(KIND, proof(KIND), attestors=[ATTESTOR.public])[0].complete


@pytest.mark.usefixtures("rounds_hold")
def test_cells_of_another_round_are_not_those_of_the_proof() -> None:
    """A prover who opens the cells of one round, and shows another that fits its statement."""
    good = attested()
    other = replace(good, round_signature=bytes(48))
    data = _shown(proof(KIND, drawn(4, other)), replace(_head(other).requests[0], beacon=good.encode()))
    with pytest.raises(VerificationError, match=r"step (6|7|8)"):
        verified(KIND, data, cells=4, attestors=[ATTESTOR.public])


@pytest.mark.usefixtures("rounds_hold")
def test_grinding_receipts_hides_a_cell_and_a_beacon_ends_it() -> None:
    """A node tries receipts until the drawn cell is not the altered one; a round draws cells once."""
    bad, hidden = head_cells(KIND)[0], 0
    one = altered(KIND, {(bad, 0, 0): 1})
    claim = check_receipt(model(KIND), one.request, one.receipt, None)
    cell = coded_challenge(claim, 10_000).cells[bad]
    tried = [replace(claim, receipt=replace(claim.receipt, retention=n)) for n in range(60)]
    hidden = sum(cell not in coded_challenge(c, 30).cells for c in tried)
    assert 0 < hidden < 60  # some receipts hide it, so a prover needs to try few
    total = claim.statement.cells
    assert abs(hidden / 60 - (1 - 30 / total)) < 0.25


def test_a_real_round_draws_cells() -> None:
    pytest.importorskip("py_ecc")
    data = proof(KIND, drawn(4, attested()))
    assert verified(KIND, data, cells=4, attestors=[ATTESTOR.public])[0].attempts == 1
    other = replace(attested(), round_signature=PUBLISHED_ROUND.signature[:-1] + b"\0")
    with pytest.raises(VerificationError, match="step 6"):
        verified(KIND, proof(KIND, drawn(4, other)), cells=4, attestors=[ATTESTOR.public])


def test_heads_are_canonical() -> None:
    shown = Shown(RUNS, bytes(32), b"x")
    head = ProofHead(bytes(32), 5, (shown, Shown(3, bytes(32)), Shown(ALL, bytes(32))))
    assert ProofHead.decode(head.encode()) == head
    for wrong in (Shown(Sample(0, 0, 3), bytes(32)), Shown(ALL, bytes(32), b"x")):
        with pytest.raises(FormatError):
            ProofHead.decode(replace(head, requests=(wrong,)).encode())


def test_a_proof_that_names_too_many_cells_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    data = proof(KIND, drawn(4))
    monkeypatch.setattr("proofcompute.protocol.cells.MAX_CELLS", 3)
    with pytest.raises(VerificationError, match=r"step 1: .* cells cannot be drawn"):
        verified(KIND, data, cells=2)
