"""How often false words and false sums pass, with few positions and few challenges: what the bounds say."""

from __future__ import annotations

import numpy as np
import pytest

from codes.test_codes import _kernel_vector
from proofcompute.arrays import U64
from proofcompute.codes import extension, sumcheck
from proofcompute.codes.circle import CircleCode, draw_positions
from proofcompute.commitments.hashing import Xof
from proofcompute.freivalds.primes import P31


@pytest.mark.parametrize(("length", "rho"), [(4, 1), (5, 2), (8, 3)])
@pytest.mark.parametrize("positions", [1, 2])
def test_a_false_word_passes_no_oftener_than_the_bound(length: int, rho: int, positions: int) -> None:
    """The difference of a false w and the true one is a message that vanishes at chosen positions."""
    code = CircleCode.of_rate(length, rho)
    basis = code.basis(range(code.size)).astype(object)
    message = _kernel_vector(basis[: length - 1])
    zero = set(np.flatnonzero(basis @ message % P31 == 0).tolist())
    assert len(zero) >= length - 1
    assert len(zero) / code.size <= code.agreement
    tries = 1500
    draws = (
        draw_positions(Xof("rate", bytes([positions]), str(i).encode()), code.size, positions)
        for i in range(tries)
    )
    passed = sum(zero.issuperset(found) for found in draws)
    expected = (len(zero) / code.size) ** positions
    assert abs(passed / tries - expected) < 4 * (expected / tries) ** 0.5
    assert passed / tries < code.agreement**positions + 4 * (code.agreement**positions / tries) ** 0.5


def test_a_false_round_passes_at_two_challenges_at_most() -> None:
    """Challenges are drawn from 16 elements here; the best lie is true at two of them."""
    few = [
        extension.words(np.array([[i], [0], [0], [0], [0], [0]], np.uint64)).astype(np.uint64)
        for i in range(16)
    ]
    f, g = (extension.drawn(Xof("table", name), 2) for name in (b"f", b"g"))
    claim = extension.total(extension.multiply(f, g))

    def honest(message: U64) -> U64:
        return few[0]

    (true,), _, _, _ = sumcheck.proved(f, [g], honest)
    # The difference of the lie and the true polynomial is c (x - 3) (x - 11) = c (x^2 - 14 x + 33).
    c = extension.ONE
    lie = true[0].copy()
    lie[:, :1] = extension.add(lie[:, :1], 33 * c % P31)
    lie[:, 1:2] = extension.add(lie[:, 1:2], 20 * c % P31)
    lie[:, 2:] = extension.add(lie[:, 2:], c)
    false = extension.add(claim, 53 * c % P31)
    passed = []
    for i, x in enumerate(few):
        end = sumcheck.followed(false, [lie], [x])
        assert end is not None
        at_f, at_g = (
            extension.add(t[:, :1], extension.multiply(x, extension.subtract(t[:, 1:], t[:, :1])))
            for t in (f, g)
        )
        if np.array_equal(end, extension.multiply(at_f, at_g)):
            passed.append(i)
    assert passed == [3, 11]


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_random_points_miss_a_difference_as_often_as_its_degree_allows(bits: int) -> None:
    """s is drawn from few elements: a table that is not zero has an extension that vanishes at few points."""
    size = 5
    few = [np.array([[i], [0], [0], [0], [0], [0]], np.uint64) for i in range(size)]
    table = extension.zeros(1 << bits)
    table[0, -1] = 1  # it is the product of all variables, so it vanishes wherever one of them is zero
    vanished = 0
    for i in range(size**bits):
        point = [few[i // size**j % size] for j in range(bits)]
        value = extension.total(extension.multiply(sumcheck.equality(point), table))
        vanished += not value.any()
    assert vanished == size**bits - (size - 1) ** bits <= bits * size ** (bits - 1)
