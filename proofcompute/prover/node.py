"""Answer requests with signed receipts, and open cells of the answers when challenged.

The computation is deterministic, so a node need not keep a trace: it computes the trace again from request
and receipt, in a fraction of the time that generating took. A node keeps the traces of its newest answers in
memory, since most challenges come right after the answer, and computes older ones again.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Engine, Session
from proofcompute.errors import ExecutionError, InputError, MismatchError, ProofcomputeError
from proofcompute.errors.arguments import given
from proofcompute.limits import GIB
from proofcompute.logs import service_log, short
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.answer import answer_text
from proofcompute.protocol.frames import require_signer
from proofcompute.protocol.messages import Challenge, Receipt, Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.prover import StoredTrace, make_receipt, open_cells, store

__all__ = ["Answer", "Node"]

_log = service_log(__name__)

TRACE_BYTES: Final = GIB
"""Bytes of traces that a node keeps in memory by default."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A node's answer to a request."""

    request: Request
    receipt: bytes
    """The signed receipt, encoded, which the client keeps and an auditor checks."""
    outputs: Mapping[str, Array]
    """Rows of each public output, [n, *shape]."""
    tokens: tuple[int, ...]
    """Generated tokens; empty if the program does not generate."""
    text: str
    """Text of the tokens, up to the stop string that ended them; empty if the model has no vocabulary."""
    stop_reason: str
    rows: int
    """Rows of the trace."""


class Node:
    """The node's side of the protocol for one model.

    Args:
        model: the model that the node serves, weights included.
        identity: the key pair that signs; None: a new one.
        device: name of a device (``cpu``, ``cuda``, ``numpy``, or ``auto`` for a GPU if there is one), or a
            backend.
        retention: seconds for which every receipt promises that challenges are answered; None: those of the
            terms, or a week.
        terms: this node's signed terms, which every receipt names.
        trace_bytes: most bytes of traces kept in memory besides the newest one's; 0: no trace is kept.

    Only one thread may use a node at a time.
    """

    def __init__(
        self,
        model: Model,
        identity: NodeIdentity | None = None,
        *,
        device: str | Kernels = "auto",
        retention: int | None = None,
        terms: Terms | None = None,
        trace_bytes: int = TRACE_BYTES,
    ) -> None:
        given(model, Model, "a node's model")
        if identity is not None:
            given(identity, NodeIdentity, "a node's identity")
        if terms is not None:
            given(terms, Terms, "a node's own terms")
        self.model = model
        self.identity = NodeIdentity.new() if identity is None else identity
        self.kernels = kernels_for(device) if isinstance(device, str) else device
        self.terms = terms
        self.retention = retention_of(self.public, terms, retention)
        self.trace_bytes = trace_bytes
        self.engine = Engine(model, self.kernels, node=self.public)
        self._traces: OrderedDict[bytes, StoredTrace] = OrderedDict()

    @property
    def card(self) -> ModelCard:
        """The card of the model that the node serves."""
        return self.model.card

    @property
    def public(self) -> bytes:
        """The node's public key, 32 bytes, which requests address."""
        return self.identity.public

    def answer(
        self,
        request: Request,
        *,
        known: Sequence[int] = (),
        on_step: Callable[[Session], None] | None = None,
    ) -> Answer:
        """Run a request, commit to its trace and sign the receipt.

        Args:
            request: what to compute; it must be for this model, and for this node or any node.
            known: tokens of the answer that are known from an interrupted run.
            on_step: is called with the running session after each step.

        Raises MismatchError or InputError if the request is not one for this model or node, and
        ExecutionError if the arithmetic has no result.
        """
        session = self.run(request, known=known, on_step=on_step)
        receipt = self.commit(session)
        vocabulary, text = self.card.vocabulary, ""
        if vocabulary is not None:
            text = answer_text(vocabulary, request.generation, session.answer, session.reason)
        return Answer(
            request=request,
            receipt=receipt.encode(),
            outputs=session.statement().outputs,
            tokens=tuple(session.answer),
            text=text,
            stop_reason=receipt.stop_reason,
            rows=receipt.rows,
        )

    def run(
        self,
        request: Request,
        *,
        known: Sequence[int] = (),
        on_step: Callable[[Session], None] | None = None,
    ) -> Session:
        """Run a request without committing to its trace, the first half of :meth:`answer`."""
        with _logged("request", given(request, Request, "a request").digest):
            return self._run(request, known, on_step)

    def _run(
        self, request: Request, known: Sequence[int], on_step: Callable[[Session], None] | None = None
    ) -> Session:
        session = self.engine.add(request, known)
        try:
            self.engine.run(session, on_step)
        finally:
            self.engine.remove(session)  # an interrupted session must not run in later steps
        return session

    def commit(self, session: Session, *, keep: bool = True) -> Receipt:
        """Hash and keep the trace of a finished session and sign, the second half of :meth:`answer`.

        Without ``keep`` the trace is not kept, and opening its cells computes it again. Raises MismatchError
        if the request addresses another node, and InputError if the session is not finished, or the terms are
        another node's or promise a longer retention than this node does.
        """
        asked = session.request.digest
        with _logged("request", asked):
            receipt = make_receipt(
                self.model,
                session,
                self.kernels,
                self.identity,
                retention=self.retention,
                terms=self.terms,
            )
        _log.info(
            "answered request %s with receipt %s: %d rows, ended by %s",
            short(asked),
            short(receipt.digest),
            receipt.rows,
            receipt.stop_reason,
        )
        if keep and self.trace_bytes:
            self.remember(receipt, store(session, self.kernels))
        return receipt

    def open(
        self,
        request: Request,
        receipt: bytes | Receipt,
        challenge: Challenge,
        stream: BinaryIO | None = None,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> bytes:
        """Return the opening of the cells that a challenge names.

        ``receipt`` is one that :meth:`answer` or :meth:`commit` returned. With ``stream`` the opening is
        written there, frame by frame, and the result is empty. ``progress`` is called with the number of rows
        that each part opens.

        Raises FormatError or LimitError if the receipt is malformed or a cell does not exist, MismatchError
        if request, receipt and challenge do not belong together or another node signed, InputError if a cell
        may take more bytes than a cell may have, and ExecutionError if computing the trace again gives
        another root, which means a fault in this machine's own memory or device.
        """
        given(request, Request, "a request")
        given(challenge, Challenge, "a challenge")
        decoded = (
            receipt if isinstance(receipt, Receipt) else Receipt.decode(given(receipt, bytes, "a receipt"))
        )
        out = io.BytesIO() if stream is None else stream
        with _logged("challenge", challenge.digest):
            trace = self.trace(request, decoded)
            open_cells(self.model, trace, decoded, challenge, out, self.identity, progress)
        _log.info(
            "opened %d cells of receipt %s for challenge %s",
            sum(cell.b - cell.a for cell in challenge.cells),
            short(decoded.digest),
            short(challenge.digest),
        )
        return out.getvalue() if isinstance(out, io.BytesIO) and stream is None else b""

    def trace(self, request: Request, receipt: Receipt) -> StoredTrace:
        """Return the trace of one of this node's answers, from memory or computed again.

        Raises the errors of :meth:`open`.
        """
        if (receipt.request_digest, receipt.model_id) != (request.digest, self.model.model_id):
            raise MismatchError("the receipt is not for this request and this model")
        kept = self._traces.get(receipt.digest)
        if kept is not None:
            self._traces.move_to_end(receipt.digest)
            return kept
        require_signer(receipt, self.identity)  # so that nothing is computed for a forged receipt
        answer = np.frombuffer(receipt.outputs[0][1], "<i4").tolist() if request.generation else []
        _log.info("computing the trace of receipt %s again: it is not in memory", short(receipt.digest))
        session = self._run(request, answer)
        again = make_receipt(self.model, session, self.kernels, self.identity, retention=receipt.retention)
        if again.trace_root != receipt.trace_root:
            raise ExecutionError(
                "computing this answer again gives another trace root: check this machine's memory and device"
            )
        trace = store(session, self.kernels)
        if self.trace_bytes:
            self.remember(receipt, trace)
        return trace

    def remember(self, receipt: Receipt, trace: StoredTrace) -> None:
        """Keep a trace, and drop the oldest ones beyond :attr:`trace_bytes`; the newest one stays."""
        self._traces[receipt.digest] = trace
        self._traces.move_to_end(receipt.digest)
        kept = sum(t.nbytes for t in self._traces.values())
        while kept > self.trace_bytes and len(self._traces) > 1:
            kept -= self._traces.popitem(last=False)[1].nbytes


@contextmanager
def _logged(what: str, digest: bytes) -> Iterator[None]:
    """Log that a request is not answered or a challenge is not opened.

    The level is warning if the request or challenge is at fault, and error otherwise. The text of the error
    is not logged, since it may name a token of the prompt.
    """
    try:
        yield
    except InputError as e:
        _log.warning("%s %s is refused: %s", what, short(digest), type(e).__name__)
        raise
    except ProofcomputeError as e:
        _log.error("%s %s failed: %s", what, short(digest), type(e).__name__)
        raise
