"""Check many receipts, each with what was opened of it or by computing it again, and keep what comes of each.

A worker holds the model, or a key, and checks. It signs nothing: the secret key of the auditor stays with
whoever hands the work out, who signs a bundle of evidence for each receipt and keeps it under the digests of
the receipt and of the challenge. Work may be done twice; the first bundle stays.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.commitments.hashing import message_digest
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import InputError, VerificationError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.public.key import PublicKey
from proofcompute.public.openings import ByPublicProof
from proofcompute.scaling.executor import Executor, Failed, Make
from proofcompute.scaling.keeping import kept
from proofcompute.scaling.storage import Store
from proofcompute.verifier import Key, Verified
from proofcompute.verifier.auditor import PATIENCE, Auditor
from proofcompute.verifier.evidence import make_evidence

__all__ = ["AuditWork", "Auditing", "audit_all"]

_NONE: Final = b"\0" * 32


@dataclass(frozen=True)
class AuditWork:
    """A receipt to check."""

    request: bytes
    """The request, encoded."""
    receipt: bytes
    """The receipt as it was received."""
    challenge: bytes = b""
    """The challenge, encoded; empty: the answer is computed again, which takes the model."""
    opening: bytes = b""
    """The opening as it was received."""
    waited: float = 0.0
    """Seconds that the opening took."""
    terms: bytes = b""
    """The node's terms, encoded, under which the receipt must be and the deadline is; empty: none."""

    @property
    def name(self) -> str:
        """The name under which the verdict is kept: digests of the receipt's bytes and of the challenge."""
        receipt = message_digest("sha256", "audited receipt", self.receipt)
        challenge = Challenge.decode(self.challenge).digest if self.challenge else _NONE
        return f"{receipt.hex()}-{challenge.hex()}"


@dataclass(frozen=True)
class Auditing:
    """Makes a worker that checks receipts on a device, with the model or key in a file.

    A key's log of attempts is beside its file, so all workers must see the same file. Keys are secret: they
    belong on machines of the auditor's own.
    """

    holds: str
    """Path of a model file, of a key, or of a public key."""
    node: bytes | None = None
    """Public key of the node that must have signed; None: the one in each request."""
    device: str | None = None
    """The device of workers that were given none; None: the CPU."""
    patience: float = PATIENCE
    """The most seconds that an opening may have taken, whatever the terms allow."""

    def __call__(self, place: str) -> _Auditor:
        """Load the model or key on the device ``place``; a number stands for no device in particular."""
        return _Auditor(self, (self.device or "cpu") if place.isdigit() else place)


class _Auditor:
    """A worker that checks receipts."""

    def __init__(self, auditing: Auditing, device: str) -> None:
        path = Path(auditing.holds)
        kind = kind_of(path)
        self._holds: Model | Key | ByPublicProof
        if kind == "model":
            self._holds = Model.load(path)
        elif kind == "key":
            self._holds = Key.load(path)
        elif kind == "public key":
            self._holds = ByPublicProof(PublicKey.load(path))
        else:
            raise InputError(f"{path} is neither a model nor a key")
        self._kernels, self._of = kernels_for(device), auditing
        self._auditor = self._under(None)

    def _under(self, terms: bytes | None) -> Auditor:
        return Auditor(
            self._holds,
            device=self._kernels,
            node=self._of.node,
            terms=terms,
            patience=self._of.patience,
        )

    def __call__(self, work: AuditWork) -> Verified | VerificationError:
        """Check one receipt; a rejection is a result."""
        request = Request.decode(work.request)
        try:
            auditor = self._under(work.terms) if work.terms else self._auditor
            if not work.challenge:
                return auditor.replay(request, work.receipt)
            challenge = Challenge.decode(work.challenge)
            return auditor.check(request, work.receipt, challenge, work.opening, waited=work.waited)
        except VerificationError as e:
            return e


def audit_all(
    executor: Executor,
    auditing: Make[AuditWork, Verified | VerificationError],
    work: Sequence[AuditWork],
    verdicts: Store,
    identity: NodeIdentity,
    *,
    devices: Sequence[str] = ("cpu",),
) -> Iterator[tuple[str, bool | Failed]]:
    """Check receipts that have no verdict yet, and keep a bundle of evidence for each.

    Args:
        executor: what runs the work.
        auditing: makes a worker on a device, such as :class:`Auditing`.
        work: the receipts; of several with one name, one is checked.
        verdicts: where bundles are kept, by the name of the work.
        identity: the auditor's key, which does not leave this process.
        devices: a worker for each.

    Yields the name of each piece of work that was done, with whether its verdict was new, or why there is
    none.
    """

    def evidence(one: AuditWork, found: Verified | VerificationError) -> bytes:
        bundle = make_evidence(
            identity,
            Request.decode(one.request),
            one.receipt,
            found,
            challenge=Challenge.decode(one.challenge) if one.challenge else None,
            opening=one.opening,
            waited=one.waited if one.challenge else None,
        )
        stream = io.BytesIO()
        bundle.write(stream)
        return stream.getvalue()

    yield from kept(executor, auditing, {one.name: one for one in work}, verdicts, evidence, devices)
