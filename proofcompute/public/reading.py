"""Read what all public proofs have in common, before the openings of a proof are checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import BinaryIO

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.beacons import Beacon
from proofcompute.beacons.checking import tries_before
from proofcompute.commitments.hashing import Transcript
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError, VerificationError
from proofcompute.protocol.samples import Sample
from proofcompute.public.evaluation import Followed
from proofcompute.public.holder import GRANTED, error_bits
from proofcompute.public.layout import CodedKey
from proofcompute.public.message import Evaluation
from proofcompute.public.proof import ALL, Proof, Shown

__all__ = [
    "beacon_in",
    "encoded_beacon",
    "followed",
    "numbers",
    "proof_for",
    "require_beacon_of",
    "require_count",
]


def proof_for(key: CodedKey, stream: BinaryIO, security: float) -> Proof:
    """Read a proof, which has to be for a public key, with enough positions.

    Raises VerificationError (steps 1 and 3) if it is not, and InputError if so little security is asked for
    that a proof proves nothing.
    """
    if security <= GRANTED:
        raise InputError(f"a proof of {security} bits proves nothing; ask for more than {GRANTED:.0f}")
    try:
        proof = Proof.read(stream)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    head = proof.head
    if head.public_id != key.public_id:
        raise VerificationError(
            3, "the proof is for another public key", expected=key.public_id.hex(), found=head.public_id.hex()
        )
    bits = error_bits(key.layout, head.positions)
    if bits < security:
        raise VerificationError(
            1, f"{head.positions} positions of each code give {bits:.1f} bits, fewer than {security:.1f}"
        )
    return proof


def followed(key: CodedKey, transcript: Transcript, proof: Proof, kernels: Kernels) -> Followed | None:
    """Check what follows the openings, if anything does. Raises VerificationError unless codes fit it."""
    if not proof.evaluation_size:
        return None
    positions, requests = proof.head.positions, len(proof.head.requests)
    if proof.evaluation_size > Evaluation.largest(key.layout, requests, positions):
        raise VerificationError(1, f"the evaluation has {proof.evaluation_size} bytes")
    data = proof.evaluation.read(proof.evaluation_size)
    try:
        found = Evaluation.decode(data, key.layout, requests, positions)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    return Followed(transcript, key, found, positions, kernels)


def numbers(requests: Sequence[bytes], answered: Sequence[bytes]) -> list[int]:
    """Return the number of a receipt for each request; for equal requests, different receipts.

    Requests are given by their digests, receipts by those of the requests that they answer. Raises
    VerificationError (step 4) if a request has no receipt.
    """
    left: dict[bytes, list[int]] = {}
    for number, digest in reversed(list(enumerate(answered))):
        left.setdefault(digest, []).append(number)
    found = []
    for digest in requests:
        if not left.get(digest):
            raise VerificationError(4, f"the proof is not of request {digest.hex()}")
        found.append(left[digest].pop())
    return found


def encoded_beacon(beacon: Beacon | None) -> bytes:
    """Return what a head says of a beacon, or of none."""
    return b"" if beacon is None else beacon.encode()


def require_beacon_of(receipt_digest: bytes, drawn: int | Sample, beacon: Beacon | None) -> None:
    """Raise InputError unless a prover's beacon, if it has one, draws something of this receipt."""
    if beacon is not None and (drawn == ALL or beacon.receipt_digest != receipt_digest):
        raise InputError("a beacon draws cells of the receipt that it names, and a proof of all has none")


def beacon_in(
    shown: Shown,
    receipt_digest: bytes,
    request_digest: bytes,
    attestors: Collection[bytes],
    what: str = "cells",
) -> tuple[Beacon | None, int | None]:
    """Return the beacon of one request of a proof, and how many receipts could be tried, if it limits them.

    Raises VerificationError (steps 1 and 6) if the beacon does not hold, or none is there although attestors
    are believed, and otherwise as :func:`proofcompute.beacons.checking.check_beacon`.
    """
    if shown.beacon:
        try:
            beacon = Beacon.decode(shown.beacon)
        except (FormatError, LimitError, UnsupportedError) as e:
            raise VerificationError(1, str(e)) from e
        return beacon, tries_before(beacon, receipt_digest, request_digest, attestors)
    if attestors and shown.cells != ALL:
        raise VerificationError(6, f"the {what} are drawn by the receipt's hash, and not from a beacon")
    return None, None


def require_count(
    opened: int, total: int, drawn: int | Sample, wanted: int | Sample, what: str = "cells"
) -> None:
    """Raise VerificationError (step 10) unless a proof opens what its verifier wants, or all.

    ``opened`` of ``total`` cells or rows are open, ``drawn`` as the head says. What suffices has as many
    runs, rows of a run and scattered cells at least; scattered ones do not stand for runs, nor runs for them.
    """
    if opened == total:
        return
    enough = wanted != ALL and all(a >= b for a, b in zip(_parts(drawn), _parts(wanted), strict=True))
    if not enough:
        text = "all" if wanted == ALL else str(wanted)
        raise VerificationError(10, f"{opened} of {total} {what} are proved, and not {text}")


def _parts(drawn: int | Sample) -> tuple[int, int, int]:
    return drawn.fields() if isinstance(drawn, Sample) else (0, 0, drawn)
