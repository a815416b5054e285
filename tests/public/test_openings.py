"""Openings that end with a public proof: nodes make them for a challenge, and auditors need no secret."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

import synthetic
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.encoding import wire
from proofcompute.errors import (
    Cell,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    VerificationError,
)
from proofcompute.limits import MAX_TERMS_PROOFS
from proofcompute.protocol.messages import Challenge, ProofAsked, Terms
from proofcompute.protocol.promises import check_terms
from proofcompute.prover.node import Node
from proofcompute.prover.opening import Openings, open_cells
from proofcompute.prover.turns import OneThread
from proofcompute.public import openings
from proofcompute.public.holder import positions_for
from proofcompute.public.openings import MOST_BITS, ByPublicProof, ProofMaker
from proofcompute.public.transcript import begun
from proofcompute.testing import CHEATS
from proofcompute.verifier import keygen, verify
from proofcompute.verifier.auditor import Auditor
from public.opened import (
    CELLS,
    KIND,
    challenge,
    check,
    closed,
    false_hints,
    holds,
    last_cell,
    node,
    opened,
    receipt,
    terms,
)
from public.world import KERNELS, changed, model, published, request

FAST = NumbaKernels()
HELD = {cheat.name: cheat for cheat in CHEATS}
OTHER_ID = bytes(range(32))


def rejected(asked: Challenge, opening: bytes, **more: Any) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        check(asked, opening, **more)
    return caught.value


# -- honest nodes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["w8a16", "w8a8", "experts22"])
@pytest.mark.parametrize("cells", [CELLS, "all"])
def test_an_honest_opening_is_accepted_by_the_public_key_alone(kind: str, cells: Any) -> None:
    asked = challenge(cells, kind)
    opening = opened(asked, kind)
    found = check(asked, opening, kind)
    assert found.cells == (CELLS if cells == CELLS else found.total)
    assert found.bytes_opened == len(opening)
    assert found.soundness_bits > 30
    assert opening == opened(asked, kind, by=node(kind, FAST))
    assert check(asked, opening, kind, kernels=FAST) == found


def test_the_rest_of_the_opening_is_that_for_a_secret_key() -> None:
    asked = challenge()
    plain = replace(asked, proof=None)
    private = synthetic.frames(node().open(request(KIND), receipt(), plain))
    public = synthetic.frames(opened(asked))
    assert public[1:-2] == private[1:-1]


def test_cells_without_products_end_with_an_empty_proof() -> None:
    asked = challenge((Cell(0, 0, 2),))
    frames = synthetic.frames(opened(asked))
    assert frames[-2] == b""
    assert check(asked, opened(asked)).cells == 2
    made_up = rejected(asked, closed([*frames[:-2], b"\0"], asked))
    assert (made_up.step, made_up.attributable) == (10, True)


def test_cells_are_the_verifiers_own_secret_until_the_receipt_is_there() -> None:
    drawn = {challenge(seed=None).cells for _ in range(6)}
    assert len(drawn) > 1


def test_where_a_device_is_one_threads_all_of_a_proof_is_made_there() -> None:
    """On a GPU the runner's thread alone may use the backend: sums and proof are pieces that it makes."""
    by = node()
    asked, owner = challenge(), threading.current_thread()
    woken, used = threading.Semaphore(0), list[threading.Thread]()
    turns = OneThread(KERNELS, owner, woken.release)
    hearer, ending = ProofMaker(published(KIND), model(KIND), KERNELS).begin(receipt(), asked)

    class Watched:
        def roots(self, roots: Any) -> None:
            hearer.roots(roots)

        def cell(self, *heard: Any) -> None:
            used.append(threading.current_thread())
            hearer.cell(*heard)

    def end() -> bytes:
        used.append(threading.current_thread())
        return ending()

    out, trace = io.BytesIO(), by.trace(request(KIND), receipt())
    openings_ = Openings(model(KIND), KERNELS, turns)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(
            openings_.write, trace, receipt(), asked, out, synthetic.NODE, None, Watched(), end
        )
        while not made.done():
            woken.acquire(timeout=0.05)
            turns.work(None)
        made.result()
    assert set(used) == {owner}
    assert len(used) == len(asked.cells) + 1
    assert out.getvalue() == opened(asked)


# -- false proofs --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["w8a16", "w8a8"])
def test_a_false_product_is_caught_and_the_node_signed_it(kind: str) -> None:
    asked = challenge("all", kind)
    false = closed(false_hints(asked, {(last_cell(asked, kind), 0, 0): 1}, kind), asked, kind)
    error = rejected(asked, false, kind=kind)
    assert (error.step, error.attributable) == (8, True)
    assert "evaluation" in str(error)


def test_any_changed_byte_is_found_and_nobody_is_framed() -> None:
    asked = challenge(2)
    good = opened(asked)
    step = max(1, len(good) // 60)
    for at in range(step // 2, len(good), step):
        error = rejected(asked, changed(good, at))
        assert not error.attributable, at


def test_any_changed_byte_of_the_proof_is_the_nodes_own_if_it_signed_it() -> None:
    asked = challenge(2)
    frames = synthetic.frames(opened(asked))
    proof = frames[-2]
    step = len(proof) // 40
    for at in [0, len(proof) - 1, *range(step // 2, len(proof), step)]:
        error = rejected(asked, closed([*frames[:-2], changed(proof, at)], asked))
        assert error.step in (1, 7, 8), at
        assert error.attributable, at


def test_a_proof_of_other_cells_another_answer_or_another_key_is_none() -> None:
    asked, other = challenge(), challenge(seed=b"others")
    assert asked.cells != other.cells
    assert rejected(asked, opened(other)).step in (2, 6)  # the closing frame names the other challenge
    frames, strange = synthetic.frames(opened(asked)), synthetic.frames(opened(other))
    error = rejected(asked, closed([*frames[:-2], strange[-2]], asked))
    assert error.step in (7, 8)  # other positions, or other values
    assert error.attributable
    second = challenge(number=1)
    assert rejected(asked, opened(second, number=1)).step == 6
    strange = synthetic.frames(opened(second, number=1))
    assert rejected(asked, closed([*frames[:-2], strange[-2]], asked)).step in (7, 8)


def test_codes_of_another_model_prove_nothing_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that serves other weights, and publishes their codes under the id of the true ones."""
    wrong = synthetic.model(1, KIND)
    from proofcompute.public.publishing import publish

    codes = publish(wrong, KERNELS)
    asked = challenge("all")
    monkeypatch.setattr(openings, "begun", _with_id(published(KIND).key.public_id))
    maker = ProofMaker(codes, wrong, KERNELS)
    monkeypatch.setattr(type(codes.key), "public_id", published(KIND).key.public_id)
    error = rejected(asked, opened(asked, maker=maker))
    assert error.step in (7, 8)
    assert error.attributable


def _with_id(public_id: bytes) -> Any:
    return lambda _, positions, digests: begun(public_id, positions, digests)


@pytest.mark.parametrize("left", ["the proof", "a cell"])
def test_an_opening_that_ends_too_early_is_rejected(left: str) -> None:
    asked = challenge()
    frames = synthetic.frames(opened(asked))
    kept = frames[:-2] if left == "the proof" else [*frames[:-3], frames[-2]]
    error = rejected(asked, closed(kept, asked))
    assert error.step in (1, 10)
    assert error.attributable or left == "a cell"  # a frame that is too large is not read
    more = rejected(asked, closed([*frames[:-1], b"more"], asked))
    assert more.step in (1, 10)


@pytest.mark.parametrize("cheat", ["other weights", "skipped layer", "edited answer", "edit moved back"])
def test_a_node_that_recommits_is_caught_by_its_own_proof(cheat: str) -> None:
    """It opens with the true model, so its proof is the best that there can be."""
    by = Node(model(KIND), synthetic.NODE, device=KERNELS)
    asked = request(KIND, 1)
    signed = HELD[cheat].run(by, asked)
    mine = Auditor(holds(), device=KERNELS)
    drawn = mine.challenge(asked, signed.encode(), "all")
    opening = opened(drawn, by=by, of=signed, asked=asked)
    with pytest.raises(VerificationError) as caught:
        mine.check(asked, signed.encode(), drawn, opening)
    assert caught.value.step in (8, 9)
    assert caught.value.attributable


# -- what nodes refuse, and what auditors must not ask ------------------------------------------------------
@pytest.mark.parametrize(
    ("proof", "text"),
    [
        (ProofAsked(OTHER_ID, 30), "other codes"),
        (ProofAsked(published(KIND).key.public_id, 1), "prove nothing"),
        (ProofAsked(published(KIND).key.public_id, 1024), "at most"),
        (None, "no public proof"),
    ],
)
def test_a_node_refuses_what_it_cannot_prove(proof: ProofAsked | None, text: str) -> None:
    asked = replace(challenge(), proof=proof)
    with pytest.raises(InputError, match=text):
        opened(asked)
    if proof is not None:
        with pytest.raises(InputError):
            check(asked, b"")


def test_a_node_without_codes_refuses_before_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = challenge()
    monkeypatch.setattr(node().opener, "recompute", lambda *_: pytest.fail("it computes"))
    with pytest.raises(InputError, match="without public proofs"):
        node().open(request(KIND), receipt(), asked)
    with pytest.raises(InputError, match="without public proofs"):
        open_cells(
            model(KIND),
            node().trace(request(KIND), receipt()),
            receipt(),
            asked,
            io.BytesIO(),
            synthetic.NODE,
        )
    hearer, ending = ProofMaker(published(KIND), model(KIND), KERNELS).begin(receipt(), asked)
    with pytest.raises(InputError, match="without public proofs"):
        node().open(request(KIND), receipt(), replace(asked, proof=None), hearer=hearer, ending=ending)


def test_no_proof_is_left_unchecked_by_who_holds_something_else() -> None:
    asked, opening = challenge(), opened(challenge())
    data = receipt().encode()
    for other in (keygen(model(KIND), KERNELS), model(KIND)):
        with pytest.raises(InputError, match="other openings"):
            Auditor(other, device=KERNELS).check(request(KIND), data, asked, opening)
        with pytest.raises(InputError, match="other openings"):
            verify(other, request(KIND), data, asked, io.BytesIO(opening), kernels=KERNELS)
    with pytest.raises(InputError, match="other openings"):
        check(replace(asked, proof=None), opening)


def test_makers_and_auditors_are_of_a_model_and_of_enough_positions() -> None:
    with pytest.raises(MismatchError, match="another model"):
        ProofMaker(published("w8a8"), model(KIND), KERNELS)
    key = published(KIND).key
    for security in (1.0, 79.0, MOST_BITS + 40):
        with pytest.raises(InputError):
            ByPublicProof(key, security)
    assert ByPublicProof(key).asked == ProofAsked(key.public_id, positions_for(key.layout, 181.0))


def test_a_proof_larger_than_a_frame_is_asked_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "MAX_OPENING_PART", holds().most - 1)
    with pytest.raises(LimitError, match="more than a frame"):
        ByPublicProof(published(KIND).key, 115.0)
    with pytest.raises(LimitError, match="more than a frame"):
        ProofMaker(published(KIND), model(KIND), KERNELS)


# -- the messages --------------------------------------------------------------------------------------------
def test_challenges_for_proofs_are_canonical() -> None:
    asked = challenge()
    assert Challenge.decode(asked.encode()) == asked
    plain = replace(asked, proof=None)
    assert plain.digest != asked.digest
    assert Challenge.decode(plain.encode()) == plain
    head = list(wire.as_list(wire.decode(asked.encode(), limit=1 << 16, what="test"), "test"))
    for wrong in (
        head[:7],
        [*head, 1],
        [*head[:4], 0, 1, *head[6:]],
        [*head[:5], 0, *head[6:]],
        [*head[:6], bytes(31), head[7]],
        [*head[:7], 0],
        [*head[:7], 1025],
    ):
        with pytest.raises((FormatError, LimitError)):
            Challenge.decode(wire.encode(tuple(wrong)))


def test_terms_promise_proofs() -> None:
    made = terms()
    assert check_terms(made.encode()) == made
    assert made.proofs == (published(KIND).key.public_id,)
    plain = terms(proofs=())
    assert len(wire.as_list(wire.decode(plain.encode(), limit=1024, what="test"), "test")) == 9
    assert check_terms(plain.encode()) == plain
    two = terms(proofs=[b"b" * 32, b"a" * 32, b"b" * 32])
    assert two.proofs == (b"a" * 32, b"b" * 32)
    for ids in ((b"b" * 32, b"a" * 32), (b"a" * 32,) * 2, (b"a",), tuple(bytes([i]) * 32 for i in range(17))):
        with pytest.raises(FormatError):
            replace(made, proofs=ids)
        fields = [*made._fields()[:8], ids, made.signature]
        with pytest.raises(VerificationError) as caught:
            check_terms(wire.encode(tuple(fields)))
        assert caught.value.step == 1
    with pytest.raises(VerificationError):
        check_terms(wire.encode((*made._fields()[:8], (), made.signature)))
    with pytest.raises(VerificationError):
        check_terms(wire.encode((*made._fields()[:8], made.signature, 1, 2)))
    with pytest.raises(VerificationError, match="signature"):  # an id that is put in afterwards
        check_terms(replace(made, proofs=(OTHER_ID,)).encode())
    most = terms(proofs=[bytes([i]) * 32 for i in range(MAX_TERMS_PROOFS)])
    assert Terms.decode(most.encode()) == most
