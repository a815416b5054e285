"""Run programs, many requests in one step, and generate tokens."""

from __future__ import annotations

from proofcompute.engine.loop import Engine, Stepped
from proofcompute.engine.session import Failure, Keep, Session

__all__ = ["Engine", "Failure", "Keep", "Session", "Stepped"]
