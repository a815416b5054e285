"""Audit answers: check receipts, draw challenges, and check what a node opens.

What an auditor can check follows from what it holds. With a **card** it checks receipts alone (steps 1 to 5
of :mod:`proofcompute.verifier.verify`). With a secret **key** it checks opened cells without weights. With
the **model** itself it checks opened cells without hints, and can run a whole request again. With the model's
**public key** (:class:`proofcompute.public.openings.ByPublicProof`) it checks cells that are opened with a
public proof, which takes neither weights nor a secret.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, Literal

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, InputError, MismatchError, about
from proofcompute.errors.arguments import given
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.cells import all_cells, draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Pipeline, Request
from proofcompute.protocol.promises import check_terms, require_within
from proofcompute.protocol.receipts import one_signer
from proofcompute.protocol.received import arriving
from proofcompute.protocol.samples import Sample
from proofcompute.verifier import Key, Verified
from proofcompute.verifier.claim import check_receipt, naming
from proofcompute.verifier.evidence import Found, make_evidence, named_terms
from proofcompute.verifier.proven import ProofHolds
from proofcompute.verifier.verdicts import accepted, rejections_logged
from proofcompute.verifier.verify import audit, checks_for, require_kind

__all__ = ["CELLS", "Auditor", "Cells"]

CELLS = 16
"""Cells that are drawn by default."""

PATIENCE = 600.0
"""Seconds that an auditor waits for an opening by default."""

Cells = int | Sample | Sequence[Cell] | Literal["all"]
"""How many cells to draw, runs and cells to draw, which cells, or all of them."""


class Auditor:
    """The verifier's side of the protocol for one model.

    Args:
        holds: a key, the model, its card, or what checks public proofs.
        device: name of a device (``cpu``, ``cuda``, ``numpy``, or ``auto`` for a GPU if there is one), or a
            backend.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        retention: seconds for which a receipt must promise that challenges are answered.
        terms: the node's signed terms, encoded; receipts must name them, and openings must meet their
            deadline.
        patience: the most seconds that this auditor waits for an opening, whatever the terms allow.
        pipeline: the pipeline that the requests address, if several nodes serve the model together. Receipts
            must then be those of its stages, and cells are those of a stage's own segments.

    The key's own log counts verifications (:attr:`attempts`), since each reduces its soundness a little.
    Raises VerificationError if the terms fail steps 1 to 3, and InputError for an invalid node or patience.
    """

    def __init__(
        self,
        holds: Key | Model | ModelCard | ProofHolds,
        *,
        device: str | Kernels = "cpu",
        node: bytes | None = None,
        retention: int = 0,
        terms: bytes | None = None,
        patience: float = PATIENCE,
        pipeline: Pipeline | None = None,
    ) -> None:
        if not isinstance(holds, Key | Model | ModelCard | ProofHolds):
            raise InputError(f"an auditor holds a key, a model or a card, not {type(holds).__name__}")
        self.holds = holds
        self.kernels = kernels_for(device) if isinstance(device, str) else device
        self.node = node
        self.retention = retention
        if not patience >= 0:
            raise InputError(f"an auditor waits 0 seconds or more, not {patience}")
        one_signer(node)
        with about(model_id=self.card.model_id):
            self.terms = None if terms is None else check_terms(terms, node)
        self.patience = patience
        self.pipeline = pipeline
        self._asked = dict(holds.log.attempts) if isinstance(holds, Key) else {}

    @property
    def card(self) -> ModelCard:
        """The card of the audited model, from which requests are made."""
        return self.holds.card

    @property
    def attempts(self) -> int:
        """Verifications made so far under the key by any of its users; 0 if the auditor holds no key."""
        return len(self.holds.log.attempts) if isinstance(self.holds, Key) else 0

    def claim(self, request: Request, receipt: bytes) -> Claim:
        """Check a receipt by steps 1 to 5 and return what it claims.

        Raises VerificationError if a step fails, InputError if the request is not one for the model, and
        MismatchError if this auditor or the key's log knows another request with the same nonce.
        """
        with rejections_logged(request):
            return self._claim(request, receipt)

    def _claim(self, request: Request, receipt: bytes) -> Claim:
        given(request, Request, "a request")
        if self._asked.setdefault(request.nonce, request.question) != request.question:
            raise MismatchError("this request has the nonce of another one; make a new request")
        return check_receipt(
            self.holds,
            request,
            receipt,
            self.node,
            terms=self.terms,
            retention=self.retention,
            pipeline=self.pipeline,
        )

    def challenge(
        self, request: Request, receipt: bytes, cells: Cells = CELLS, *, seed: bytes | None = None
    ) -> Challenge:
        """Draw the cells that the node must open with the operating system's randomness.

        Fewer than ``cells`` are drawn if the trace has fewer. A :class:`~proofcompute.Sample` draws runs of
        rows, which cost less than as many scattered cells. ``"all"`` is a full audit. ``seed`` is for
        tests: whoever knows it before the receipt knows the cells. Raises the errors of :meth:`claim`, and
        InputError if the auditor holds a card, with which it cannot check cells, or a named cell does not
        exist.
        """
        return self._drawn(self.claim(request, receipt), cells, seed)

    def _drawn(self, claim: Claim, cells: Cells, seed: bytes | None = None) -> Challenge:
        holds = self._checker()
        hints = not isinstance(holds, Model)
        proof = holds.asked if isinstance(holds, ProofHolds) else None
        if isinstance(cells, str) and cells != "all":
            raise InputError(f'cells are a number, a sample, a list of cells, or "all", not {cells[:20]!r}')
        if isinstance(cells, int | Sample):
            named = draw_cells(claim, cells, seed)
        else:
            named = all_cells(claim) if cells == "all" else tuple(cells)
        for cell in named:  # otherwise the node would be blamed later for not opening it
            claim.statement.check_cell(cell)
        return Challenge(claim.receipt.digest, named, hints=hints, tables=hints, proof=proof)

    def check(
        self,
        request: Request,
        receipt: bytes,
        challenge: Challenge,
        opening: bytes | BinaryIO,
        *,
        waited: float | None = None,
        progress: Callable[[int], None] | None = None,
        evidence: bool = False,
    ) -> Verified:
        """Check what the node opened by all ten steps.

        ``waited`` is the time in seconds, measured on this side, that the opening took to arrive; an auditor
        with terms must give it. A stream is read frame by frame. If it cannot be read again, since it is
        still arriving, the time that reads take is added. ``progress`` is called with the number of rows of
        each cell checked. With ``evidence``, an accepted opening is also compared with what the node signed;
        a rejection always says whether the node signed it.

        Raises VerificationError if receipt or opening fail a step, or the opening came after
        :meth:`deadline`; InputError if request and challenge are not this auditor's, or ``waited`` is
        missing; and MismatchError as :meth:`claim` does.
        """
        require_kind(self._checker(), given(challenge, Challenge, "a challenge"))
        if waited is None and self.terms is not None:
            raise InputError("terms set a deadline: say how many seconds the opening took (waited, --waited)")
        stream = _stream(opening)
        with rejections_logged(request):
            claim = self._claim(request, receipt)  # steps 1 to 5, terms and retention included
            return self._opened(request, claim, challenge, stream, waited, progress, evidence)

    def _opened(
        self,
        request: Request,
        claim: Claim,
        challenge: Challenge,
        stream: BinaryIO,
        waited: float | None,
        progress: Callable[[int], None] | None,
        evidence: bool = False,
    ) -> Verified:
        """Check an opening by steps 6 to 10; the claim is that of the receipt, which passed steps 1 to 5."""
        checks = checks_for(self._checker(), claim, challenge, self.kernels)
        with naming(claim):
            if waited is not None:
                deadline = self.deadline(claim)
                require_within(waited, deadline)
                stream = arriving(stream, waited, deadline)
            found = audit(
                checks.holder,
                request,
                claim,
                challenge,
                stream,
                kernels=self.kernels,
                progress=progress,
                evidence=evidence,
                hearer=checks.hearer,
                ending=checks.ending,
            )
        return accepted(request, found)

    def audit(
        self,
        request: Request,
        receipt: bytes,
        opened: Callable[[Challenge], bytes | BinaryIO],
        cells: Cells = CELLS,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Verified:
        """Draw a challenge, get the opening from the node by calling ``opened``, and check it.

        The time that ``opened`` and, if it returns a stream, the stream's reads take counts against the
        deadline. The stream must see to it that no single read lasts forever. Raises the errors of
        :meth:`challenge` and :meth:`check`.
        """
        claim = self.claim(request, receipt)
        challenge, start = self._drawn(claim, cells), time.monotonic()
        opening = opened(challenge)
        waited = time.monotonic() - start
        stream = _stream(opening)
        with rejections_logged(request):
            return self._opened(request, claim, challenge, stream, waited, progress)

    def replay(
        self, request: Request, receipt: bytes, *, progress: Callable[[int], None] | None = None
    ) -> Verified:
        """Check a receipt by computing all of it again, with nothing more from the node.

        ``progress`` is called with the number of rows that each step computed. Raises VerificationError if
        the receipt is not what the model gives, and InputError if the auditor does not hold the model.
        """
        if not isinstance(self.holds, Model):
            raise InputError("only who holds the model can compute an answer again")
        if self.pipeline is not None:
            raise InputError("a stage alone cannot be computed again: replay all of them (replay_stages)")
        from proofcompute.verifier.replay import replay  # only replaying takes an engine

        self.claim(request, receipt)
        return replay(self.holds, request, receipt, kernels=self.kernels, node=self.node, progress=progress)

    def evidence(
        self,
        identity: NodeIdentity,
        request: Request,
        receipt: bytes,
        found: Found,
        *,
        challenge: Challenge | None = None,
        opening: bytes | BinaryIO = b"",
        sent: float = 0.0,
        waited: float | None = None,
        disclose: bool = True,
    ) -> Bundle:
        """Sign what an audit came to, for others to judge; see :func:`.evidence.make_evidence`.

        ``found`` is what :meth:`check` or :meth:`replay` returned or raised, or ``"silent"`` or
        ``"refused"``. The bundle holds this auditor's terms if the receipt names them. To keep an opening
        that is still arriving, write it to a file first.
        """
        return make_evidence(
            identity,
            request,
            receipt,
            found,
            terms=named_terms(receipt, self.terms),
            challenge=challenge,
            opening=opening,
            sent=sent,
            waited=waited,
            disclose=disclose,
        )

    def deadline(self, claim: Claim) -> float:
        """Return the seconds from the challenge within which the node must open cells of this claim."""
        if self.terms is None:
            return self.patience
        return self.terms.deadline(claim.receipt.rows, self.patience)

    def _checker(self) -> Key | Model | ProofHolds:
        if isinstance(self.holds, ModelCard):
            raise InputError("a card checks receipts only: cells take a key (keygen) or the model")
        return self.holds


def _stream(opening: bytes | BinaryIO) -> BinaryIO:
    stream = io.BytesIO(opening) if isinstance(opening, bytes) else opening
    if not hasattr(stream, "read"):
        raise InputError(f"an opening is bytes or a stream of bytes, not {type(opening).__name__}")
    return stream
