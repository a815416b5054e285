"""Public proofs without weights: what is accepted, and that nothing else is."""

from __future__ import annotations

import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.public.holder import error_bits, positions_for
from proofcompute.public.key import PublicKey
from proofcompute.public.message import Evaluation, Opened
from proofcompute.public.proof import ALL, Proof, ProofHead, Shown, write_proof
from proofcompute.public.proving import prove, verify_proof
from public.world import KERNELS, POSITIONS, answered, changed, model, proof, published, request, verified

KINDS = ["w8a16", "w16a16", "w8a8", "experts11", "experts21", "experts22"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_proof_of_all_cells_is_accepted(kind: str) -> None:
    (found,) = verified(kind, proof(kind))
    assert found.complete
    assert found.soundness_bits == pytest.approx(
        error_bits(published(kind).key.layout, POSITIONS) - 80, abs=1e-3
    )


@pytest.mark.parametrize("kind", ["w8a16", "experts22"])
def test_backends_make_and_check_the_same_proof(kind: str) -> None:
    fast = NumbaKernels()
    made = proof(kind, kernels=fast)
    assert made == proof(kind)
    assert verified(kind, made, kernels=fast) == verified(kind, made)


def test_cells_may_be_drawn_by_the_receipt() -> None:
    (found,) = verified("w8a16", proof("w8a16", answered("w8a16", cells=5)), cells=5)
    assert (found.cells, found.complete) == (5, False)
    assert found.grinding_bits(0.1) < 1


def test_a_proof_of_several_requests_is_checked_as_one() -> None:
    many = [answered("w8a16", i, cells) for i, cells in ((0, ALL), (1, 3), (2, ALL))]
    data = proof("w8a16", *many)
    found = verified("w8a16", data, *(a.request for a in many), cells=3)
    assert [v.complete for v in found] == [True, False, True]
    assert verified("w8a16", data, *(a.request for a in many[::-1]), cells=3) == found[::-1]
    with pytest.raises(VerificationError, match="step 4: the proof is not of request"):
        verified("w8a16", data, many[0].request, request("w8a16", 3))
    with pytest.raises(VerificationError, match="step 4: the proof is not of request"):
        verified("w8a16", data, many[0].request, many[0].request)
    with pytest.raises(InputError, match="no request is given"):
        verify_proof(published("w8a16").key, [], io.BytesIO(data), kernels=KERNELS)


def test_each_receipt_of_a_proof_is_verifiable_alone() -> None:
    """Nothing of the others is read but what they add to the evaluation, and nothing of them can matter."""
    many = [answered("experts11", i, cells) for i, cells in ((0, ALL), (1, 3), (0, 5))]
    data = proof("experts11", *many)
    whole = verified("experts11", data, *(a.request for a in many), cells=3)
    place = [data.index(a.opening.getvalue()) for a in many]  # type: ignore[attr-defined]
    for number, one in enumerate(many[:2]):
        assert verified("experts11", data, one.request, cells=3) == whole[number : number + 1]
        other = changed(data, place[1 - number] + 500)
        assert verified("experts11", other, one.request, cells=3) == whole[number : number + 1]
        with pytest.raises(VerificationError):
            verified("experts11", other, many[1 - number].request, cells=3)


class Watched(io.BytesIO):
    """A proof that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_who_checks_one_receipt_reads_no_other_opening_and_holds_no_more() -> None:
    one = answered("w8a16")
    asked, key = one.request, published("w8a16").key
    read, held = [], []
    for many in ([one], [one, *(answered("w8a16", i) for i in range(1, 6))]):
        stream = Watched(proof("w8a16", *many))
        tracemalloc.start()
        try:
            verify_proof(key, [asked], stream, kernels=KERNELS, security=115.0)
            held.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        read.append(stream.count)
    size = one.opening.seek(0, 2)
    assert read[1] < read[0] + size / 4  # messages of sumcheck, receipts and heads of frames
    assert held[1] < 1.2 * held[0] + 100_000


def test_a_false_answer_does_not_pass_beside_a_true_one() -> None:
    """Errors of two requests that would cancel in a sum over both; a verifier of either finds its own."""
    from public.forging import altered, head_cells

    first = head_cells("w8a16")[0]
    pair = [altered("w8a16", {(first, 0, 0): off}, number=i) for i, off in ((0, 1), (1, -1))]
    data = proof("w8a16", *pair)
    for asked in (pair, pair[:1], pair[1:]):
        with pytest.raises(VerificationError, match="step 8: evaluation"):
            verified("w8a16", data, *(a.request for a in asked), cells=1)
    data = proof("w8a16", pair[0], answered("w8a16", 1))
    assert verified("w8a16", data, request("w8a16", 1))
    with pytest.raises(VerificationError, match="step 8: evaluation"):
        verified("w8a16", data, pair[0].request, cells=1)


def test_a_proof_holds_only_under_its_public_key() -> None:
    data = proof("w8a16")
    other = published("w8a16", rho=3)
    with pytest.raises(VerificationError, match="step 3: the proof is for another public key"):
        verify_proof(other.key, [request("w8a16")], io.BytesIO(data), kernels=KERNELS)
    claimed = replace(ProofHead.decode(_parts(data)[0]), public_id=other.key.public_id)
    with pytest.raises(VerificationError, match=r"step [178]:"):
        verify_proof(other.key, [request("w8a16")], io.BytesIO(_joined(data, head=claimed)), kernels=KERNELS)


def _parts(data: bytes) -> tuple[bytes, Proof]:
    found = Proof.read(io.BytesIO(data))
    return found.head.encode(), found


def _joined(data: bytes, *, head: ProofHead | None = None, evaluation: bytes | None = None) -> bytes:
    found, out = _parts(data)[1], io.BytesIO()
    made = found.evaluation.read(found.evaluation_size) if evaluation is None else evaluation
    openings = [(o, len(o.read(1 << 30))) for o in found.openings]
    write_proof(out, head or found.head, found.receipts, openings, made)
    return out.getvalue()


def _evaluation(kind: str, data: bytes) -> Evaluation:
    found = _parts(data)[1]
    layout = published(kind).key.layout
    encoded = found.evaluation.read(found.evaluation_size)
    return Evaluation.decode(encoded, layout, len(found.head.requests), found.head.positions)


@pytest.mark.parametrize("kind", ["w8a16", "w16a16"])
def test_every_value_of_an_evaluation_matters(kind: str) -> None:
    data = proof(kind)
    found = _evaluation(kind, data)
    rng = np.random.default_rng(1)
    changes: list[tuple[str, Evaluation]] = []
    other = r"step [178]: evaluation: (a position|.* positions, not|the combined)"  # others are drawn then
    for i in range(len(found.rounds)):
        for column in range(3):
            rounds = found.rounds.copy()
            rounds[i, 0, rng.integers(6), column] ^= np.uint64(1)
            changes.append((other, replace(found, rounds=rounds)))
    for i, w in enumerate(found.combined):
        for _ in range(4):
            made = w.copy()
            made[rng.integers(6), rng.integers(w.shape[1])] ^= np.uint32(1)
            combined = (*found.combined[:i], made, *found.combined[i + 1 :])
            changes.append((other, replace(found, combined=combined)))
    for i, opened in enumerate(found.opened):
        words = opened.words.copy()
        words[rng.integers(len(words)), rng.integers(words.shape[1])] ^= np.uint32(1)
        paths = (opened.paths[1], opened.paths[0], *opened.paths[2:])
        digest = bytes([opened.paths[0][0][0] ^ 1]) + opened.paths[0][0][1:]
        flipped = ((digest, *opened.paths[0][1:]), *opened.paths[1:])
        short = (opened.paths[0][:-1], *opened.paths[1:])
        for text, wrong in (
            ("step 7: evaluation: a position is not under", Opened(words, opened.paths)),
            ("step 7: evaluation: a position is not under|step 1", Opened(opened.words, paths)),
            ("step 7: evaluation: a position is not under", Opened(opened.words, flipped)),
            ("step 1: evaluation:", Opened(opened.words, short)),
            ("step 1: evaluation: .* positions, not", Opened(opened.words[1:], opened.paths[1:])),
        ):
            changes.append((text, replace(found, opened=(*found.opened[:i], wrong, *found.opened[i + 1 :]))))
    for text, altered in changes:
        with pytest.raises(VerificationError, match=text):
            verified(kind, _joined(data, evaluation=altered.encode()))


def test_an_encoding_that_is_not_canonical_is_refused() -> None:
    data = proof("w8a16")
    found = _evaluation("w8a16", data)
    p = (1 << 31) - 1
    w = found.combined[0].copy()
    w[0, 0] = p + int(w[0, 0] == 0)
    words = found.opened[0].words.copy()
    words[0, 0] = np.uint32(int(words[0, 0]) | 1 << 31)
    for altered in (
        replace(found, combined=(w, *found.combined[1:])),
        replace(found, opened=(Opened(words, found.opened[0].paths), *found.opened[1:])),
    ):
        with pytest.raises(VerificationError, match=r"step 1: .* residue that is not canonical"):
            verified("w8a16", _joined(data, evaluation=altered.encode()))
    made = found.encode()
    for wrong in (made[:-1], made + b"\0", b"\x80"):
        with pytest.raises(VerificationError, match="step 1"):
            verified("w8a16", _joined(data, evaluation=wrong))
    with pytest.raises(VerificationError, match="step 8: the opening has products, and the proof has no"):
        verified("w8a16", _joined(data, evaluation=b""))
    count = len(found.shape.layout.planes)
    for planes in ([], [*range(count - 1)], [0, count]):
        bits = np.zeros(-(-count // 8) * 8, np.uint8)
        bits[planes] = 1
        named = made.replace(found.shape.mask, np.packbits(bits, bitorder="little").tobytes(), 1)
        with pytest.raises(VerificationError, match=r"step [178]"):
            verified("w8a16", _joined(data, evaluation=named))
    assert Evaluation.decode(made, found.shape.layout, 1, POSITIONS).encode() == made


def test_any_changed_byte_of_a_proof_is_found() -> None:
    """Whatever lies at a byte: heads of frames, the head, receipt, opening, evaluation."""
    data = proof("w8a16")
    rng = np.random.default_rng(3)
    for at in (*range(60), *rng.integers(0, len(data), 120).tolist()):
        try:
            found = verified("w8a16", changed(data, at, 1 << int(rng.integers(8))))
        except VerificationError:
            continue
        pytest.fail(f"byte {at} does not matter: {found}")


def test_a_proof_that_ends_early_or_late_is_refused() -> None:
    data = proof("experts11")
    for cut in (0, 1, 10, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(VerificationError, match="step 1"):
            verified("experts11", data[:cut])
    with pytest.raises(VerificationError, match="bytes after the end"):
        verified("experts11", data + b"\0")
    out = io.BytesIO()
    write_frame(out, ProofHead(bytes(32), 1, (Shown(ALL, bytes(32)),)).encode())
    with pytest.raises(VerificationError, match="step 1: the public proof ends"):
        verified("experts11", out.getvalue())


def test_a_prover_needs_the_model_and_the_codes_of_the_key() -> None:
    mine = published("w8a16")
    with pytest.raises(MismatchError, match="of another model, or its codes are other ones"):
        prove(mine, model("w8a8"), [answered("w8a16")], io.BytesIO(), positions=3, kernels=KERNELS)
    other = replace(mine, trees=published("w8a16", 3).trees)
    with pytest.raises(MismatchError, match="its codes are other ones"):
        prove(other, model("w8a16"), [answered("w8a16")], io.BytesIO(), positions=3, kernels=KERNELS)


def test_a_prover_does_not_prove_a_false_opening() -> None:
    one = answered("w8a16")
    opening = one.opening.read()
    false = replace(one, opening=io.BytesIO(changed(opening, len(opening) // 2)))
    with pytest.raises(VerificationError):
        proof("w8a16", false)


def test_public_keys_survive_their_encoding() -> None:
    for kind in KINDS:
        key = published(kind).key
        again = PublicKey.decode(key.encode())
        assert (again.encode(), again.public_id, again.layout) == (key.encode(), key.public_id, key.layout)


def test_positions_follow_from_the_wanted_security() -> None:
    layout = published("w8a16").key.layout
    for bits in (1, 40, 100, 181):
        count = positions_for(layout, bits)
        assert error_bits(layout, count) >= bits
        assert count == 1 or error_bits(layout, count - 1) < bits
    assert 180 < error_bits(layout, 1000) < 186


def test_a_proof_of_fewer_cells_than_asked_for_is_refused() -> None:
    """Their number is the prover's choice; a proof of one cell would else be as good as one of all."""
    data = proof("w8a16", answered("w8a16", cells=5))
    for cells in (ALL, 6):
        with pytest.raises(VerificationError, match=r"step 10: 5 of .* cells are proved, and not"):
            verified("w8a16", data, cells=cells)
    assert verified("w8a16", data, cells=4)


def test_a_proof_with_too_few_positions_is_refused() -> None:
    """Their number is the prover's choice; what suffices is the verifier's."""
    data = proof("w8a16")
    data = _joined(data, head=replace(Proof.read(io.BytesIO(data)).head, positions=5))
    with pytest.raises(VerificationError, match=r"step 1: 5 positions of each code give .* fewer than 115"):
        verified("w8a16", data)
    with pytest.raises(InputError, match="proves nothing"):
        verified("w8a16", data, security=20.0)
    with pytest.raises(InputError, match=r"5 positions of each code give .* bits, which prove nothing"):
        proof("w8a16", positions=5)


def test_the_node_that_signed_may_be_named() -> None:
    data = proof("w8a16")
    assert verified("w8a16", data, node=synthetic.NODE.public)
    with pytest.raises(VerificationError, match="step 2"):
        verified("w8a16", data, node=bytes(32))
