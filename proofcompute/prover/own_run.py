"""Open a node's own answer, whose trace may lie in the directory of its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from proofcompute.errors import MismatchError
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.prover.node import Node
from proofcompute.prover.opening import Hearer
from proofcompute.prover.rundir import RunDirectory

__all__ = ["OwnRun"]


@dataclass(frozen=True, eq=False)
class OwnRun:
    """An answer that a node opens when it is asked, so that the traces of many take no memory."""

    node: Callable[[], Node]
    """Returns the node that gave the answer; it may be made for each opening."""
    directory: RunDirectory | None = None
    """The run's directory; None: the trace is computed again."""

    def open(
        self,
        request: Request,
        receipt: bytes,
        challenge: Challenge,
        stream: BinaryIO,
        *,
        progress: Callable[[int], None] | None = None,
        hearer: Hearer | None = None,
    ) -> None:
        """Write an opening, from the run's trace if that is stored; see :meth:`.Node.open`.

        Raises MismatchError besides if the run is that of another receipt.
        """
        node = self.node()
        if self.directory is not None and self.directory.has_trace:
            trace, known = self.directory.stored(node.model, node.kernels)
            if known.encode() != receipt:
                raise MismatchError(f"{self.directory.path} is the run of another receipt")
            node.remember(known, trace)
        node.open(request, receipt, challenge, stream, progress=progress, hearer=hearer)
