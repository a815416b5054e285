"""Turn a session that has stopped into an answer, also one that its client has left."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import ParamSpec, final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.logs import service_log, short
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.answer import answer_text
from proofcompute.protocol.messages import Receipt, Terms
from proofcompute.prover.answering import store
from proofcompute.prover.commit import make_receipt
from proofcompute.prover.node import Answer
from proofcompute.prover.opener import Opener

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


def answered(card: ModelCard, session: Session, receipt: Receipt) -> Answer:
    """Return the answer of a finished session that ``receipt`` commits to."""
    text, vocabulary = "", card.vocabulary
    if vocabulary is not None:
        text = answer_text(vocabulary, session.request.generation, session.answer, session.reason)
    return Answer(
        request=session.request,
        receipt=receipt.encode(),
        outputs=session.statement().outputs,
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
    ) -> None:
        """Let ``opener`` keep the trace of each answer; None: traces are not kept."""
        self._model, self._kernels, self._identity = model, kernels, identity
        self._retention, self._terms, self._opener = retention, terms, opener
        self._thread = ThreadPoolExecutor(1, "proofcompute-commit")

    def submit(self, call: Callable[_P, None], *args: _P.args, **named: _P.kwargs) -> Future[None]:
        """Call a function in the thread."""
        return self._thread.submit(call, *args, **named)

    def answer(self, session: Session) -> Answer:
        """Hash a finished session's trace and return its signed answer, in the caller's thread."""
        receipt = make_receipt(
            self._model,
            session,
            self._kernels,
            self._identity,
            retention=self._retention,
            terms=self._terms,
        )
        _log.info(
            "answered request %s with receipt %s: %d rows, ended by %s",
            short(receipt.request_digest),
            short(receipt.digest),
            receipt.rows,
            receipt.stop_reason,
        )
        if self._opener is not None:
            self._opener.remember(receipt, store(session, self._kernels))
        return answered(self._model.card, session, receipt)

    def close(self) -> None:
        """End the thread after what it does now."""
        self._thread.shutdown(cancel_futures=True)
