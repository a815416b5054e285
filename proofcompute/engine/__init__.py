"""Run programs, many requests in one step, and generate tokens."""

from __future__ import annotations

from proofcompute.engine.logits import all_logits, logits_of
from proofcompute.engine.loop import Engine, Stepped
from proofcompute.engine.session import Failure, Keep, Session

__all__ = ["Engine", "Failure", "Keep", "Session", "Stepped", "all_logits", "logits_of"]
