"""Attention in NumPy: the same row in any batch, prefix and window; what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.definition.attention import allowed_positions, attention, mix, softmax_terms
from proofcompute.arrays import F32
from proofcompute.errors import EmptyRowError, InputError, NonFiniteError

H, HK, DH, T = 4, 2, 8, 50
SCALE = np.float32(0.35355338)


def _arguments() -> tuple[F32, Any, F32, Any, F32]:
    rng = np.random.default_rng(3)
    q = rng.standard_normal((T, H * DH)).astype(np.float32)
    kq, vq = (rng.integers(-127, 128, (T, HK, DH)).astype(np.int8) for _ in range(2))
    ks, vs = (rng.uniform(0.001, 0.02, (T, HK)).astype(np.float32) for _ in range(2))
    return q, kq, ks, vq, vs


@pytest.mark.parametrize("window", [0, 1, 7, 32, 200])
def test_a_row_does_not_depend_on_its_batch_or_on_what_follows(window: int) -> None:
    q, kq, ks, vq, vs = _arguments()
    whole = attention(q, kq, ks, vq, vs, 0, SCALE, window)
    for first, n in ((0, 1), (5, 1), (9, 20), (49, 1)):
        end = first + n
        part = attention(q[first:end], kq[:end], ks[:end], vq[:end], vs[:end], first, SCALE, window)
        assert part.tobytes() == whole[first:end].tobytes()


def test_what_is_outside_the_window_has_no_influence() -> None:
    q, kq, ks, vq, vs = _arguments()
    expected = attention(q[40:43], kq, ks, vq, vs, 40, SCALE, 5)
    kq[:36], vq[:36], ks[:36], vs[:36] = 1, 2, np.nan, -np.inf
    kq[43:], vq[43:], ks[43:], vs[43:] = 3, 4, np.inf, -1
    assert attention(q[40:43], kq, ks, vq, vs, 40, SCALE, 5).tobytes() == expected.tobytes()


def test_close_to_attention_in_binary64() -> None:
    q, kq, ks, vq, vs = _arguments()
    found = attention(q, kq, ks, vq, vs, 0, SCALE, 0).reshape(T, H, DH)
    for h in range(H):
        k = kq[:, h // 2].astype(np.float64) * ks[:, h // 2, np.newaxis]
        v = vq[:, h // 2].astype(np.float64) * vs[:, h // 2, np.newaxis]
        x = q.reshape(T, H, DH)[:, h].astype(np.float64) @ k.T * float(SCALE)
        e = np.where(np.tril(np.ones((T, T))) > 0, np.exp(x), 0)
        np.testing.assert_allclose(found[:, h], e / e.sum(1, keepdims=True) @ v, atol=0.02)


def test_one_position_gives_its_value() -> None:
    q, kq, ks, vq, vs = _arguments()
    found = attention(q[:1], kq, ks, vq, vs, 0, SCALE, 0).reshape(H, DH)
    for h in range(H):
        np.testing.assert_allclose(found[h], vq[0, h // 2] * vs[0, h // 2], rtol=1e-6)


def test_allowed_positions() -> None:
    assert allowed_positions(2, 2, 0, 4).tolist() == [[True, True, True, False], [True] * 4]
    assert allowed_positions(2, 2, 2, 4).tolist() == [[False, True, True, False], [False, False, True, True]]
    assert allowed_positions(0, 1, 9, 1).tolist() == [[True]]
    assert allowed_positions(1, 2, 0, 5, 1).tolist() == [[True] * 3 + [False] * 2, [True] * 4 + [False]]
    assert allowed_positions(1, 2, 1, 4, 1).tolist() == [
        [False, True, True, False],
        [False, False, True, True],
    ]


def test_softmax_terms() -> None:
    scores = np.array([[1, np.nan, 1, -np.inf]], dtype=np.float32)
    allowed = np.array([[True, False, True, False]])
    e, total = softmax_terms(scores, allowed)
    assert e.tolist() == [[1, 0, 1, 0]]
    assert total.tolist() == [2]
    with pytest.raises(NonFiniteError):
        softmax_terms(scores, np.array([[True, False, True, True]]))
    with pytest.raises(EmptyRowError):
        softmax_terms(np.zeros((2, 3), np.float32), np.array([[True, True, True], [False, False, False]]))


def test_mix_of_nothing_is_positive_zero() -> None:
    e, one = np.ones((1, 2), dtype=np.float32), np.ones(1, dtype=np.float32)
    values = np.full((2, 3), -5, dtype=np.int8)
    # for the last, 32639 / M overflows
    for scale in (0.0, -0.0, 1e-38):
        out = mix(e, one, np.full(2, scale, dtype=np.float32), values)
        assert out.view(np.uint32).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("first", "window", "columns"), [(-1, 0, 32), (0, -1, 32), (49, 0, 32), (0, 0, 24), (0, 0, 33)]
)
def test_shapes_that_do_not_fit(first: int, window: int, columns: int) -> None:
    _, kq, ks, vq, vs = _arguments()
    with pytest.raises(InputError):
        attention(np.zeros((2, columns), dtype=np.float32), kq, ks, vq, vs, first, SCALE, window)
