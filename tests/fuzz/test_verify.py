"""Mutated receipts and openings through ``verify`` and ``verify_public``: none is ever accepted.

Openings are canonical, and every byte of one is bound: by the trace root, the model id, a Freivalds check, a
digest or the list of what is needed. So no mutant passes unless it is the original.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

import synthetic
from fuzz import honest
from fuzz.harness import attempt, drive
from fuzz.mutate import emit, mutant, mutate_bytes, mutate_tree, parse, put
from fuzz.test_decoders import mutated_key
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.commitments import hashing
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import InputError, ProofcomputeError, VerificationError
from proofcompute.limits import MAX_RECEIPT
from proofcompute.protocol.cells import draw_cells, public_challenge
from proofcompute.protocol.messages import Challenge, OpeningEnd, Receipt, Request
from proofcompute.protocol.promises import check_terms
from proofcompute.protocol.trace import group_seal, trace_root
from proofcompute.prover import StoredTrace
from proofcompute.testing.subject import Run
from proofcompute.verifier import Key, Verified, check_receipt, verify, verify_public

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point of Ed25519 (RFC 8032, section 5.1)."""


def check_private(receipt: bytes, opening: bytes) -> Verified:
    return verify(
        honest.key(), honest.session().request, receipt, honest.challenge(), io.BytesIO(opening),
        kernels=synthetic.KERNELS,
    )  # fmt: skip


def check_public(receipt: bytes, opening: bytes) -> Verified:
    return verify_public(
        synthetic.model(), honest.session().request, receipt, honest.PUBLIC_CELLS, io.BytesIO(opening),
        kernels=synthetic.KERNELS,
    )  # fmt: skip


def framed(frames: Sequence[bytes]) -> bytes:
    out = io.BytesIO()
    for frame in frames:
        write_frame(out, frame)
    return out.getvalue()


def mutated_opening(rng: Random, stream: bytes, other: bytes, public: bool = False) -> bytes:
    """One frame changed, or the frames' order and number, or the bytes of the whole stream.

    Half of the time the node signs what it changed.
    """
    if rng.random() < 0.2:
        return mutate_bytes(rng, stream, [other])
    changed = mutated_frames(rng, stream, other)
    if rng.random() < 0.5:
        return framed(changed)
    last = synthetic.frames(stream)[-1]
    frames = changed[:-1] if changed and changed[-1] == last else changed
    return synthetic.closed(frames, honest.run().receipt, asked(public))


def asked(public: bool) -> Challenge:
    """The challenge that the opening answers."""
    if public:
        return public_challenge(honest.run().claim, honest.PUBLIC_CELLS)
    return honest.challenge()


def signed_as_it_is(opening: bytes, public: bool) -> bool:
    """Whether the node signed these frames, told without the verifier."""
    try:
        frames = synthetic.frames(opening)
        end = OpeningEnd.decode(frames.pop())
    except (InputError, IndexError):
        return False
    return framed([*frames, end.encode()]) == synthetic.closed(frames, honest.run().receipt, asked(public))


def mutated_frames(rng: Random, stream: bytes, other: bytes) -> list[bytes]:
    frames, strangers = synthetic.frames(stream), synthetic.frames(other)
    i, j = rng.randrange(len(frames)), rng.randrange(len(frames))
    kind = rng.randrange(12)
    if kind == 0:
        return frames[:i] + frames[i + 1 :]
    if kind == 1:
        return [*frames[:i], frames[j], *frames[i:]]
    if kind == 2:
        frames[i], frames[j] = frames[j], frames[i]
        return frames
    if kind == 3:
        return [*frames[:i], rng.choice(strangers), *frames[i + 1 :]]
    if kind == 4:
        return [*frames, rng.choice((b"", frames[j]))]
    if kind == 5:
        return [*frames[:i], repacked(rng, frames[i]), *frames[i + 1 :]]
    return [*frames[:i], mutant(rng, [frames[i], frames[i], strangers[0]]), *frames[i + 1 :]]


def repacked(rng: Random, frame: bytes) -> bytes:
    """A hint whose values travel in more bits than they need, or with another value, well packed."""
    tree = parse(frame)
    sites = [(2, i, j) for i, sets in enumerate(tree[2]) for j in range(len(sets))] if len(tree) == 3 else []
    if not sites:
        return mutant(rng, [frame])
    path = rng.choice(sites)
    data = tree[2][path[1]][path[2]]
    count = 8 * (len(data) - 1) // data[0]
    values = unpack(data[1:], data[0], count)
    bits = data[0]
    if rng.random() < 0.5:
        bits += rng.randrange(1, 4)
    else:
        at = rng.randrange(count)
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        values[at] = min(high, max(low, int(values[at]) + rng.choice((-1, 1, 2**20))))
    return emit(put(tree, path, bytes([bits]) + synthetic.KERNELS.pack(values, bits)))


def never_accepted(made: tuple[bytes, bytes, bool]) -> None:
    """Receipt, opening, whether by the public check: accepted only if nothing was changed."""
    receipt, opening, public = made
    right = (honest.run().data, honest.public_opening() if public else honest.opening())
    check = check_public if public else check_private
    result = attempt(lambda: check(receipt, opening), VerificationError)
    assert isinstance(result, Verified) == ((receipt, opening) == right)
    if isinstance(result, VerificationError):
        assert 1 <= result.step <= 10
        assert not result.attributable or signed_as_it_is(opening, public)


def test_the_honest_ones_are_accepted() -> None:
    for public, opening in ((False, honest.opening()), (True, honest.public_opening())):
        never_accepted((honest.run().data, opening, public))


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_mutated_openings(public: bool) -> None:
    receipt = honest.run().data
    stream = honest.public_opening() if public else honest.opening()
    drive(
        "public opening" if public else "verified opening",
        lambda rng: (receipt, mutated_opening(rng, stream, honest.other_opening(), public), public),
        never_accepted,
    )


def resigned(rng: Random) -> bytes:
    """A receipt that was changed and signed again, as a cheating node would."""
    receipt = honest.run().receipt
    if rng.random() < 0.4:
        return mutant(rng, honest.receipts())
    try:
        changed = Receipt.decode(mutant(rng, [receipt.encode()]))
    except InputError:
        return mutant(rng, honest.receipts())
    return changed.signed(synthetic.NODE.sign(changed.signed_digest)).encode()


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_mutated_receipts(public: bool) -> None:
    stream = honest.public_opening() if public else honest.opening()
    drive(
        "public receipt" if public else "verified receipt",
        lambda rng: (resigned(rng), stream, public),
        never_accepted,
    )


def test_a_signature_has_one_encoding() -> None:
    """S + L is the same scalar, and other encodings of R are the same point; RFC 8032 refuses both."""
    receipt = honest.run().receipt
    scalar = int.from_bytes(receipt.signature[32:], "little") + GROUP_ORDER
    for signature in (
        receipt.signature[:32] + scalar.to_bytes(32, "little"),
        receipt.signature[:31] + bytes([receipt.signature[31] ^ 0x80]) + receipt.signature[32:],
        bytes(64),
    ):
        for check, opening in ((check_private, honest.opening()), (check_public, honest.public_opening())):
            with pytest.raises(VerificationError) as caught:
                check(receipt.signed(signature).encode(), opening)
            assert caught.value.step == 2


# -- a cheating node that commits to what it changed -----------------------------------------------------
def recommitted(rng: Random) -> tuple[bytes, Challenge, bytes]:
    """One committed value changed before the trees were made; everything else is done as it should be."""
    run = honest.run()
    groups = [g.copy() for g in run.stored.groups]
    group = groups[rng.randrange(len(groups))]
    row = rng.randrange(len(group))
    if rng.random() < 0.5:
        at = 4 * rng.randrange(group.shape[1] // 4)
        word = rng.choice((0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 1, 0, 0xBF800000))
        group[row, at : at + 4] = np.frombuffer(word.to_bytes(4, "little"), np.uint8)
    else:
        group[row, rng.randrange(group.shape[1])] ^= 1 << rng.randrange(8)
    stored = StoredTrace(run.stored.statement, run.stored.suite, groups, synthetic.KERNELS)
    seals = [
        group_seal(run.model.program, stored.suite, g, run.receipt.rows, root)
        for g, root in enumerate(stored.roots())
    ]
    receipt = dataclasses.replace(run.receipt, trace_root=trace_root(stored.suite, seals))
    receipt = receipt.signed(synthetic.NODE.sign(receipt.signed_digest))
    liar = synthetic.node(run.model)
    liar.remember(receipt, stored)
    forged = Run(liar, run.request, receipt, stored)
    challenge = synthetic.challenge_all(forged)
    try:
        opening = forged.open(challenge)
    except ProofcomputeError:  # its own arithmetic fails; it answers with hints of the honest run
        known = synthetic.frames(run.open(synthetic.challenge_all(run)))
        own = synthetic.challenge_all(forged, hints=False)
        mine = synthetic.frames(forged.open(own))
        head = emit((*parse(mine[0])[:3], challenge.digest, parse(mine[0])[4]))
        pairs = zip(mine[1:-1], known[1:-1], strict=True)
        parts = [emit((parse(m)[0], *parse(k)[1:])) for m, k in pairs]
        opening = synthetic.closed([head, *parts], receipt, challenge)
    return receipt.encode(), challenge, opening


def test_recommitted_traces() -> None:
    honest_root = honest.run().receipt.trace_root

    def check(made: tuple[bytes, Challenge, bytes]) -> None:
        receipt, challenge, opening = made
        key, request, stream = honest.key(), honest.session().request, io.BytesIO(opening)
        result = attempt(
            lambda: verify(key, request, receipt, challenge, stream, kernels=synthetic.KERNELS),
            VerificationError,
        )
        assert isinstance(result, Verified) == (Receipt.decode(receipt).trace_root == honest_root)
        assert isinstance(result, Verified) or (result.step in (7, 8, 9) and result.attributable)

    drive("recommitted trace", recommitted, check)


# -- receipts and terms that are signed whatever they say --------------------------------------------------
def signed_anew(data: bytes, what: str) -> bytes:
    """The same fields under a signature that holds, so that what lies behind it is reached."""
    try:
        tree = parse(data)
        suite = tree[2] if what == "receipt" else "sha256"
        body = hashing.message_digest(suite, f"{what} body", emit(tree[:-1]))
    except (InputError, TypeError, IndexError, KeyError, ValueError):  # too far from one to be signed
        return data
    return emit((*tree[:-1], synthetic.NODE.sign(body)))


def test_signed_receipts() -> None:
    """A node may sign whatever it wants: a claim that fits the request, or a rejection, nothing else."""
    request, right = honest.session().request, honest.receipts()[0]
    assert signed_anew(right, "receipt") == right

    def make(rng: Random) -> bytes:
        tree = parse(right)
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(2, len(tree) - 2)
            tree = put(tree, (at,), mutate_tree(rng, tree[at], []))
        return signed_anew(emit(tree), "receipt")

    def check(data: bytes) -> None:
        result = attempt(lambda: check_receipt(synthetic.model(), request, data), VerificationError)
        if isinstance(result, VerificationError):
            assert 1 <= result.step <= 5
            assert (result.request_digest, result.model_id) == (request.digest, request.model_id)
            return
        assert result.receipt.encode() == data
        assert result.receipt.request_digest == request.digest
        assert result.statement.rows == result.receipt.rows
        for cell in draw_cells(result, 5):
            result.statement.check_cell(cell)

    drive("signed receipt", make, check)


def test_signed_terms() -> None:
    node, right = synthetic.NODE.public, honest.terms()[0]

    def make(rng: Random) -> bytes:
        tree = parse(right)
        at = rng.randrange(2, len(tree))
        return signed_anew(emit(put(tree, (at,), mutate_tree(rng, tree[at], []))), "terms")

    def check(data: bytes) -> None:
        result = attempt(lambda: check_terms(data, node), VerificationError)
        if isinstance(result, VerificationError):
            assert 1 <= result.step <= 3
            return
        assert result.encode() == data
        assert 0 <= result.deadline(1000, 60.0) <= 60

    drive("signed terms", make, check)


# -- the verifier's own material -------------------------------------------------------------------------
def test_mutated_material_of_the_verifier() -> None:
    """A damaged key, request or challenge: VerificationError, or InputError, never anything raw."""
    receipt, opening = honest.run().data, honest.opening()

    def make(rng: Random) -> tuple[str, bytes]:
        what = rng.choice(("key", "request", "challenge"))
        if what == "key":
            return what, mutated_key(rng)
        return what, mutant(rng, [honest.requests()[0] if what == "request" else honest.challenge().encode()])

    def check(made: tuple[str, bytes]) -> None:
        what, data = made
        key, request, challenge = honest.key(), honest.session().request, honest.challenge()
        try:
            if what == "key":
                key = Key.decode(data)
            elif what == "request":
                request = Request.decode(data)
            else:
                challenge = Challenge.decode(data)
            result = verify(key, request, receipt, challenge, io.BytesIO(opening), kernels=synthetic.KERNELS)
        except (VerificationError, InputError):
            return
        # What the opened cells do not use may be damaged unnoticed: parts of a key, nothing else.
        assert result.cells == 5
        assert what == "key" or challenge == honest.challenge()
        assert request.digest == honest.session().request.digest

    drive("verifier's material", make, check)


def test_a_receipt_above_its_limit_is_refused_by_its_size() -> None:
    with pytest.raises(VerificationError, match="at most") as caught:
        check_private(bytes(MAX_RECEIPT + 1), honest.opening())
    assert caught.value.step == 1
