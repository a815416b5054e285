"""Define what a runner says of itself."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from proofcompute.engine import Session
from proofcompute.prover.node import Answer

__all__ = ["RunnerEvents", "RunnerState", "report"]


class RunnerState(Enum):
    """What a runner does."""

    NEW = "new"
    """It was not started yet; it takes requests, and computes them once it is started."""
    RUNNING = "running"
    """It takes requests and computes."""
    DRAINING = "draining"
    """It finishes what it has taken, and takes nothing more."""
    STOPPED = "stopped"
    """It was closed."""
    FAILED = "failed"
    """A device or a fault in the program ended it."""


class RunnerEvents(Protocol):
    """What a runner reports, from its own threads; the methods must return at once and not raise."""

    def stepped(self, rows: int, tokens: int, seconds: float) -> None:
        """Report a step of the engine."""
        ...

    def first_token(self, seconds: float) -> None:
        """Report the first token of a request, ``seconds`` after it was submitted."""
        ...

    def ended(self, outcome: str) -> None:
        """Report the end of a request: ``answered``, ``cancelled``, ``failed`` or ``recomputed``."""
        ...


def report(events: RunnerEvents, outcome: Answer | Session | BaseException, *, cancelled: bool) -> None:
    """Report the end of a request, or of a recomputation."""
    if isinstance(outcome, Session):
        events.ended("recomputed")
    elif cancelled:
        events.ended("cancelled")
    else:
        events.ended("answered" if isinstance(outcome, Answer) else "failed")
