"""Check beacons and the statements made before their rounds (docs/spec/beacons.md#checking-a-beacon)."""

from __future__ import annotations

from collections.abc import Collection

from proofcompute.beacons.chains import chain_of
from proofcompute.beacons.messages import Beacon, BeaconStatement
from proofcompute.commitments.signing import signature_holds
from proofcompute.errors import BeaconError, InputError, UnsupportedError, VerificationError

__all__ = ["check_beacon", "check_statement", "tries_before"]


def check_beacon(
    beacon: Beacon, receipt_digest: bytes, request_digest: bytes, attestors: Collection[bytes]
) -> int:
    """Check that the cells of a receipt are drawn from a round that came after it.

    Args:
        beacon: the beacon, as it was received.
        receipt_digest: digest of the signed receipt, 32 bytes.
        request_digest: digest of the request that it answers, 32 bytes.
        attestors: public keys of those whose statements the caller believes. An attestor that signs two
            receipts of one request, or one for two rounds, lets their node choose between the cells.

    Returns the number of receipts that the node could try: one for each attestor that is believed, since it
    may show whichever statement suits it.

    Raises BeaconError if a step fails, UnsupportedError if the chain is not known or py_ecc is not installed,
    and InputError if no attestor is named.
    """
    trusted = frozenset(attestors)
    if not trusted:
        raise InputError("without an attestor whom you believe, nothing says that a receipt was there first")
    check_statement(beacon.statement)  # B1 to B3
    if beacon.statement.attestor not in trusted:  # B4
        raise BeaconError(f"the attestor {beacon.statement.attestor.hex()} is none of those you believe")
    if beacon.statement.receipt_digest != receipt_digest:  # B5
        raise BeaconError("the attestor's statement is about another receipt")
    if beacon.statement.request_digest != request_digest:  # B5
        raise BeaconError("the attestor's statement is about another request")
    beacon.round.check(chain_of(beacon.statement.chain))  # B6
    return len(trusted)


def tries_before(
    beacon: Beacon, receipt_digest: bytes, request_digest: bytes, attestors: Collection[bytes]
) -> int:
    """Check the beacon of a public proof as :func:`check_beacon`; what fails is its step 6.

    Raises VerificationError if the beacon does not hold or is of a chain that is not known, which whoever
    made the proof chose, and otherwise as :func:`check_beacon`.
    """
    try:
        try:
            chain_of(beacon.statement.chain)
        except UnsupportedError as e:
            raise BeaconError(str(e)) from e
        return check_beacon(beacon, receipt_digest, request_digest, attestors)
    except BeaconError as e:
        raise VerificationError(6, str(e)) from e


def check_statement(statement: BeaconStatement) -> None:
    """Check a statement alone: its chain is known, it came before its round, and its signature holds.

    Raises BeaconError if a step fails, UnsupportedError if the chain is not known.
    """
    chain = chain_of(statement.chain)  # B1
    latest = 1000 * (chain.time_of(statement.round) - chain.period)
    if statement.made > latest:  # B2
        late = (statement.made - latest) / 1000
        raise BeaconError(
            f"the attestor signed {late:.3f} s too late: one period before round {statement.round} at least"
        )
    if not signature_holds(statement.attestor, statement.signed_digest, statement.signature):  # B3
        raise BeaconError("the attestor's signature does not hold")
