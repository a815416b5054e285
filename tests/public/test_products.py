"""Public proofs of GEMM jobs: products with a published B are checked without B."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthetic
from beacons.world import ATTESTOR, OTHER, ROUND, statement
from proofcompute.beacons import Beacon, Round
from proofcompute.codes.extension import words
from proofcompute.codes.sumcheck import equality
from proofcompute.commitments.hashing import Transcript, Xof
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, VerificationError
from proofcompute.jobs import NOT_RECEIVED, MatrixId, check_product_receipt, product_request, prove_product
from proofcompute.jobs.messages import ProductReceipt
from proofcompute.jobs.proof import ProductProof
from proofcompute.public import evaluation, products
from proofcompute.public.factor import PublicFactor, PublishedFactor, publish_factor
from proofcompute.public.holder import error_bits
from proofcompute.public.message import Shape
from proofcompute.public.products import ProductAnswered, product_rows, prove_products, verify_products
from proofcompute.public.proof import ALL, Proof, ProofHead, write_proof
from proofcompute.public.transcript import begun
from public.forging import unseen
from public.world import KERNELS, POSITIONS, SECURITY, changed

SHAPES = {"one": ((40, 7), (5, 40)), "stack": ((2, 33, 9), (3, 2, 4, 33)), "short": ((1, 1), (2, 1))}
"""Shapes of B and of A."""


@cache
def factors(kind: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(4)
    b, a = (rng.integers(-128, 128, shape).astype(np.int8) for shape in SHAPES[kind])
    if kind == "short":
        b[:] = a[:] = -128
    return a, b


@cache
def published(kind: str) -> PublishedFactor:
    return publish_factor(factors(kind)[1], KERNELS)


def signed(kind: str, c: Any | None = None, nonce: int = 0, a: Any | None = None) -> ProductProof:
    """A node's product, or the C that it signs in its place."""
    left, b = factors(kind)
    left = left if a is None else a
    asked = product_request(left, b, nonce=bytes([nonce]) * 32, device="numpy")
    done = prove_product(asked, left, b, synthetic.NODE, device="numpy")
    if c is None:
        return done
    from proofcompute.jobs.arrays import flat
    from proofcompute.jobs.commitment import RowTree

    tree = RowTree.of(flat(c), asked.suite, KERNELS)
    receipt = replace(done.receipt, c=MatrixId.under(flat(c), tree), signature=b"")
    receipt = receipt.signed(synthetic.NODE.sign(receipt.signed_digest))
    return replace(done, receipt=receipt, c=c, _c_tree=tree)


def answered(done: ProductProof, rows: int = ALL, beacon: Beacon | None = None) -> ProductAnswered:
    receipt, opening = done.receipt.encode(), io.BytesIO()
    claim = check_product_receipt(done.request, receipt, NOT_RECEIVED, device="numpy")
    done.open_rows(product_rows(claim, rows, beacon), opening)
    return ProductAnswered(done.request, receipt, opening, rows, beacon)


def attested(done: ProductProof, by: Any = ATTESTOR, **changes: Any) -> Beacon:
    """A published round, and a statement as if it had been made before it, about a product's receipt."""
    about = {"receipt_digest": done.receipt.digest, "request_digest": done.request.digest, **changes}
    return Beacon(statement(by, **about), ROUND.signature)


def proved(kind: str, *some: ProductAnswered) -> bytes:
    out = io.BytesIO()
    prove_products(published(kind), some, out, positions=POSITIONS, kernels=KERNELS, device="numpy")
    return out.getvalue()


def verified(kind: str, data: bytes, *done: ProductProof, rows: int = ALL, **options: Any) -> Sequence[Any]:
    given: dict[str, Any] = {"received": [one.c for one in done], "security": SECURITY, **options}
    requests = [one.request for one in done]
    key = given.pop("key", published(kind).key)
    return verify_products(
        key, requests, io.BytesIO(data), kernels=KERNELS, rows=rows, device="numpy", **given
    )


@pytest.mark.parametrize("kind", SHAPES)
def test_an_honest_product_is_accepted_without_b(kind: str) -> None:
    done = signed(kind)
    assert np.array_equal(done.c, factors(kind)[0].astype(np.int64) @ factors(kind)[1])
    (found,) = verified(kind, proved(kind, answered(done)), done)
    assert (found.complete, found.received) == (True, True)
    bits = error_bits(published(kind).key.layout, POSITIONS) - 80
    assert found.soundness_bits == pytest.approx(min(bits, 96.99), abs=0.01)
    (drawn,) = verified(kind, proved(kind, answered(done, 2)), done, rows=2)
    assert drawn.rows == 2


def test_each_product_of_a_proof_is_verifiable_alone() -> None:
    kind = "one"
    some = [signed(kind, nonce=i, a=factors(kind)[0][: 5 - i]) for i in range(3)]
    data = proved(kind, *map(answered, some))
    whole = verified(kind, data, *some)
    for i, done in enumerate(some):
        (found,) = verified(kind, data, done, received=[NOT_RECEIVED])
        assert (found.rows, found.received) == (whole[i].rows, False)
    with pytest.raises(VerificationError, match="step 4: the proof is not of request"):
        verified(kind, data, signed(kind, nonce=7))


@pytest.mark.parametrize("off", [1, -1, (1 << 31) - 1, -(1 << 31) + 1])
@pytest.mark.parametrize("kind", SHAPES)
def test_one_wrong_element_is_caught(kind: str, off: int) -> None:
    """Also one that is p more or less, which has the same residue."""
    right = signed(kind).c
    c = right.copy()
    place = tuple(size - 1 for size in c.shape)
    c[place] = np.int64(c[place]) + off if -(1 << 31) <= int(c[place]) + off < 1 << 31 else 1 << 30
    done = signed(kind, c)
    data = proved_by_force(kind, answered(done))
    with pytest.raises(VerificationError, match="step 8"):
        verified(kind, data, done)


def proved_by_force(kind: str, *some: ProductAnswered) -> bytes:
    """A prover who does not look at bounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "MAX_ACCUMULATOR", 1 << 40)
        return proved(kind, *some)


def test_elements_of_the_same_residue_pass_without_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, p = "one", (1 << 31) - 1
    c = signed(kind).c.copy()
    c[0, 0] += -p if c[0, 0] > 0 else p
    done = signed(kind, c)
    data = proved_by_force(kind, answered(done))
    with pytest.raises(VerificationError, match="larger than any product"):
        verified(kind, data, done)
    monkeypatch.setattr(products, "MAX_ACCUMULATOR", 1 << 40)
    assert verified(kind, data, done)


def test_rows_that_are_drawn_once_would_let_errors_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of two ranges that cancel, if their random rows were the same."""
    kind = "one"
    c = signed(kind).c.copy()
    c[0, 0] += 1
    c[3, 0] -= 1
    done = signed(kind, c)
    with pytest.raises(VerificationError, match="step 8: evaluation"):
        verified(kind, proved(kind, answered(done, 4)), done, rows=4)

    def fixed(self: Transcript, label: str) -> Xof:
        return Xof("fixed") if label == "random rows" else drawn(self, label)

    drawn = Transcript.challenge
    monkeypatch.setattr(Transcript, "challenge", fixed)
    monkeypatch.setattr("proofcompute.jobs.claim.ProductClaim._most", lambda self: 1)
    assert verified(kind, proved(kind, answered(done)), done)


def test_digests_in_the_head_that_nobody_compares_would_let_a_false_product_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All challenges of the evaluation follow from the head. A node that wrote the head first knows them.

    It reduces a lattice, and finds a row of errors that the point s combines to zero.
    """
    kind, digest = "one", bytes(range(32))
    key = published(kind).key
    shape = Shape.of(key.layout, [0])
    point = evaluation._Point.draw(begun(key.public_id, POSITIONS, [digest]), shape)
    errors = unseen(words(equality(point.s))[:, : key.b.width])
    c = signed(kind).c.copy()
    c[1] += np.array(errors, np.int32)
    done = signed(kind, c)
    data = proved(kind, answered(done))
    with pytest.raises(VerificationError, match="step 8: evaluation: a round"):
        verified(kind, data, done)
    monkeypatch.setattr(products._SummedRows, "digest", lambda self: digest)
    assert verified(kind, proved(kind, answered(done)), done)


def test_another_b_is_caught() -> None:
    """A node that multiplies by another B than the one that the request names."""
    a, b = factors("one")
    other = b.copy()
    other[3, 3] ^= 1
    done = signed("one", a.astype(np.int32) @ other.astype(np.int32))
    with pytest.raises(VerificationError, match="step 8: evaluation: a round"):
        verified("one", proved("one", answered(done)), done)
    out, forged = io.BytesIO(), replace(published("one"), b=other)
    prove_products(forged, [answered(done)], out, positions=POSITIONS, kernels=KERNELS, device="numpy")
    with pytest.raises(VerificationError, match=r"step [78]: evaluation: (a position|the combined)"):
        verified("one", out.getvalue(), done)


def test_any_changed_byte_is_found() -> None:
    done = signed("one")
    data = proved("one", answered(done))
    for at in (*range(60), *np.random.default_rng(1).integers(0, len(data), 60).tolist()):
        with pytest.raises(VerificationError):
            verified("one", changed(data, at), done)


def test_what_is_not_enough_is_refused() -> None:
    done = signed("one")
    data = proved("one", answered(done, 2))
    for rows in (ALL, 3):
        with pytest.raises(VerificationError, match=r"step 10: 2 of 5 rows are proved, and not"):
            verified("one", data, done, rows=rows)
    with pytest.raises(VerificationError, match="step 5"):
        verified("one", data, done, rows=2, received=[done.c + 1])
    with pytest.raises(VerificationError, match="step 2"):
        verified("one", data, done, rows=2, node=bytes(32))
    with pytest.raises(VerificationError, match="step 1: 30 positions of each code give"):
        verified("one", data, done, rows=2, security=130.0)
    with pytest.raises(VerificationError, match="step 3: the proof is for another public key"):
        verified("one", data, done, rows=2, key=publish_factor(factors("one")[1], KERNELS, rho=3).key)
    with pytest.raises(InputError, match="1 requests are given, and 0 products"):
        verified("one", data, done, rows=2, received=[])
    with pytest.raises(InputError, match="proves nothing"):
        verified("one", data, done, rows=2, security=80.0)
    with pytest.raises(MismatchError, match="not for a product of int8 with the published B"):
        verified("one", data, signed("stack"))
    with pytest.raises(InputError, match="which prove nothing"):
        proved("one")


def test_an_opening_of_other_rows_is_not_what_the_proof_is_about() -> None:
    done = signed("one")
    data = Proof.read(io.BytesIO(proved("one", answered(done))))
    found = data.evaluation.read(data.evaluation_size)
    (shown,) = data.head.requests
    for digest, openings in (
        (bytes(32), [answered(done).opening]),
        (shown.digest, [answered(done, 2).opening]),
    ):
        out, head = io.BytesIO(), replace(data.head, requests=(replace(shown, digest=digest),))
        sizes = [(o, o.seek(0, 2)) for o in openings]
        write_proof(out, head, data.receipts, sizes, found)
        with pytest.raises(VerificationError, match=r"step (1|2|6|7|10)\b"):
            verified("one", out.getvalue(), done)
    out, opening = io.BytesIO(), answered(done).opening
    write_proof(out, data.head, data.receipts, [(opening, opening.seek(0, 2))], b"")
    with pytest.raises(VerificationError, match="step 1: the proof has no evaluation"):
        verified("one", out.getvalue(), done)


def test_rows_may_be_drawn_from_a_beacon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Round, "check", lambda self, chain: None)  # the tests of beacons check pairings
    done = signed("stack")
    beacon = attested(done)
    believed: dict[str, Any] = {"rows": 3, "attestors": [ATTESTOR.public, OTHER.public]}
    data = proved("stack", answered(done, 3, beacon))
    (found,) = verified("stack", data, done, **believed)
    assert (found.rows, found.attempts) == (3, 2)
    later = replace(beacon, round_signature=bytes(48))
    claim = check_product_receipt(done.request, done.receipt.encode(), NOT_RECEIVED, device="numpy")
    assert len({product_rows(claim, 3, b).ranges for b in (None, beacon, later)}) == 3
    with pytest.raises(InputError, match="without an attestor whom you believe"):
        verified("stack", data, done, rows=3)
    plain = proved("stack", answered(done, 3))
    assert verified("stack", plain, done, rows=3)[0].attempts is None
    with pytest.raises(VerificationError, match="step 6: the rows are drawn by the receipt's hash"):
        verified("stack", plain, done, **believed)
    assert verified("stack", proved("stack", answered(done)), done, **believed)[0].complete
    for beacon in (attested(signed("stack", nonce=1)), attested(done, request_digest=bytes(32))):
        if beacon.receipt_digest != done.receipt.digest:
            with pytest.raises(InputError, match="of the receipt that it names"):
                proved("stack", answered(done, 3, beacon))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(products, "require_beacon_of", lambda *_: None)
            data = proved("stack", answered(done, 3, beacon))
        with pytest.raises(VerificationError, match="step 6: the attestor's statement is about another"):
            verified("stack", data, done, **believed)
    with pytest.raises(InputError, match="a proof of all has none"):
        proved("stack", answered(done, ALL, attested(done)))


def test_a_beacon_put_in_or_taken_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of all numbers are the same, so only the digest of the request says what drew them."""
    monkeypatch.setattr(Round, "check", lambda self, chain: None)
    done = signed("short")
    beacon, attestors = attested(done), [ATTESTOR.public]
    for drawn, shown in ((None, beacon), (beacon, None)):
        found = Proof.read(io.BytesIO(proved("short", answered(done, 2, drawn))))
        (one,) = found.head.requests
        one = replace(one, beacon=b"" if shown is None else shown.encode())
        made = found.evaluation.read(found.evaluation_size)
        openings = [(o, len(o.read(1 << 30))) for o in found.openings]
        out = io.BytesIO()
        write_proof(out, replace(found.head, requests=(one,)), found.receipts, openings, made)
        with pytest.raises(VerificationError, match="step 6: the opening is not the one"):
            verified("short", out.getvalue(), done, rows=2, attestors=attestors if shown else ())


def test_public_factors_survive_their_files(tmp_path: Path) -> None:
    for kind in SHAPES:
        key = published(kind).key
        key.save(tmp_path / kind)
        again = PublicFactor.load(tmp_path / kind)
        assert (again, again.public_id, again.layout) == (key, key.public_id, key.layout)
    data = published("one").key.encode()
    for wrong in (b"", data[:-1], data + b"\0", changed(data, 3)):
        (tmp_path / "factor").write_bytes(wrong)
        with pytest.raises((FormatError, LimitError)):
            PublicFactor.load(tmp_path / "factor")
    with pytest.raises(FormatError, match="it is int8, in 3 matrices"):
        PublicFactor.decode(replace(published("one").key, lead=(3,)).encode())
    (tmp_path / "receipt").write_bytes(signed("one").receipt.encode())
    with pytest.raises(FormatError, match="of kind"):
        PublicFactor.load(tmp_path / "receipt")


def test_factors_out_of_range_are_refused() -> None:
    with pytest.raises(LimitError, match="at most 65535 products of int8, not 65536"):
        publish_factor(np.zeros((1 << 16, 1), np.int8), KERNELS)
    with pytest.raises(InputError, match="int16"):
        publish_factor(np.zeros((4, 4), np.int16), KERNELS)
    for rho in (0, 9, True):
        with pytest.raises(InputError, match="the rate is 1 to 8"):
            publish_factor(factors("one")[1], KERNELS, rho=rho)


def test_the_head_of_a_proof_is_that_of_models() -> None:
    head = Proof.read(io.BytesIO(proved("one", answered(signed("one"), 3)))).head
    assert ProofHead.decode(head.encode()) == head
    assert (head.public_id, head.requests[0].cells) == (published("one").key.public_id, 3)
    (receipt,) = Proof.read(io.BytesIO(proved("one", answered(signed("one"), 3)))).receipts
    assert ProductReceipt.decode(receipt).c == signed("one").receipt.c
