"""The version of the canonical arithmetic: a module of its own, so that messages name it without kernels."""

from __future__ import annotations

from typing import Final

__all__ = ["NUMERICS"]

NUMERICS: Final = 1
"""Version of the canonical arithmetic, which every receipt and all terms name.

It grows when any value that the definition computes changes: an operation, a rounding, a transcendental's
sequence, the sampler, the draw of a row. It does not grow when a backend becomes faster. A release keeps the
versions that receipts within their retention may name, or says why not.
"""
