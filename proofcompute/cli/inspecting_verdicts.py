"""What ``inspect`` shows of verdicts, their keys, and beacons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from proofcompute.limits import MAX_BEACON, MAX_VERDICT

__all__ = ["VERDICT_FILES", "VERDICT_MESSAGES"]

Facts = dict[str, object]


def _secret(path: Path) -> Facts:
    from proofcompute.bls.signatures import VerdictKey

    return {"public": VerdictKey.load(path).public.hex()}


def _signed(data: bytes) -> Facts:
    from proofcompute.bls.signatures import signed_by_all
    from proofcompute.cli.quorums import statement_fields
    from proofcompute.verdicts import SignedVerdict

    found = SignedVerdict.decode(data)
    holds = signed_by_all([found.key], found.statement.digest, found.signature)
    return {**statement_fields(found.statement), "signer": found.key.hex(), "signature_holds": holds}


def _quorum(data: bytes) -> Facts:
    from proofcompute.cli.quorums import statement_fields
    from proofcompute.verdicts import QuorumVerdict

    found = QuorumVerdict.decode(data)
    return {**statement_fields(found.statement), "signers": len(found.signers)}


def _statement(data: bytes) -> Facts:
    from proofcompute.beacons import BeaconStatement
    from proofcompute.cli.bundles import moment
    from proofcompute.commitments.signing import signature_holds

    found = BeaconStatement.decode(data)
    return {
        "chain": found.chain.hex(),
        "round": found.round,
        "made": moment(found.made),
        "receipt_digest": found.receipt_digest.hex(),
        "request_digest": found.request_digest.hex(),
        "attestor": found.attestor.hex(),
        "signature_holds": signature_holds(found.attestor, found.signed_digest, found.signature),
    }


def _beacon(data: bytes) -> Facts:
    from proofcompute.beacons import Beacon

    found = Beacon.decode(data)
    return {**_statement(found.statement.encode()), "randomness": found.round.randomness.hex()}


def _head(data: bytes) -> Facts:
    from proofcompute.cli.bundles import moment
    from proofcompute.commitments.signing import signature_holds
    from proofcompute.ledger import TreeHead

    found = TreeHead.decode(data)
    return {
        "size": found.size,
        "root": found.root.hex(),
        "made": moment(found.made),
        "operator": found.operator.hex(),
        "signature_holds": signature_holds(found.operator, found.digest, found.signature),
    }


def _export(path: Path) -> Facts:
    from proofcompute.ledger.exports import open_export

    with open_export(path) as found:
        return {"size": found.size, "heads": len(found.heads)}


VERDICT_FILES: Final[Mapping[str, Callable[[Path], Facts]]] = {
    "verdict key": _secret,
    "ledger export": _export,
}
VERDICT_MESSAGES: Final[Mapping[str, tuple[int, Callable[[bytes], Facts]]]] = {
    "signed verdict": (MAX_VERDICT, _signed),
    "quorum verdict": (MAX_VERDICT, _quorum),
    "ledger head": (MAX_VERDICT, _head),
    "beacon statement": (MAX_BEACON, _statement),
    "beacon": (MAX_BEACON, _beacon),
}
