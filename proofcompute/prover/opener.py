"""Open answers of one node: from traces that are kept, or from traces that are computed again.

The computation is deterministic, so a node need not keep a trace: it computes the trace again from request
and receipt, in a fraction of the time that generating took. An opener keeps the traces of the newest answers
in memory, since most challenges come right after the answer.

Any number of threads may use an opener. Whoever challenges must hold the request, and its nonce of 256 bits
cannot be guessed, so only who asked can make a node compute an answer again. A node answers a few challenges
of a receipt; what one of them opened is opened again at any time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.errors import (
    ExecutionError,
    InputError,
    MismatchError,
    ProofcomputeError,
)
from proofcompute.errors.arguments import given
from proofcompute.limits import GIB
from proofcompute.logs import service_log, short
from proofcompute.models.model import Model
from proofcompute.protocol.frames import require_signer
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.prover.answering import claimed, store
from proofcompute.prover.counting import ChallengeCount
from proofcompute.prover.opening import Ending, Hearer, Openings, check_challenge, require_ending
from proofcompute.prover.stored import StoredTrace
from proofcompute.prover.traces import Traces
from proofcompute.prover.turns import AnyThread, Turns

__all__ = ["CHALLENGES", "TRACE_BYTES", "Opener", "logged"]

_log = service_log(__name__)

TRACE_BYTES: Final = GIB
"""Bytes of traces that are kept in memory by default."""
CHALLENGES: Final = 3
"""Challenges of one receipt that are answered by default."""

Compute = Callable[[Request, Sequence[int]], Session]
"""Runs a request with a whole answer again, and returns the finished session; a service queues it."""


@final
class Opener:
    """Opens cells of a node's answers to one model.

    Args:
        model: the model that the node serves, weights included.
        kernels: the backend that makes the products of openings.
        identity: the key pair that signs receipts and openings.
        compute: runs a request with a whole answer and returns the finished session. It is called on the
            thread that opens, with no lock held, and raises whatever prevents the computation.
        trace_bytes: most bytes of traces kept in memory besides the newest one's; 0: no trace is kept.
        challenges: different challenges of one receipt that are answered; None: any number. They are counted
            for the 65,536 receipts that were challenged last.
        turns: where the backend may be used, as a runner says; None: on the thread that opens.
        segments: the segments that this node runs of a model that several nodes serve; None: all.
    """

    def __init__(
        self,
        model: Model,
        kernels: Kernels,
        identity: NodeIdentity,
        *,
        compute: Compute,
        trace_bytes: int = TRACE_BYTES,
        challenges: int | None = CHALLENGES,
        turns: Turns | None = None,
        segments: range | None = None,
    ) -> None:
        self.model = model
        self.kernels = kernels
        self.identity = identity
        self.traces = Traces(trace_bytes)
        """The traces that are kept."""
        self.mismatches = 0
        """How often computing an answer again gave another trace root, which shows a faulty machine."""
        self._compute = compute
        self._turns = turns or AnyThread()
        self._openings = Openings(model, kernels, self._turns, segments)
        self._guard = threading.Lock()
        self.counted = None if challenges is None else ChallengeCount(challenges)
        """The challenges that were answered; None: they are not counted."""

    def remember(self, receipt: Receipt, trace: StoredTrace) -> None:
        """Keep a trace, and drop those used longest ago beyond the bytes that may be kept."""
        self.traces.keep(receipt.digest, trace)

    def trace(self, request: Request, receipt: Receipt) -> StoredTrace:
        """Return the trace of one of this node's answers, from memory or computed again.

        Raises the errors of :meth:`open`.
        """
        self._require_pair(request, receipt)
        return self.traces.get(receipt.digest) or self.recompute(request, receipt)

    def recompute(self, request: Request, receipt: Receipt) -> StoredTrace:
        """Compute the trace of one of this node's answers again, and keep it.

        Threads that want the same trace wait for the first of them. Nothing is computed for a receipt that
        this node did not sign. Raises the errors of :meth:`open`, and what ``compute`` raises.
        """
        self._require_pair(request, receipt)
        require_signer(receipt, self.identity)
        return self.traces.made(receipt.digest, lambda: self._again(request, receipt))

    def _again(self, request: Request, receipt: Receipt) -> StoredTrace:
        answer = np.frombuffer(receipt.outputs[0][1], "<i4").tolist() if request.generation else []
        _log.info("computing the trace of receipt %s again: it is not in memory", short(receipt.digest))
        session = self._compute(request, answer)
        trace, root = self._turns.call(lambda: self._stored(session))
        if root != receipt.trace_root:
            raise self.mismatch(receipt)
        return trace

    def mismatch(self, receipt: Receipt) -> ExecutionError:
        """Note that computing an answer again gave another trace, and return the error that says so."""
        with self._guard:
            self.mismatches += 1
        _log.critical(
            "the trace of receipt %s has another root than before; check this machine's memory",
            short(receipt.digest),
        )
        return ExecutionError(
            "computing this answer again gives another trace root: check this machine's memory and device"
        )

    def _stored(self, session: Session) -> tuple[StoredTrace, bytes]:
        trace = store(session, self.kernels)
        return trace, trace.root()

    def open(
        self,
        request: Request,
        receipt: Receipt,
        challenge: Challenge,
        stream: BinaryIO,
        progress: Callable[[int], None] | None = None,
        hearer: Hearer | None = None,
        ending: Ending | None = None,
    ) -> None:
        """Write the opening of the cells that a challenge names to ``stream``, frame by frame.

        ``progress`` is called with the number of rows that each part opens. A ``hearer`` hears the opening on
        this thread while it is written, and an ``ending`` makes the public proof that a challenge asks for.

        Raises FormatError or LimitError if a cell does not exist, MismatchError if request, receipt and
        challenge do not belong together or another node signed, InputError if a cell may take more bytes than
        a cell may have, or a public proof is asked for and there is no ``ending``, ChallengeLimitError if the
        receipt was challenged too often, ExecutionError if computing the trace again gives another root,
        which means a fault in this machine's own memory or device, and what ``compute`` and writing raise.
        """
        given(request, Request, "a request")
        given(challenge, Challenge, "a challenge")
        with logged(_log, "challenge", challenge.digest):
            require_ending(challenge, ending)
            self._require_pair(request, receipt)
            kept = self.traces.get(receipt.digest)
            if kept is None:
                require_signer(receipt, self.identity)  # before anything of it is read
            statement = claimed(self.model, request, receipt) if kept is None else kept.statement
            check_challenge(statement, receipt, challenge, self.identity)
            if self.counted is not None:
                self.counted.take(receipt.digest, challenge.digest)
            trace = kept or self.recompute(request, receipt)
            self._openings.write(trace, receipt, challenge, stream, self.identity, progress, hearer, ending)
        _log.info(
            "opened %d cells of receipt %s for challenge %s",
            sum(cell.b - cell.a for cell in challenge.cells),
            short(receipt.digest),
            short(challenge.digest),
        )

    def _require_pair(self, request: Request, receipt: Receipt) -> None:
        if (receipt.request_digest, receipt.model_id) != (request.digest, self.model.model_id):
            raise MismatchError("the receipt is not for this request and this model")


@contextmanager
def logged(log: logging.Logger, what: str, digest: bytes) -> Iterator[None]:
    """Log that a request is not answered or a challenge is not opened.

    The level is warning if the request or challenge is at fault, and error otherwise. The text of the error
    is not logged, since it may name a token of the prompt.
    """
    try:
        yield
    except InputError as e:
        log.warning("%s %s is refused: %s", what, short(digest), type(e).__name__)
        raise
    except ProofcomputeError as e:
        log.error("%s %s failed: %s", what, short(digest), type(e).__name__)
        raise
