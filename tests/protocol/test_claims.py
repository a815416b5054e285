"""Receipts without openings: what a client can check at once, whose fault what is, and what nodes refuse."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import MismatchError, VerificationError
from proofcompute.jobs.proving import product_request, prove_product
from proofcompute.protocol.cells import public_challenge
from proofcompute.protocol.messages import Challenge, Generation
from proofcompute.protocol.statement import draws
from proofcompute.testing.models import byte_vocabulary
from proofcompute.testing.subject import Run
from proofcompute.verifier import verify_public

STRANGER = NodeIdentity(bytes([1] * 32))
TERMS = pc.Terms.of(synthetic.NODE, base=2, rate=100, retention=3600)


def asked(**changes: object) -> pc.Request:
    return synthetic.request(synthetic.model(), "Hiya", max_tokens=3, **changes)


def run(**changes: object) -> Run:
    return synthetic.prove(synthetic.model(), asked(**changes))


# -- choices and end tokens ----------------------------------------------------------------------------------
def test_two_choices_share_no_draw() -> None:
    """Not at one row, nor at any two; choice 0 draws as the seed says."""
    seed = bytes([3] * 32)
    requests = [asked(choice=c, seed=seed, sampling=synthetic.SAMPLED) for c in (0, 1, 2, 127)]
    assert requests[0].draw_seed == seed
    seen = [tuple(row) for r in requests for row in draws(r.draw_seed, 0, 50)]
    assert len(set(seen)) == len(seen)
    assert len({r.digest for r in requests}) == len(requests)
    for choice in (-1, 128, True, 1.0):
        with pytest.raises(pc.InputError):
            asked(choice=choice)


def test_every_choice_is_answered_with_its_own_draws() -> None:
    hot = pc.Sampling(temperature=4.0)
    runs = [run(choice=c, sampling=hot) for c in range(3)]
    assert len({tuple(r.answer) for r in runs}) > 1
    for found in runs:
        assert synthetic.audit(synthetic.key(), found).complete
    other = Challenge(runs[1].receipt.digest, pc.all_cells(runs[1].claim))
    opening = runs[1].open(other)
    auditor = pc.Auditor(synthetic.key(), device=synthetic.KERNELS)
    with pytest.raises(VerificationError, match="another request") as caught:
        auditor.check(runs[0].request, runs[1].data, other, opening)
    assert caught.value.step == 4


def test_end_tokens_can_be_ignored() -> None:
    """The run goes on after one, and stops where it does otherwise: at a stop string or at the length."""
    vocabulary = byte_vocabulary()
    rule = Generation(4, stops=("ab",), ignore_end=True)
    from proofcompute.protocol.stop import check_answer, stop_reason

    assert stop_reason(rule, [257], vocabulary) is None
    assert stop_reason(replace(rule, ignore_end=False), [257], vocabulary) == "end"
    assert check_answer(rule, [257, 257, 257, 257], vocabulary) == "length"
    assert check_answer(rule, [257, 97, 98], vocabulary) == "stop"
    with pytest.raises(pc.FormatError, match="had to go on"):
        check_answer(rule, [5, 257], vocabulary)
    assert synthetic.audit(synthetic.key(), run(ignore_end=True)).complete


@pytest.mark.parametrize("penalty", [0.0, 1e-38, 1 / 65, 64.5, 3e38, float("inf"), float("nan")])
def test_penalties_are_bounded(penalty: float) -> None:
    with pytest.raises(pc.InputError, match="repetition_penalty"):
        Generation(1, pc.Sampling(repetition_penalty=float(np.float32(penalty))))


# -- terms ---------------------------------------------------------------------------------------------------
def test_terms_are_those_of_the_node_that_signs() -> None:
    def node(terms: pc.Terms) -> pc.Node:
        return pc.Node(
            synthetic.model(), synthetic.NODE, device=synthetic.KERNELS, terms=terms, retention=3600
        )

    data = node(TERMS).answer(asked()).receipt
    assert (
        pc.check_receipt(synthetic.model(), asked(), data, terms=TERMS).receipt.terms_digest == TERMS.digest
    )
    others = pc.Terms.of(STRANGER, base=2, rate=100, retention=3600)
    with pytest.raises(VerificationError, match="another node") as caught:
        pc.check_receipt(synthetic.model(), asked(), data, terms=others)
    assert caught.value.step == 2
    for wrong in (others, replace(TERMS, retention=3601)):
        with pytest.raises(pc.InputError, match="terms"):
            node(wrong).answer(asked())


@pytest.mark.parametrize(
    ("made", "step"),
    [
        (lambda: TERMS.encode() + b"\0", 1),
        (lambda: TERMS.encode()[:-1], 1),
        (lambda: b"", 1),
        (lambda: replace(TERMS, base=3).encode(), 2),
        (lambda: replace(TERMS, numerics=2).encode(), 2),
        (lambda: replace(TERMS, node=STRANGER.public).encode(), 2),
        (lambda: pc.Terms.of(STRANGER, base=2, rate=100, retention=3600).encode(), 2),
        (lambda: signed(replace(TERMS, numerics=2)).encode(), 3),
        (lambda: signed(replace(TERMS, scheme="eip712-secp256k1")).encode(), 1),
    ],
)
def test_terms_are_checked(made: Callable[[], bytes], step: int) -> None:
    with pytest.raises(VerificationError) as caught:
        pc.check_terms(made(), synthetic.NODE.public)
    assert caught.value.step == step
    assert pc.check_terms(TERMS.encode(), synthetic.NODE.public) == TERMS


def signed(terms: pc.Terms) -> pc.Terms:
    return replace(terms, signature=synthetic.NODE.sign(terms.signed_digest))


@pytest.mark.parametrize(
    "numbers", [{"base": -1}, {"base": 86401}, {"rate": 0}, {"rate": 1.5}, {"retention": -1}, {"rate": True}]
)
def test_terms_have_bounds(numbers: dict[str, Any]) -> None:
    with pytest.raises(pc.InputError, match="terms"):
        pc.Terms.of(synthetic.NODE, **{"base": 1, "rate": 1, "retention": 0, **numbers})


def test_a_deadline_is_never_later_than_the_verifiers_own() -> None:
    assert TERMS.deadline(0, 60) == 2
    assert TERMS.deadline(250, 60) == 4.5
    assert TERMS.deadline(10**6, 60) == 60
    pc.require_within(4.5, TERMS.deadline(250, 60))
    for rows, waited, most in ((250, 4.6, 60.0), (10**6, 60.1, 60.0), (0, 2.1, 60.0)):
        with pytest.raises(VerificationError, match="no valid opening by the deadline") as caught:
            pc.require_within(waited, TERMS.deadline(rows, most))
        assert caught.value.step == 10
    nan, inf = float("nan"), float("inf")
    for rows, waited, most in ((1, nan, 1.0), (1, -1.0, 1.0), (1, inf, 1.0), (-1, 1.0, 1.0), (1, 1.0, nan)):
        with pytest.raises(pc.InputError):
            pc.require_within(waited, TERMS.deadline(rows, most))


# -- who is to blame -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("holder", [synthetic.model, synthetic.key, lambda: synthetic.model().card])
def test_a_card_a_key_or_a_model_is_enough(holder: Callable[[], Any]) -> None:
    found = run()
    claim = pc.check_receipt(holder(), asked(), found.data, retention=3600)
    assert claim.receipt == found.receipt
    assert pc.count_cells(claim) == found.claim.statement.cells
    assert set(pc.draw_cells(claim, 10**9)) == {
        pc.Cell(s, row, row + 1)
        for s, first in enumerate(claim.statement.first_rows)
        for row in range(first, claim.statement.rows)
    }


def test_the_callers_mistakes_come_before_the_nodes() -> None:
    """Whatever the receipt: with these arguments nothing could be said about it."""
    right, model = run().data, synthetic.model()
    for data in (right, b"", right[:-1]):
        with pytest.raises(MismatchError, match="is for model"):
            pc.check_receipt(model, asked(model_id=bytes(32)), data)
        with pytest.raises(pc.InputError, match="32 bytes"):
            pc.check_receipt(model, asked(), data, b"short")
        with pytest.raises(pc.InputError, match="context"):
            pc.check_receipt(model, synthetic.request(model, max_tokens=1000), data)
    with pytest.raises(pc.InputError, match="bytes"):
        pc.check_receipt(model, asked(), cast(bytes, "text"))


def test_a_rejection_says_what_it_is_about() -> None:
    found = run(node=synthetic.NODE.public)
    request, receipt = found.request, found.receipt
    with pytest.raises(VerificationError) as caught:
        pc.check_receipt(synthetic.model(), request, b"\x80")
    assert (caught.value.node, caught.value.receipt_digest) == (None, None)
    assert caught.value.model_id == synthetic.model().model_id
    assert caught.value.request_digest == request.digest
    challenge = synthetic.challenge_all(found)
    for opening in (b"", found.open(challenge)[:-1]):
        with pytest.raises(VerificationError) as caught:
            synthetic.check(synthetic.key(), found, challenge, opening)
        assert caught.value.node == synthetic.NODE.public
        assert caught.value.model_id == synthetic.model().model_id
        assert caught.value.request_digest == request.digest
        assert caught.value.receipt_digest == receipt.digest


def test_what_comes_too_late_and_terms_that_do_not_hold_name_their_node() -> None:
    node = pc.Node(synthetic.model(), synthetic.NODE, device=synthetic.KERNELS)
    auditor = pc.Auditor(synthetic.key(), device=synthetic.KERNELS, patience=5.0)
    request = asked(nonce=bytes([11] * 32), node=node.public)
    answer = node.answer(request)
    challenge = auditor.challenge(request, answer.receipt)
    with pytest.raises(VerificationError, match="deadline") as caught:
        auditor.check(request, answer.receipt, challenge, b"", waited=5.1)
    assert (caught.value.step, caught.value.node) == (10, node.public)
    assert caught.value.receipt_digest == challenge.receipt_digest
    with pytest.raises(VerificationError) as caught:
        pc.check_terms(replace(TERMS, base=3).encode())
    assert (caught.value.step, caught.value.node) == (2, synthetic.NODE.public)


class Broken(io.RawIOBase):
    """Some bytes of an opening, then a connection that is gone."""

    def __init__(self, data: bytes, error: OSError) -> None:
        self._data, self._error = io.BytesIO(data), error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._data.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._data.seek(offset, whence)

    def readinto(self, target: Any) -> int:
        data = self._data.read(len(target))
        if not data:
            raise self._error
        target[: len(data)] = data
        return len(data)


class OnlyRead:
    """A stream that has nothing but what BinaryIO's readers use."""

    def __init__(self, data: bytes, error: OSError) -> None:
        self._data, self._error = io.BytesIO(data), error

    def read(self, size: int) -> bytes:
        data = self._data.read(size)
        if not data:
            raise self._error
        return data


class ReadOnce(io.BytesIO):
    """A stream that says that it can be read again, and cannot."""

    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))


def test_an_opening_that_cannot_be_read_again_is_a_rejection() -> None:
    """A rejected one is read a second time, to say who made it; then the stream fails."""
    found = run()
    challenge = synthetic.challenge_all(found)
    opening = bytearray(found.open(challenge))
    opening[len(opening) // 2] ^= 1
    with pytest.raises(VerificationError, match=r"could not be received \(Illegal seek\)") as caught:
        synthetic.check(synthetic.key(), found, challenge, ReadOnce(opening))
    assert (caught.value.step, caught.value.node) == (10, synthetic.NODE.public)


@pytest.mark.parametrize("stream", [Broken, OnlyRead])
@pytest.mark.parametrize("error", [ConnectionResetError("peer"), TimeoutError(), OSError(5, "input error")])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_connection_that_breaks_is_a_rejection(stream: Any, error: OSError, share: float) -> None:
    """At the first byte, in the middle, and where the end has to be seen."""
    found = run()
    challenge = synthetic.challenge_all(found)
    opening = found.open(challenge)
    broken = cast(BinaryIO, stream(opening[: int(share * len(opening))], error))
    with pytest.raises(VerificationError, match="could not be received") as caught:
        synthetic.check(synthetic.key(), found, challenge, broken)
    assert caught.value.step == 10
    assert caught.value.receipt_digest == found.receipt.digest


class Waiting:
    """A stream that gives None while nothing has come, as those that do not block do."""

    def read(self, size: int) -> None:
        return None


def test_a_stream_that_does_not_wait_is_the_callers() -> None:
    found = run()
    with pytest.raises(pc.InputError, match="blocking"):
        synthetic.check(synthetic.key(), found, synthetic.challenge_all(found), cast(BinaryIO, Waiting()))


def test_a_public_proof_that_cannot_be_received_is_a_rejection() -> None:
    found = run()
    opening = found.open(public_challenge(found.claim, 3))
    stream = cast(BinaryIO, Broken(opening[:-9], ConnectionResetError("peer")))
    with pytest.raises(VerificationError, match="could not be received"):
        verify_public(
            found.model, asked(), found.data, 3, stream, kernels=synthetic.KERNELS
        )  # fmt: skip


def test_a_number_of_public_cells_that_is_none_is_the_callers() -> None:
    found, cells = run(), 10**6
    for count in (0, -1, cast(int, 1.5), cast(int, "3"), cast(int, None)):
        with pytest.raises(pc.InputError, match="ask for"):
            verify_public(found.model, asked(), found.data, count, io.BytesIO(), kernels=synthetic.KERNELS)
    opening = io.BytesIO(found.open(public_challenge(found.claim, cells)))
    assert verify_public(found.model, asked(), found.data, cells, opening, kernels=synthetic.KERNELS).complete


# -- whom a request addresses --------------------------------------------------------------------------------
def entries() -> dict[str, Callable[[], object]]:
    """Everything that answers or signs, for a stranger who got what was meant for somebody else."""
    m, mine = synthetic.model(), asked(node=synthetic.NODE.public)
    done = synthetic.node(m).run(mine)
    a, b = np.ones((3, 4), np.int8), np.ones((4, 2), np.int8)
    job = product_request(a, b, node=synthetic.NODE.public, device="numpy")
    return {
        "an engine of another node": lambda: pc.Engine(m, synthetic.KERNELS, node=STRANGER.public).add(mine),
        "an engine of no node": lambda: pc.Engine(m, synthetic.KERNELS).add(mine),
        "a receipt": lambda: pc.Node(m, STRANGER, device=synthetic.KERNELS).commit(done),
        "a node": lambda: pc.Node(m, STRANGER, device=synthetic.KERNELS).answer(mine),
        "a job": lambda: prove_product(job, a, b, STRANGER, device="numpy"),
    }


@pytest.mark.parametrize("name", entries())
def test_whatever_answers_or_signs_refuses_what_is_addressed_to_another_node(name: str) -> None:
    with pytest.raises(MismatchError, match="another node"):
        entries()[name]()


def test_a_request_that_addresses_nobody_is_anybodys() -> None:
    assert pc.Node(synthetic.model(), STRANGER, device=synthetic.KERNELS).answer(asked()).rows == 6
