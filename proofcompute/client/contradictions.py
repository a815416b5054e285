"""Keep what is needed to show a contradiction to others, and find it in the error of a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proofcompute.errors import VerificationError
from proofcompute.openai import Endpoint
from proofcompute.protocol.messages import Request, Terms

if TYPE_CHECKING:
    from proofcompute.client.challenger import Audited
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.models.card import ModelCard
    from proofcompute.protocol.bundle import Bundle

__all__ = ["Contradiction", "Stated", "contradiction_in", "evidence_of"]


@dataclass(frozen=True, eq=False)
class Stated:
    """A receipt that came with an answer, whether it holds or not."""

    request: Request
    """What had to be computed, as the client derives it from its own body."""
    receipt: bytes
    """The receipt, exactly as it came."""
    terms: bytes | None
    """The node's terms that the receipt names, encoded; None if it names none that are known."""


@dataclass(frozen=True, eq=False)
class Contradiction:
    """An answer that does not hold, with everything that was sent and received.

    Not every contradiction can be shown to others, since a node signs its receipts and openings and nothing
    else (:meth:`evidence`). What is kept here is in any case enough to check again what this client saw.
    """

    error: VerificationError
    """What contradicts the answer; the client's user gets it, unless contradictions are only recorded."""
    endpoint: Endpoint
    """Which answers were asked for."""
    question: bytes
    """The body of the question, exactly as it was sent."""
    nonce: bytes | None
    """The nonce that the client sent; None if the node chose it."""
    response: bytes
    """What came in answer; empty if the node was contradicted before its answer was read."""
    stated: tuple[Stated, ...]
    """The receipts that came, by choice."""
    rejected: int | None
    """The place in ``stated`` of the receipt that does not hold. None: no receipt is known to be wrong, but
    the response is not one for the question, or says what does not follow from its receipts."""
    card: ModelCard | None
    """The card of the model that had to answer; None if it is not known."""
    audited: Audited | None
    """The challenge that contradicts the answer, and what came of it; None if there was none."""
    when: float
    """Seconds since 1970, by the client's clock."""

    @property
    def nbytes(self) -> int:
        """Bytes of the question, the response and the receipts."""
        return len(self.question) + len(self.response) + sum(len(s.receipt) for s in self.stated)

    def evidence(self, identity: NodeIdentity, *, disclose: bool = True) -> Bundle | None:
        """Return a signed bundle that others can judge (docs/spec/evidence.md); None if none shows anything.

        A bundle is returned if the node signed what is wrong: a receipt that names this request and fails
        steps 3 to 5, or an opening. After a challenge that the node refused, did not answer, or answered by
        what it did not sign, the bundle is this client's word: others can find the answer false by computing
        it again. A text that the receipt's tokens do not print, an id, a redirect, and a receipt that is not
        signed are nobody's signed word, and accusing the node of them would be refuted; so would silence
        before the deadline of the node's terms.

        Args:
            identity: the key pair that signs the bundle.
            disclose: whether the bundle holds the request, or its digest only.
        """
        from proofcompute.arithmetic.devices import kernels_for
        from proofcompute.verifier.evidence import make_evidence
        from proofcompute.verifier.findings import Finding
        from proofcompute.verifier.judging import verify_evidence

        if self.card is None:
            return None
        if self.audited is not None:
            return evidence_of(self.audited, self.card, identity, disclose=disclose)[0]
        if self.rejected is None:
            return None
        stated = self.stated[self.rejected]
        bundle = make_evidence(
            identity,
            stated.request,
            stated.receipt,
            self.error,
            terms=_decoded(stated.terms),
            disclose=disclose,
        )
        judged = verify_evidence(bundle, self.card, kernels=kernels_for("numpy"), request=stated.request)
        return bundle if judged.finding is Finding.CONTRADICTED else None


def evidence_of(
    audited: Audited, card: ModelCard, identity: NodeIdentity, *, disclose: bool = True
) -> tuple[Bundle | None, str]:
    """Return a signed bundle of an audit: what was sent and received, and what it came to.

    None, and the reason in words, if others would take it for a false accusation. An opening that the node
    did not sign is nobody's to those who hold a card or a key; who holds the model can still find the answer
    false.
    """
    from proofcompute.arithmetic.devices import kernels_for
    from proofcompute.verifier.evidence import make_evidence, named_terms
    from proofcompute.verifier.findings import Finding
    from proofcompute.verifier.judging import verify_evidence

    checked, found = audited.checked, audited.found
    bundle = make_evidence(
        identity,
        checked.request,
        checked.receipt,
        found if audited.refusal is None else "refused",
        terms=named_terms(checked.receipt, _decoded(checked.terms)),
        challenge=audited.challenge,
        opening=audited.opening,
        sent=audited.sent,
        waited=audited.waited,
        disclose=disclose,
    )
    judged = verify_evidence(bundle, card, kernels=kernels_for("numpy"), request=checked.request)
    if judged.finding is Finding.REFUTED:
        return None, judged.reason
    return bundle, ""


def _decoded(terms: bytes | None) -> Terms | None:
    return None if terms is None else Terms.decode(terms)


def contradiction_in(error: BaseException) -> VerificationError | None:
    """Return the VerificationError that ``error`` is or was raised for, or None.

    openai's client and LangChain raise it as it is, from openai 3 on; older ones and LiteLLM raise errors of
    their own and keep it as the cause.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop(0)
        if found is None or id(found) in seen:
            continue
        if isinstance(found, VerificationError):
            return found
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
    return None
