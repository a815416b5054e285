"""Sign verdicts against nodes together: each member decides again from the evidence, and signs what it found.

Evidence that one auditor put into the ledger becomes a job for each member. Whoever signs first proposes when
the verdict begins and ends; the others sign the same statement if they come to the same. Whoever brings the
last signature that the policy asks for joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.auditing.fleet import FleetModel
from proofcompute.bls.signatures import VerdictKey
from proofcompute.errors import InputError, VerdictError, VerdictFault
from proofcompute.ledger import Job, Ledger, NewJob
from proofcompute.protocol.bundle import Bundle
from proofcompute.verdicts import QuorumPolicy, combine, sign_verdict
from proofcompute.verifier.judging import verify_evidence
from proofcompute.verifier.quorums import statement_of

__all__ = ["SIGN", "Committee"]

SIGN: Final = "sign"


@dataclass(frozen=True, eq=False)
class Committee:
    """A quorum's policy, and the key of the member that this auditor is.

    Raises VerdictError if the key is not in the policy.
    """

    policy: QuorumPolicy
    key: VerdictKey

    def __post_init__(self) -> None:
        self.policy.place_of(self.key.public)

    @property
    def owner(self) -> str:
        """The owner for whom this member's jobs are."""
        return self.key.public.hex()

    def call(self, ledger: Ledger, receipt: bytes, evidence: bytes, model: str) -> int:
        """Ask all members to decide about evidence in the ledger. Returns how many jobs are new."""
        body = {"evidence": evidence.hex(), "policy": self.policy.digest.hex(), "model": model}
        jobs = [
            NewJob(
                name=f"{SIGN} {evidence.hex()} {self.policy.digest.hex()} {member.key.hex()}",
                kind=SIGN,
                receipt=receipt,
                audience=member.key.hex(),
                body=body,
            )
            for member in self.policy.members
        ]
        return ledger.jobs.add(*jobs)

    def sign(
        self,
        ledger: Ledger,
        job: Job,
        models: Mapping[str, FleetModel],
        kernels: Kernels,
        clock: Callable[[], float],
    ) -> dict[str, Any]:
        """Decide about a job's evidence and sign; return what it came to, for the job's result.

        Raises InputError for evidence that is not there, of a model that is not held, or about which nothing
        can be signed; EvidenceError if it says nothing; and VerdictError if this member found something else
        than what was proposed.
        """
        if job.body.get("policy") != self.policy.digest.hex():
            raise InputError(f"the job {job.name!r} is for another committee")
        model = models.get(str(job.body.get("model")))
        data = ledger.verdicts.evidence(_digest(job))
        if model is None or data is None:
            raise InputError(f"the job {job.name!r} is about evidence or a model that is not here")
        bundle = Bundle.decode(data)
        found = verify_evidence(bundle, model.holds, kernels=kernels)
        now = int(clock())
        mine = statement_of(
            found,
            bundle.evidence,
            self.policy,
            valid_from=max(now, self.policy.valid_from),
            valid_until=min(max(now, self.policy.valid_from) + self.policy.longest, self.policy.valid_until),
        )
        first = ledger.verdicts.propose(mine)
        same = statement_of(
            found,
            bundle.evidence,
            self.policy,
            valid_from=first.valid_from,
            valid_until=first.valid_until,
        )
        if same != first:
            raise VerdictError(
                VerdictFault.MIXED,
                f"this member found {same.outcome} by {same.check}, and {first.outcome} by {first.check} was "
                "proposed",
            )
        signed = ledger.verdicts.add_signature(self.policy, sign_verdict(self.key, self.policy, first))
        if len(signed) < self.policy.threshold:
            return {"signed": len(signed)}
        made = ledger.verdicts.record_quorum(self.policy, combine(self.policy, signed))
        return {"signed": len(signed), "leaf": made.leaf}


def _digest(job: Job) -> bytes:
    try:
        return bytes.fromhex(str(job.body.get("evidence")))
    except ValueError as e:
        raise InputError(f"the job {job.name!r} names no evidence") from e
