"""Define the primes of the two fields."""

from __future__ import annotations

from typing import Final

__all__ = ["P31", "P61"]

P31: Final = (1 << 31) - 1
"""The Mersenne prime of int8 products."""
P61: Final = (1 << 61) - 1
"""The Mersenne prime of wider integer products."""
