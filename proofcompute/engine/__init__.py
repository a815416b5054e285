"""Run programs, many requests in one step, and generate tokens."""

from __future__ import annotations

from proofcompute.engine.loop import Engine
from proofcompute.engine.session import Session

__all__ = ["Engine", "Session"]
