"""Verdicts in the log: what was accepted, and what was rejected at which step.

A record names the request and the node by the first 8 bytes of digest and key, and a rejection by its step,
cell and operation. The text of the error is not logged, since it may name a token of the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proofcompute.errors import VerificationError
from proofcompute.freivalds.soundness import shown
from proofcompute.logs import service_log, short
from proofcompute.protocol.messages import Request
from proofcompute.verifier.result import Verified

__all__ = ["accepted", "rejections_logged"]

_log = service_log(__name__)


@contextmanager
def rejections_logged(request: Request) -> Iterator[None]:
    """A VerificationError that is raised within is logged."""
    try:
        yield
    except VerificationError as e:
        _log.warning(
            "request %s: rejected node %s at step %d%s%s%s",
            short(request.digest),
            short(e.node),
            e.step,
            f", {e.cell}" if e.cell is not None else "",
            f", {e.operation}" if e.operation is not None else "",
            "; the node signed what is rejected" if e.attributable else "",
        )
        raise


def accepted(request: Request, found: Verified) -> Verified:
    """Log what was verified, and return it."""
    _log.info(
        "request %s: accepted node %s: %d of %d cells, %s",
        short(request.digest),
        short(found.node),
        found.cells,
        found.total,
        shown(found.soundness_bits),
    )
    return found
