"""Running programs: the loop that generates tokens, and the rule that stops it."""

from __future__ import annotations

from proofcompute.generation.loop import Engine, Session
from proofcompute.generation.stop import check_answer, stop_reason

__all__ = ["Engine", "Session", "check_answer", "stop_reason"]
