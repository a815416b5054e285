"""Cheating nodes, and how surely an audit finds them: what ``proofcompute demo`` shows."""

from __future__ import annotations

from proofcompute.testing.cheats import CHEATS, Cheat
from proofcompute.testing.trial import bad_cells, detects, measured

__all__ = ["CHEATS", "Cheat", "bad_cells", "detects", "measured"]
