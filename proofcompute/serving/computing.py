"""Let a model's runner compute the requests of a call, and say what each answer is proved by."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Protocol, TypeVar, final

from starlette.responses import Response

from proofcompute.openai import RECEIPT_HEADER, RECEIPT_ID_HEADER, ProofField, nonce_of_header
from proofcompute.openai.proof import NonceBy
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover.admission import rows_of
from proofcompute.prover.node import Answer
from proofcompute.prover.ticket import Ticket
from proofcompute.serving.clients import Client
from proofcompute.serving.service import Served, Service

__all__ = ["OPEN", "Asked", "Computing", "begun"]

OPEN: Final = "/v1/proofs/open"
"""Path of the service that opens cells."""


@final
@dataclass(frozen=True)
class Asked:
    """Who asks, and with which nonce."""

    client: Client
    nonce: bytes
    nonce_by: NonceBy
    date: date

    @staticmethod
    def now(client: Client, header: str | None) -> Asked:
        """Return what a call's header says; without it the node draws the nonce. Raises InputError."""
        nonce = secrets.token_bytes(32) if header is None else nonce_of_header(header)
        return Asked(client, nonce, "node" if header is None else "client", datetime.now(UTC).date())


@final
@dataclass(frozen=True, eq=False)
class Computing:
    """Requests of one call that are computed."""

    service: Service
    served: Served
    asked: Asked
    requests: Sequence[Request]
    tickets: Sequence[Ticket]
    lease: ExitStack
    """Ends the count of what the client asked for."""

    @staticmethod
    def start(service: Service, served: Served, asked: Asked, requests: Sequence[Request]) -> Computing:
        """Give the requests of a call to the model's runner.

        Raises InputError for a nonce that the client used before, and what refuses the requests.
        """
        if asked.nonce_by == "client":
            service.nonces.check(asked.nonce, requests[0].digest)
        rows = sum(rows_of(r, served.runner.model.program) for r in requests)
        tickets: list[Ticket] = []
        with ExitStack() as stack:
            stack.enter_context(service.clients.lease(asked.client, len(requests), rows))
            try:
                for request in requests:
                    tickets.append(served.runner.submit(request, scope=service.prefix_scope(asked.client)))
            except BaseException:
                for ticket in tickets:
                    ticket.cancel()
                raise
            lease = stack.pop_all()
        return Computing(service, served, asked, requests, tickets, lease)

    def proof(self, choice: int, answer: Answer) -> ProofField:
        """Keep the receipt of a choice, and return its proof field."""
        self.service.receipts.keep(self.asked.client, answer.request.digest, answer.receipt)
        return ProofField(
            choice=choice,
            receipt=answer.receipt,
            nonce=self.asked.nonce,
            nonce_by=self.asked.nonce_by,
            model_id=self.served.model_id,
            node=self.service.public,
            date=self.asked.date,
            open=OPEN,
        )

    def name_receipt(self, response: Response, receipt: bytes) -> None:
        """Set the headers of a whole response that name its first receipt."""
        response.headers[RECEIPT_ID_HEADER] = Receipt.decode(receipt).digest.hex()
        in_header = base64.b64encode(receipt).decode("ascii")
        if len(in_header) <= self.service.limits.header_receipt:
            response.headers[RECEIPT_HEADER] = in_header

    def leave(self) -> None:
        """Give up what is not answered yet, and end the count of what the client asked for."""
        for ticket in self.tickets:
            if not ticket.done:
                self.service.give_up(self.asked.client, ticket)
        self.lease.close()


class _Leaves(Protocol):
    def leave(self) -> None: ...


_T = TypeVar("_T", bound=_Leaves)


async def begun(service: Service, nbytes: int, begin: Callable[[], _T]) -> _T:
    """Call ``begin`` for a body of ``nbytes`` bytes in a thread; what it began ends if the client leaves."""
    beginning = asyncio.ensure_future(service.prepare(nbytes, begin))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:  # the client left, but the thread goes on
        beginning.add_done_callback(_abandon)
        raise


def _abandon(beginning: asyncio.Future[_T]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().leave()
