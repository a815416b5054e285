"""Forged hints, what a failed check tells, and how often a wrong product passes."""

from __future__ import annotations

import math
import traceback
from dataclasses import replace

import numpy as np
import pytest

from adversary.attacks import ATTACKS
from adversary.cheats import CHEATS
from adversary.hints import TARGET, hint_of, logits_of, packed_sets, with_hint
from adversary.setting import KERNELS, NODE, case, forge, honest, key, model, request
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.definition.bitpack import pack
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I8, I32, U32
from proofcompute.attacks.case import Case
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError, MismatchError
from proofcompute.freivalds import field
from proofcompute.freivalds.columns import derive, project_weight
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.hint import Hint, HintSet
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import hint_sets, largest_squares
from proofcompute.models.model import Model
from proofcompute.verifier import Key, keygen


@pytest.mark.parametrize("name", ["an accumulator plus p", "accumulators minus p"])
def test_a_hint_forged_modulo_p_would_satisfy_the_product_check(name: str) -> None:
    """Only the bound stands against it: over GF(p) the forged sets are the true ones."""
    attack = ATTACKS[name][0]()
    assert attack.rejection().step == 8
    acc = hint_of(honest(), TARGET, 0)
    forged = acc.copy()
    forged[0, 0, 3] += P31 if forged[0, 0, 3] < 0 else -P31
    s = key().columns.s("embedding", model().program.weight["embedding"].rows)
    np.testing.assert_array_equal(KERNELS.project(forged[0], s), KERNELS.project(acc[0], s))


class Counting(NumpyKernels):
    """Counts projections and their columns."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def project(self, y: I32 | I8, s: U32) -> U32:
        self.seen.append((y.shape[0], s.shape[0]))
        return super().project(y, s)


def _small(
    together: bool, rows: int = 3, limbs: int = 2, w_limbs: int = 2
) -> tuple[I8, I32, I8, tuple[HintSet, ...]]:
    """Limbs of rows [limbs, n, 9], all true sets, limbs of weights [w_limbs, 7, 9], the claims.

    Limbs of the rows have one set together, or (as if the weights could be larger) one each.
    """
    rng = np.random.default_rng(5)
    q = rng.integers(-127, 128, (limbs, rows, 9), np.int8)
    w = rng.integers(-127, 128, (w_limbs, 7, 9), np.int8)
    squares = largest_squares(w, KERNELS) if together else (1 << 60,) * w_limbs
    made = hint_sets(Site("w", 7, 9, limbs, w_limbs), q, squares, KERNELS)
    return q, np.stack([_true(q, w, c) for c in made]), w, made


def _true(q: I8, w: I8, claim: HintSet) -> I32:
    rows = sum(q[i].astype(np.int32) * 256**n for n, i in enumerate(reversed(claim.limbs)))
    return np.asarray(rows @ w[claim.w_limb].astype(np.int32).T, np.int32)


def _holds(q: I8, values: I32, made: tuple[HintSet, ...], s: U32, v: U32, kernels: Kernels = KERNELS) -> bool:
    n, m = values.shape[1:]
    sets = [(32, pack(y, 32)) for y in values]
    ones = np.ones(n, np.float32), np.ones(m, np.float32)
    return kernels.check_hint(Hint(q, made, sets, s, v, *ones, None, None)).holds


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_every_column_of_every_set_and_row_is_evaluated_whatever_fails(columns: int, together: bool) -> None:
    q, acc, w, made = _small(together)
    assert len(made) == (2 if together else 4)
    s = field.sample31(Xof("test", b"s"), (columns, 7))
    v = np.stack([KERNELS.fold(limb, s) for limb in w])
    for wrong in (None, *range(len(made))):
        forged = acc.copy()
        if wrong is not None:
            forged[wrong, 0, 0] += 1
        counting = Counting()
        assert _holds(q, forged, made, s, v, counting) == (wrong is None)
        rows = [6] * 2 if together else [3] * 4
        assert counting.seen == [(n, columns) for n in [3] * len(made) + rows]


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize(("together", "index"), [(True, 0), (True, 1), *((False, i) for i in range(4))])
def test_an_error_in_any_set_and_row_is_found(together: bool, index: int, row: int) -> None:
    q, acc, w, made = _small(together)
    s = field.sample31(Xof("test", b"s"), (2, 7))
    v = np.stack([KERNELS.fold(limb, s) for limb in w])
    for channel in range(7):
        for error in (1, -1, 256, -256, 1 << 20):
            forged = acc.copy()
            forged[index, row, channel] += error
            assert not _holds(q, forged, made, s, v)


def test_a_failed_product_check_says_where_and_nothing_else() -> None:
    """Two different errors in one product give errors that cannot be told apart."""
    told = []
    for name in (
        "a compensating error of a whole limb",
        "a compensating error in two columns",
        "a hint of zeros",
    ):
        error = ATTACKS[name][0]().rejection()
        assert error.__cause__ is None
        assert error.__context__ is None
        told.append((str(error), error.args, vars(error)))
        named = {"node", "model_id", "request_digest", "receipt_digest"}  # public, all four
        fields = {"step", "reason", "cell", "operation", "expected", "found", "attributable"}
        assert set(vars(error)) == fields | named
        assert (error.expected, error.found) == (None, None)
        assert error.reason == "the product check failed"
        shown = "".join(traceback.format_exception(error))
        assert not any(str(n) in shown for n in _secrets())
    assert told[0] == told[1] == told[2]


def _secrets() -> list[int]:
    """Large numbers of the key for the product that fails: elements of S and V."""
    spec = model().program.weight["block.0.attention.qkv"]
    s, v = key().columns.s(spec.name, spec.rows), key().columns.v(spec.name, spec.rows)
    return [int(x) for x in np.concatenate([s.ravel(), v.ravel()])]


def test_no_secret_is_shown_by_repr() -> None:
    """Logs and tracebacks print objects: neither a key nor an identity may show its seed or V."""
    shown = repr(key()) + repr(key().columns) + repr(NODE)
    assert repr(key().columns.seed) not in shown
    assert repr(NODE.seed) not in shown
    assert "array" not in repr(key().columns)


def test_a_stolen_key_forges_and_another_key_catches() -> None:
    """Whoever knows S of a one-column key finds a small error e with e S = 0 and passes; other keys see it.

    S is derived per key, so what is forged against one verifier is caught by every other one.
    """
    attack = _forged_under(stolen := key(columns=1))
    assert replace(attack, holder=stolen).verify().cells == 1
    for another in (key(columns=1, secret=8), key(columns=2, secret=7), key(columns=2, secret=9)):
        assert replace(attack, holder=another).rejection().step == 8


def test_a_key_of_another_model_forges_nothing_though_the_seed_is_the_same() -> None:
    """A verifier may keep one seed for all its models; each has columns of its own."""
    attack = _forged_under(key(seed=1, columns=1))
    assert replace(attack, holder=key(columns=1)).rejection().step == 8


def _forged_under(stolen: Key) -> Case:
    """A wanted token's opening, with a hint whose error the one column of a key does not see."""
    s = stolen.columns.s("embedding", model().program.weight["embedding"].rows)[0].astype(object)
    acc = hint_of(honest(), TARGET, 0)
    token = int(np.argsort(logits_of(acc))[-2])  # the runner-up
    forged = acc
    # x s_token = y s_other mod p with |x|, |y| < sqrt p: the half-extended Euclidean algorithm on the ratio
    for other in range(100, 200):
        forged = acc.copy()
        x, y = _small_relation(int(s[token]) * pow(int(s[other]), -1, P31) % P31)
        times = (1 << 23) // abs(x) + 1  # a multiple of the relation is one as well
        forged[0, 0, token] += times * abs(x)
        forged[0, 0, other] -= times * (y if x > 0 else -y)
        if logits_of(forged).argmax() == token:
            break
    assert logits_of(forged).argmax() == token
    forgery = forge(choose=lambda n, old: token if n == 5 else old)
    return with_hint(forgery, TARGET, 0, packed_sets(forged))


def _small_relation(ratio: int) -> tuple[int, int]:
    """x, y with x * ratio = y mod p and both below sqrt p in absolute value."""
    r0, r1, x0, x1 = P31, ratio, 0, 1
    while r1 * r1 > P31:
        q = r0 // r1
        r0, r1, x0, x1 = r1, r0 - q * r1, x1, x0 - q * x1
    assert (x1 * ratio - r1) % P31 == 0
    return x1, r1


def test_columns_are_drawn_for_each_matrix_and_key() -> None:
    """S is never shared: not between matrices, not between keys or models, not between columns."""
    specs = [w for w in model().program.weights if w.kind == "matrix"]
    drawn = {
        derive(bytes([i] * 32), bytes([j] * 32), spec.name, spec.rows, 2)[c].tobytes()[:64]
        for i in (1, 2)
        for j in (1, 2)
        for spec in specs
        for c in (0, 1)
    }
    assert len(drawn) == 8 * len(specs)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_wrong_product_passes_as_often_as_the_bound_says(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over GF(7) in place of GF(2^31 - 1), the same code accepts one wrong element in 7^-k of all draws of S.

    4 standard deviations around the mean of 4,000 draws from one fixed stream.
    """
    monkeypatch.setitem(field._TYPES, 7, field._TYPES[P31])
    monkeypatch.setattr(field, "P31", 7)
    q, acc, w, made = _small(False, 1, 1, 1)
    forged = acc.copy()
    forged[0, 0, 2] += 3
    xof = Xof("soundness", bytes([columns]))
    trials, passed = 4000, 0
    for trial in range(trials):
        s = field.sample31(xof, (columns, 7))
        v = np.stack([KERNELS.fold(limb, s) for limb in w])
        passed += _holds(q, forged, made, s, v)
        if trial % 100 == 0:
            assert _holds(q, acc, made, s, v)
    p = 7.0**-columns
    assert abs(passed - trials * p) < 4 * (trials * p * (1 - p)) ** 0.5


def test_an_error_that_vanishes_modulo_p_always_passes_the_product_check() -> None:
    """Why the bound is part of the check and not a formality."""
    q, acc, w, made = _small(False, 1, 1, 1)
    forged = acc.copy()
    at = int(np.flatnonzero(forged[0, 0] < 0)[0])
    forged[0, 0, at] += P31
    for seed in range(5):
        s = field.sample31(Xof("test", bytes([seed])), (2, 7))
        assert _holds(q, forged, made, s, np.stack([KERNELS.fold(w[0], s)]))


class Counted:
    """The log of a key that was used so often."""

    def __init__(self, count: int) -> None:
        self.attempts: list[tuple[bytes, bytes]] = []
        self.count = count

    def attempt(self, nonce: bytes = b"", digest: bytes = b"") -> int:
        self.count += 1
        return self.count


def test_attempts_are_subtracted_from_the_soundness() -> None:
    good = case(honest(), TARGET)

    def bits(attempts: int) -> float:
        return replace(good, holder=replace(key(), log=Counted(attempts - 1))).verify().soundness_bits

    assert bits(1) == pytest.approx(62, abs=1e-6)
    assert bits(1 << 20) == pytest.approx(42, abs=1e-6)
    assert bits(1 << 61) == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="make a new key"):
        bits(1 << 62)


def test_every_attempt_counts_whatever_comes_of_it() -> None:
    holder, forgery = key(), CHEATS["one matrix zeroed"].build()
    for number in range(1, 4):
        case(forgery, holder=holder).rejection()
        assert len(holder.log.attempts) == 3 * number - 1  # what is rejected is read, and counted, twice
        assert case(honest(), TARGET, holder=holder).verify().soundness_bits == pytest.approx(
            62 - math.log2(3 * number), abs=1e-6
        )


def test_a_nonce_that_another_request_had_is_refused() -> None:
    """However good the receipt: a node that saw the nonce before may answer with what it has."""
    holder = key()
    assert case(honest(), holder=holder).verify().complete
    assert case(honest(), holder=holder).verify().complete  # the same request may be verified again
    again = forge(asked=request(prompt="Another one"))
    with pytest.raises(MismatchError, match="nonce of another one"):
        case(again, holder=holder).verify()
    assert case(forge(asked=request(prompt="Another one", nonce=bytes(32))), holder=holder).verify().complete


def test_a_failure_looks_the_same_whichever_column_fails() -> None:
    """A key whose two columns differ: errors that only one column sees are told in the same words."""
    forgery = CHEATS["one matrix zeroed"].build()
    attack = case(forgery)
    told = set()
    for secret in (7, 8, 9):
        error = replace(attack, holder=key(secret=secret)).rejection()
        told.add((str(error), error.cell, error.operation))
    assert len(told) == 1


def test_a_key_is_made_from_checked_weights_only() -> None:
    """V of a key follows from the model's matrices and the seed, matrix by matrix."""
    assert set(key().columns.projections) == {w.name for w in model().program.weights if w.kind == "matrix"}
    for name, v in key().columns.projections.items():
        spec = model().program.weight[name]
        s = derive(bytes([7] * 32), model().model_id, name, spec.rows, 2)
        np.testing.assert_array_equal(project_weight(model().matrix(name).q, s, KERNELS), v)
    liar = Model(model().card, {**model().weights, "norm": model(1).weights["norm"]})
    with pytest.raises(MismatchError):
        keygen(liar, KERNELS)
