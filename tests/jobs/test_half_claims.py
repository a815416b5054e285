"""Products whose results were rounded to 16 bits: refused by name, and never taken for right."""

from __future__ import annotations

import numpy as np
import pytest

from proofcompute.errors import InputError, VerificationError
from proofcompute.jobs import verify_product
from proofcompute.jobs.arrays import rounded_to_half


def test_types_of_16_bits_are_refused_with_what_to_do() -> None:
    a = np.ones((4, 4), np.float16)
    with pytest.raises(InputError, match="float16, of which no product is checked; widen A and B to float32"):
        verify_product(a, a, a, device="numpy")


def test_a_claim_that_was_rounded_is_told_from_one_that_was_not() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((16, 64), (64, 8)))
    right = a @ b
    verify_product(a, b, right, device="numpy")
    rounded = (right.view(np.uint32) & 0xFFFF0000).view(np.float32)
    with pytest.raises(VerificationError, match="all of C are bfloat16 numbers: if it was rounded"):
        verify_product(a, b, rounded, device="numpy")
    with pytest.raises(VerificationError, match=r"within rounding$"):
        verify_product(a, b, right + 1, device="numpy")


@pytest.mark.parametrize(
    ("value", "name"),
    [(1.5, "bfloat16"), (1 + 2.0**-10, "float16"), (1 + 2.0**-20, ""), (2.0**100, "bfloat16"), (65519.0, "")],
)
def test_what_a_matrix_was_rounded_to(value: float, name: str) -> None:
    for dtype in (np.float32, np.float64):
        assert rounded_to_half(np.full((2, 2), value, dtype)) == name
