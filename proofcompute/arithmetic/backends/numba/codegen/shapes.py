"""Define the sizes that kernels and emitted code share, which fit loops to vectors and registers.

No result depends on any of them.
"""

from __future__ import annotations

from typing import Final

from proofcompute.arithmetic.backends.numba.codegen.target import has

__all__ = [
    "BLOCK",
    "CHUNK",
    "COMBINED_PAIRS",
    "DEEP",
    "DOT_COLUMNS",
    "LANES",
    "PERMUTES",
    "ROWS",
    "SMALL_ROWS",
    "STEP",
    "STRIP",
    "TILE_COLUMNS",
    "TILE_PAIRS",
    "TILE_ROWS",
    "WIDE_REGISTERS",
]

# -- vectors ---------------------------------------------------------------------------------------------
LANES: Final = 16
"""32-bit lanes of a vector: one AVX-512 register, two of AVX2, four of NEON."""
WIDE_REGISTERS: Final = has("avx512bw")
"""Whether 32 vectors of 16 lanes fit in registers."""
PERMUTES: Final = 16 if has("avx512f") else 8 if has("avx2") else 0
"""Most lanes whose 32-bit values can be permuted, 16 or 8; 0 where the target has no such instruction."""

# -- rows ------------------------------------------------------------------------------------------------
BLOCK: Final = 4 * LANES
"""Elements of one block of a float row."""
STEP: Final = 2 * LANES
"""Elements of a row that one step of a sum of products takes."""

# -- products of activations and weights --------------------------------------------------------------------
TILE_PAIRS: Final = 256
"""Most steps, or pairs of columns, between two additions to int64 (:mod:`.tile` proves it)."""
DOT_COLUMNS: Final = TILE_PAIRS * STEP
"""Most columns of one call of ``tile.dot``."""
TILE_COLUMNS: Final = 2 * LANES
"""Output columns of a tile, and the width of a panel."""
TILE_ROWS: Final = 12 if WIDE_REGISTERS else 3
"""Rows of a tile; its sums fill most of the registers."""
SMALL_ROWS: Final = 4 if WIDE_REGISTERS else 3
"""Rows of a small tile; divides TILE_ROWS."""

# -- projections -------------------------------------------------------------------------------------------
ROWS: Final = 4 if WIDE_REGISTERS else 2
"""Rows that share the loaded elements of the columns."""
DEEP: Final = 128
"""Most steps, or pairs of rows, whose products in halves fit 32 bits."""
COMBINED_PAIRS: Final = 8
"""Pairs of rows that ``dots.combine`` should take; it prefetches rows this many pairs in advance."""
STRIP: Final = 4 * LANES
"""Elements of each row that ``dots.combine`` takes: one cache line."""
CHUNK: Final = 1 << 10
"""Elements of each row whose sums are kept in the first level of the cache."""
