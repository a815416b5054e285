"""Sign verdicts, combine them, and verify them offline (docs/spec/verdicts.md#verifying-a-quorum-verdict).

Q1. The verdict decodes.
Q2. It names the verifier's policy.
Q3. It is about the receipt and the request that the verifier holds.
Q4. Its time is within that of the policy, not longer than the policy allows, and holds now.
Q5. Every signer is a member and counted once, and there are as many as the threshold asks for.
Q6. Every signer has proved possession of the key.
Q7. The signature holds under the sum of the signers' keys.
Q8. No verdict of the same subject was used before, where the verifier keeps them.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from proofcompute.bls.signatures import VerdictKey, signed_by_all, total_signature
from proofcompute.errors import FormatError, LimitError, VerdictError, VerdictFault
from proofcompute.errors.sealed import sealed
from proofcompute.verdicts.messages import QuorumVerdict, SignedVerdict
from proofcompute.verdicts.policy import QuorumPolicy
from proofcompute.verdicts.statement import VerdictStatement

__all__ = ["Expected", "combine", "decoded", "sign_verdict", "verify_verdict"]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a verifier asks of a verdict besides its policy."""

    receipt_digest: bytes
    """Digest of the signed receipt that the verdict must be about, 32 bytes."""
    request_digest: bytes | None = None
    """Digest of the request that it must be about; None: the one that the receipt is of, which it names."""
    now: float
    """The time at which the verdict must hold, in seconds since the Unix epoch."""
    used: Container[bytes] = ()
    """Subjects of verdicts that were used before; none of them is accepted again."""


@sealed
def sign_verdict(key: VerdictKey, policy: QuorumPolicy, statement: VerdictStatement) -> SignedVerdict:
    """Sign a statement under a policy, as one of its members.

    Raises VerdictError if the key is not in the policy, the statement is under another policy, or its time is
    not within that of the policy.
    """
    policy.place_of(key.public)
    _check_policy(policy, statement)
    return SignedVerdict(statement, key.public, key.sign(statement.digest))


def combine(policy: QuorumPolicy, signed: Sequence[SignedVerdict]) -> QuorumVerdict:
    """Join verdicts of several auditors to one of the quorum.

    Every signature is checked, since one that does not hold would spoil the sum.

    Raises VerdictError if there are too few, if they are not all of one statement, if an auditor signed twice
    or is not in the policy, or if a signature or a proof of possession does not hold.
    """
    if not signed:
        raise VerdictError(VerdictFault.THRESHOLD, "nobody has signed")
    statement = signed[0].statement
    _check_policy(policy, statement)
    found: dict[int, bytes] = {}
    for one in signed:
        if one.statement != statement:
            other = _difference(statement, one.statement)
            raise VerdictError(
                VerdictFault.MIXED, f"the auditor {one.key.hex()} signed another statement: {other}"
            )
        number = policy.place_of(one.key)
        if number in found:
            raise VerdictError(VerdictFault.SIGNER, f"the auditor {one.key.hex()} signed twice")
        if not signed_by_all([one.key], statement.digest, one.signature):
            raise VerdictError(VerdictFault.SIGNATURE, f"the signature of {one.key.hex()} does not hold")
        found[number] = one.signature
    _check_threshold(policy, len(found))
    policy.check_possession(sorted(found))
    numbers = tuple(sorted(found))
    return QuorumVerdict(statement, numbers, total_signature([found[n] for n in numbers]))


def verify_verdict(policy: QuorumPolicy, verdict: QuorumVerdict, expected: Expected) -> VerdictStatement:
    """Check a verdict of a quorum, offline, and return what the quorum says.

    Raises VerdictError with the fault of the first step that fails, and UnsupportedError if no library for
    BLS12-381 is installed.
    """
    statement = verdict.statement
    _check_policy(policy, statement)  # Q2, Q4
    if statement.receipt_digest != expected.receipt_digest:  # Q3
        raise VerdictError(
            VerdictFault.SUBJECT,
            f"the verdict is about the receipt {statement.receipt_digest.hex()}, "
            f"not {expected.receipt_digest.hex()}",
        )
    if expected.request_digest not in (None, statement.request_digest):  # Q3
        raise VerdictError(VerdictFault.SUBJECT, "the verdict is about another request")
    if not expected.now >= statement.valid_from:  # Q4; no number is no time at which it holds
        raise VerdictError(VerdictFault.TIME, f"the verdict holds only from second {statement.valid_from}")
    if not expected.now <= statement.valid_until:  # Q4
        raise VerdictError(VerdictFault.TIME, f"the verdict expired at second {statement.valid_until}")
    keys = policy.keys_of(verdict.signers)  # Q5
    if len(set(verdict.signers)) != len(verdict.signers):  # Q5
        raise VerdictError(VerdictFault.SIGNER, "the verdict counts a signer twice")
    _check_threshold(policy, len(verdict.signers))  # Q5
    policy.check_possession(list(verdict.signers))  # Q6
    if not signed_by_all(keys, statement.digest, verdict.signature):  # Q7
        raise VerdictError(VerdictFault.SIGNATURE, "the signature of the quorum does not hold")
    if statement.subject in expected.used:  # Q8
        raise VerdictError(VerdictFault.REPLAYED, "a verdict of this kind about this receipt was used before")
    return statement


def decoded(data: bytes) -> QuorumVerdict:
    """Decode a quorum verdict that somebody sent (Q1). Raises VerdictError if it is none."""
    try:
        return QuorumVerdict.decode(data)
    except (FormatError, LimitError) as e:
        raise VerdictError(VerdictFault.MALFORMED, str(e)) from e


def _check_policy(policy: QuorumPolicy, statement: VerdictStatement) -> None:
    if statement.policy != policy.digest:
        raise VerdictError(
            VerdictFault.POLICY,
            f"the verdict is under the policy {statement.policy.hex()}, not {policy.digest.hex()}",
        )
    if not policy.valid_from <= statement.valid_from <= statement.valid_until <= policy.valid_until:
        raise VerdictError(VerdictFault.POLICY, "the verdict is to hold when its policy does not")
    if statement.valid_until - statement.valid_from > policy.longest:
        raise VerdictError(
            VerdictFault.POLICY, f"the verdict is to hold for more than the policy's {policy.longest} seconds"
        )


def _check_threshold(policy: QuorumPolicy, count: int) -> None:
    if count < policy.threshold:
        raise VerdictError(
            VerdictFault.THRESHOLD, f"{count} have signed, and the policy asks for {policy.threshold}"
        )


def _difference(a: VerdictStatement, b: VerdictStatement) -> str:
    names = [name for name in a.__dataclass_fields__ if getattr(a, name) != getattr(b, name)]
    return f"it differs in {', '.join(names)}"
