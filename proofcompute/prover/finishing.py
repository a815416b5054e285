"""Turn a session that has stopped into an answer, also one that its client has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import ParamSpec, final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.logs import service_log, short
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.answer import answer_text
from proofcompute.protocol.messages import Receipt, Terms
from proofcompute.prover.answering import store
from proofcompute.prover.commit import Sealed, make_receipt, seal
from proofcompute.prover.node import Answer
from proofcompute.prover.opener import Opener
from proofcompute.prover.stored import StoredTrace
from proofcompute.prover.turns import Turns

__all__ = ["Committer", "answered", "shorten"]

_log = service_log(__name__)
_P = ParamSpec("_P")


def shorten(session: Session) -> bool:
    """Make a running session that was removed from its engine one that has finished, and return whether.

    No receipt can name the request of a client that left, because by the stop rule its answer goes on. The
    tokens computed so far are, however, the whole answer to the same request with as many ``max_tokens``: its
    trace has the same rows, and its answer ends by length. The session becomes one of that request. This is
    impossible before the first token, and for a program that does not generate.
    """
    generation = session.request.generation
    if generation is None or not session.emitted or not session.running:
        return False
    session.request = replace(session.request, generation=replace(generation, max_tokens=session.emitted))
    del session.answer[session.emitted :]
    session.reason = "length"
    return True


def answered(card: ModelCard, session: Session, receipt: Receipt, outputs: Mapping[str, Array]) -> Answer:
    """Return the answer of a finished session that ``receipt`` commits to."""
    text, vocabulary = "", card.vocabulary
    if vocabulary is not None:
        text = answer_text(vocabulary, session.request.generation, session.answer, session.reason)
    return Answer(
        request=session.request,
        receipt=receipt.encode(),
        outputs=outputs,
        tokens=tuple(session.answer),
        text=text,
        stop_reason=receipt.stop_reason,
        rows=receipt.rows,
    )


@final
class Committer:
    """A thread that commits to traces and signs receipts beside the thread that computes."""

    def __init__(
        self,
        model: Model,
        kernels: Kernels,
        identity: NodeIdentity,
        retention: int,
        terms: Terms | None,
        opener: Opener | None,
        turns: Turns,
    ) -> None:
        """Let ``opener`` keep the trace of each answer; None: traces are not kept.

        Whatever uses the backend is done in ``turns``.
        """
        self._model, self._kernels, self._identity = model, kernels, identity
        self._retention, self._terms, self._opener = retention, terms, opener
        self._turns = turns
        self._thread = ThreadPoolExecutor(1, "proofcompute-commit")

    def submit(self, call: Callable[_P, None], *args: _P.args, **named: _P.kwargs) -> Future[None]:
        """Call a function in the thread."""
        return self._thread.submit(call, *args, **named)

    def answer(self, session: Session) -> Answer:
        """Hash a finished session's trace and return its signed answer, in the caller's thread."""
        sealed, stored = self._turns.call(lambda: self._sealed(session))
        receipt = make_receipt(
            self._model,
            session,
            self._kernels,
            self._identity,
            retention=self._retention,
            terms=self._terms,
            sealed=sealed,
        )
        _log.info(
            "answered request %s with receipt %s: %d rows, ended by %s",
            short(receipt.request_digest),
            short(receipt.digest),
            receipt.rows,
            receipt.stop_reason,
        )
        if self._opener is not None and stored is not None:
            self._opener.remember(receipt, stored)
        return answered(self._model.card, session, receipt, sealed.statement.outputs)

    def _sealed(self, session: Session) -> tuple[Sealed, StoredTrace | None]:
        """Return what the receipt says, and the trace if it is to be kept and there is memory for it."""
        sealed = seal(session, self._kernels)
        if self._opener is None:
            return sealed, None
        try:
            return sealed, store(session, self._kernels)
        except MemoryError:  # it is kept to save time only
            _log.warning("too little memory to keep the trace of request %s", short(session.request.digest))
            return sealed, None

    def close(self) -> None:
        """End the thread after what it does now."""
        self._thread.shutdown(cancel_futures=True)
