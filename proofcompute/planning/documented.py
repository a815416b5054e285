"""Figures that were measured once, for those who measure nothing (docs/measurements.md).

How node and verifier share the work between counts was measured for the demo model at 64 + 448 tokens, on two
cores that others used too (the fit was within 60 %). All weights of a column were then scaled to the totals
of a full audit on quiet cores: 2.87 s of running, of which opening takes 0.24 and checking 0.07.
"""

from __future__ import annotations

from typing import Final

from proofcompute.planning.figures import Figures, Weights

__all__ = ["DOCUMENTED"]

DOCUMENTED: Final = Figures(
    source="documented: two cores of a shared server, SmolLM2-135M at 64+448 tokens",
    running=1.82e-11,
    committing=0.006,
    again=0.25,
    opening=Weights(audits=1.32e-3, cells=2.59e-4, products=2.64e-12, besides=1.46e-11),
    verifying=Weights(audits=1.99e-3, cells=1.20e-4, checks=9.94e-13, besides=6.98e-12),
    nbytes=Weights(audits=3183, rows=0.871, hints=0.540),
    fit=0.59,
)
