"""What a hint holds: one set for both limbs of the rows where it stays below 2^30, else a set for each."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32, I8, I32
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.encoding.frames import read_frame
from proofcompute.errors import VerificationError
from proofcompute.freivalds.hint import HintSet
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import hint_sets, largest_squares, pack_set
from proofcompute.limits import MAX_ACCUMULATOR
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover.node import Node
from proofcompute.verifier import Verified, keygen
from proofcompute.verifier.auditor import Auditor

FAST, SLOW = kernels_for("auto"), kernels_for("numpy")
WIDTH, OUT, ROWS = 600, 5, 3


NODE = NodeIdentity(bytes(32))


def test_limbs_are_together_up_to_the_bound_and_apart_beyond_it() -> None:
    """256 q_high + q_low = 32639 everywhere, so |x|^2 is known; at 2^60 the limbs part."""
    d = 4
    q = np.full((2, 2, d), 127, np.int8)
    length = 32639**2 * d
    most = ((1 << 60) - 1) // length
    for squares in (0, 1, most, most + 1):
        made = hint_sets(Site("w", 3, d, 2, 1), q, (squares,), FAST)
        if squares <= most:
            assert made == (HintSet(0, d, (0, 1), 0, 0, math.isqrt(length * squares)),)
            assert made[0].bound < MAX_ACCUMULATOR
        else:
            assert made == (HintSet(0, d, (0,), 0, 8, d << 14), HintSet(0, d, (1,), 0, 0, d << 14))


def test_the_row_that_is_largest_decides() -> None:
    q = np.zeros((2, 3, 8), np.int8)
    q[0, 1] = 127
    rows = 256 * 127
    squares = (1 << 60) // (8 * rows * rows) + 1
    assert len(hint_sets(Site("w", 3, 8, 2, 1), q, (squares,), FAST)) == 2
    q[0, 1, 0] = 0
    assert len(hint_sets(Site("w", 3, 8, 2, 1), q, (squares,), FAST)) == 1


@pytest.mark.parametrize("w_limbs", [1, 2])
@pytest.mark.parametrize("d", [1, 33, 32768, 32769, 70000])
def test_claims_add_up_to_the_product(d: int, w_limbs: int) -> None:
    rng = np.random.default_rng(d)
    for spread in (3, 127):
        q = rng.integers(-spread, spread + 1, (2, 3, d)).astype(np.int8)
        w = Matrix(rng.integers(-128, 128, (w_limbs, 4, d)).astype(np.int8), np.ones(4, np.float32))
        site = Site("w", 4, d, 2, w_limbs)
        squares = largest_squares(w.q, FAST)
        assert squares == largest_squares(w.q, SLOW)
        assert squares == tuple(int((limb.astype(np.int64) ** 2).sum(axis=1).max()) for limb in w.q)
        made = hint_sets(site, q, squares, FAST)
        assert made == hint_sets(site, q, squares, SLOW)
        x = _whole(q).astype(np.float32)
        hint = FAST.linear_with_hint(x, w, 2, squares).packed
        assert hint == SLOW.linear_with_hint(x, w, 2, squares).packed
        total = np.zeros((3, 4), np.int64)
        limbs, _ = SLOW.quantise(x, 2)
        for data, claim in zip(hint, hint_sets(site, limbs, squares, SLOW), strict=True):
            values = unpack(data[1:], data[0], 12).reshape(3, 4).astype(np.int64)
            assert np.abs(values).max() <= claim.bound < MAX_ACCUMULATOR
            total += values << claim.shift
        assert (total == _whole(limbs) @ _whole(w.q).T).all()


def _whole(limbs: I8) -> np.ndarray:
    return np.asarray(sum(limb.astype(np.int64) << (8 * i) for i, limb in enumerate(limbs[::-1])))


def _flat(sign: float) -> Model:
    """One layer whose weights are all as large as can be."""
    b = ProgramBuilder()
    x = b.input("x", WIDTH)
    b.output(b.linear(x, np.full((OUT, WIDTH), sign, np.float32), name="y"))
    return b.model()


def _audit(model: Model, samples: F32, edit: Callable[[list[I32]], list[I32]] | None) -> Verified:
    request = Request(model.model_id, (("x", samples.astype("<f4").tobytes()),), bytes(32))
    node, auditor = Node(model, NODE, device=FAST), Auditor(keygen(model, FAST, seed=bytes(32)), device=FAST)
    receipt = node.answer(request).receipt
    challenge = auditor.challenge(request, receipt, "all")
    opening = node.open(request, receipt, challenge)
    if edit is not None:
        out = io.BytesIO(opening)
        head, part = (read_frame(out, limit=1 << 20, what="opening") for _ in range(2))
        assert head is not None
        assert part is not None
        groups, tables, hints = wire.as_list(wire.decode(part, limit=1 << 20, what="part"), "part", n=3)
        (sets,) = wire.as_list(hints, "hints", n=1)
        packed = [wire.as_bytes(s, "set") for s in wire.as_list(sets, "sets")]
        values = [unpack(s[1:], s[0], ROWS * OUT).reshape(ROWS, OUT) for s in packed]
        changed = tuple(pack_set(v, FAST) for v in edit(values))
        frames = [head, wire.encode((groups, tables, (changed,)))]
        opening = synthetic.closed(frames, Receipt.decode(receipt), challenge, NODE)
    return auditor.check(request, receipt, challenge, opening)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_limbs_apart(sign: float) -> None:
    """600 numbers of +-32639 times 127 exceed 2^31: an int32 cannot hold both limbs together."""
    model, samples = _flat(sign), np.ones((ROWS, WIDTH), np.float32)
    assert 32639 * 127 * WIDTH > 1 << 31
    assert _audit(model, samples, None).complete
    assert _audit(model, samples, lambda sets: sets).complete

    def shifted(sets: list[I32]) -> list[I32]:
        high, low = sets
        return [high + 1, low - 256]

    def together(sets: list[I32]) -> list[I32]:
        high, low = sets
        return [(high << 8) + low]  # wraps

    for edit in (shifted, together):
        with pytest.raises(VerificationError) as caught:
            _audit(model, samples, edit)
        assert caught.value.step == 8
    one = np.zeros((ROWS, WIDTH), np.float32)
    one[:, 0] = 1  # a row with one large number is short, so its limbs are together
    assert _audit(model, one, lambda sets: sets if len(sets) == 1 else []).complete
