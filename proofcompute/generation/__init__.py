"""Running programs: the loop that generates tokens, the rule that stops it, what is shown of an answer."""

from __future__ import annotations

from proofcompute.generation.answer import AnswerText, answer_text
from proofcompute.generation.loop import Engine
from proofcompute.generation.session import Session
from proofcompute.generation.stop import check_answer, stop_reason

__all__ = ["AnswerText", "Engine", "Session", "answer_text", "check_answer", "stop_reason"]
