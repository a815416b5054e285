"""Answer requests with signed receipts, and open cells of the answers when challenged.

The computation is deterministic, so a node need not keep a trace: it computes the trace again from request
and receipt, in a fraction of the time that generating took. A node keeps the traces of its newest answers in
memory, since most challenges come right after the answer, and computes older ones again.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Engine, Session
from proofcompute.errors.arguments import given
from proofcompute.logs import service_log, short
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.answer import answer_text
from proofcompute.protocol.messages import Challenge, Receipt, Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.prover import StoredTrace, make_receipt, store
from proofcompute.prover.opener import TRACE_BYTES, Opener, logged
from proofcompute.prover.opening import Ending, Hearer

__all__ = ["Answer", "Node"]

_log = service_log(__name__)


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

    Only one thread may use a node at a time; its :attr:`opener` may be used by others meanwhile.
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
        self.engine = Engine(model, self.kernels, node=self.public)
        self.opener = Opener(
            model, self.kernels, self.identity, compute=self._again, trace_bytes=trace_bytes, challenges=None
        )
        """Opens the node's answers. Other threads may use it while this node answers."""
        self._second = threading.Lock()

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
        with logged(_log, "request", given(request, Request, "a request").digest):
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

    def _again(self, request: Request, answer: Sequence[int]) -> Session:
        """Run a request with its whole answer, on an engine apart from the one that answers."""
        with self._second:
            engine = Engine(self.model, self.kernels, node=self.public)
            session = engine.add(request, answer)
            engine.run(session)
            return session

    def commit(self, session: Session, *, keep: bool = True) -> Receipt:
        """Hash and keep the trace of a finished session and sign, the second half of :meth:`answer`.

        Without ``keep`` the trace is not kept, and opening its cells computes it again. Raises MismatchError
        if the request addresses another node, and InputError if the session is not finished, or the terms are
        another node's or promise a longer retention than this node does.
        """
        asked = session.request.digest
        with logged(_log, "request", asked):
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
        if keep and self.opener.traces.most:
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
        hearer: Hearer | None = None,
        ending: Ending | None = None,
    ) -> bytes:
        """Return the opening of the cells that a challenge names.

        ``receipt`` is one that :meth:`answer` or :meth:`commit` returned. With ``stream`` the opening is
        written there, frame by frame, and the result is empty. ``progress`` is called with the number of rows
        that each part opens, and a ``hearer`` hears what the opening holds while it is written. An ``ending``
        makes the public proof that a challenge asks for.

        Raises FormatError or LimitError if the receipt is malformed or a cell does not exist, MismatchError
        if request, receipt and challenge do not belong together or another node signed, InputError if a cell
        may take more bytes than a cell may have, and ExecutionError if computing the trace again gives
        another root, which means a fault in this machine's own memory or device.
        """
        decoded = (
            receipt if isinstance(receipt, Receipt) else Receipt.decode(given(receipt, bytes, "a receipt"))
        )
        out = io.BytesIO() if stream is None else stream
        self.opener.open(request, decoded, challenge, out, progress, hearer, ending)
        return out.getvalue() if isinstance(out, io.BytesIO) and stream is None else b""

    def trace(self, request: Request, receipt: Receipt) -> StoredTrace:
        """Return the trace of one of this node's answers, from memory or computed again.

        Raises the errors of :meth:`open`.
        """
        return self.opener.trace(request, receipt)

    def remember(self, receipt: Receipt, trace: StoredTrace) -> None:
        """Keep a trace, and drop those used longest ago beyond ``trace_bytes``; the newest one stays."""
        self.opener.remember(receipt, trace)
