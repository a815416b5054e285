"""State the version of the canonical arithmetic, in a module that messages load without kernels."""

from __future__ import annotations

from typing import Final

__all__ = ["NUMERICS"]

NUMERICS: Final = 1
"""Version of the canonical arithmetic, which every receipt and all terms name.

It increases when any value that the definition computes changes: an operation, a rounding, the sequence of a
transcendental function, the sampler, the draw of a row. It does not increase when a backend becomes faster. A
release keeps the versions that receipts within their retention may name, or says why not.
"""
