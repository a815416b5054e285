"""Define the sizes that kernels and emitted code share, which fit loops to vectors and registers.

No result depends on any of them.
"""

from __future__ import annotations

from typing import Final

from proofcompute.arithmetic.backends.numba.codegen.target import has

__all__ = [
    "BLOCK",
    "BYTES",
    "CHUNK",
    "COMBINED_PAIRS",
    "DEEP",
    "DOT_COLUMNS",
    "FACTORS",
    "GROUP",
    "LANES",
    "PATCHED_ROWS",
    "PATCH_CHANNELS",
    "PATCH_COLUMNS",
    "PATCH_LANES",
    "PATCH_ROWS",
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

# -- products of one limb by one limb ------------------------------------------------------------------------
BYTES: Final = has("avx512vnni")
"""Whether bytes are multiplied as they are, by an instruction that takes twice as many as of int16."""
FACTORS: Final = 4 if BYTES else 2
"""Elements of a row that one step multiplies into a lane."""

# -- products of few rows, without panels -----------------------------------------------------------------
PATCH_LANES: Final = 16 if WIDE_REGISTERS else 8 if has("avx2") else 4
"""32-bit lanes of one register, so that all sums of a patch stay in registers."""
PATCH_ROWS: Final = (8, 4, 2) if WIDE_REGISTERS else (4, 4, 2)
"""Rows of the large, the middle and the small patch."""
PATCH_CHANNELS: Final = (3, 6, 6) if WIDE_REGISTERS else (2, 2, 4)
"""Their channels."""
GROUP: Final = max(PATCH_CHANNELS)
"""Channels that are not divided among threads; a multiple of every patch's."""
PATCH_COLUMNS: Final = 4 * TILE_PAIRS
"""Most columns of one call of a patch (:mod:`.patch` proves it)."""
PATCHED_ROWS: Final = 64 if WIDE_REGISTERS else 1 << 30
"""Most rows for which patches are faster than panels, measured on two Zen 4 cores at all levels."""

# -- projections -------------------------------------------------------------------------------------------
ROWS: Final = 4 if WIDE_REGISTERS else 2
"""Rows that share the loaded elements of the columns."""
DEEP: Final = 128
"""Most steps, or pairs of rows, whose products in halves fit 32 bits."""
COMBINED_PAIRS: Final = 8
"""Pairs of rows that ``dots.combine`` should take; it prefetches rows this many pairs in advance."""
STRIP: Final = 4 * LANES
"""Elements of each row that ``dots.combine`` takes: one cache line."""
CHUNK: Final = 1 << 11
"""Elements of each row whose sums are kept in the first level of the cache."""
