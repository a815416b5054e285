"""Log verdicts: which receipts were accepted, and which were rejected at which step.

A record names the request and the node by the first 8 bytes of digest and key. The record of a rejection also
names its step, cell and operation, but not the text of the error, which may name a token of the prompt.
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
    """Log a VerificationError that is raised inside the block."""
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
    """Log the evidence ``found`` and return it."""
    _log.info(
        "request %s: accepted node %s: %d of %d cells, %s",
        short(request.digest),
        short(found.node),
        found.cells,
        found.total,
        shown(found.soundness_bits),
    )
    return found
