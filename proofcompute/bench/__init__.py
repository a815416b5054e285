"""Measurements for researchers: what proving and verifying cost, and how they grow.

:func:`measure` runs the sweeps that a :class:`Settings` names and returns :class:`Results`, which are plain
data: figures, the facts of the machine, and the command that reproduces them. Every figure is a median, every
comparison a ratio taken within one run with both sides in turn, and no clock runs before everything is
compiled. Times of different runs or machines do not compare; ratios do, roughly.
"""

from __future__ import annotations

from proofcompute.bench.results import Results
from proofcompute.bench.runner import measure, planned
from proofcompute.bench.settings import Settings

__all__ = ["Results", "Settings", "measure", "planned"]
