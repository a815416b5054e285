"""Attest receipts before a round, one for each request (docs/spec/beacons.md#attesting).

A statement is worth something only if its attestor makes one for each request and never another. Otherwise a
node shows it receipt after receipt, or one receipt for round after round, and keeps the statement whose cells
suit it. So statements are kept in a log, and who asks again is given what was signed before.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from proofcompute.beacons.chains import QUICKNET, Chain
from proofcompute.beacons.messages import BeaconStatement
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.files import append, exclusive, read_limited
from proofcompute.errors import BeaconError, FormatError, InputError
from proofcompute.limits import MIB

__all__ = ["attest"]

MAX_LOG: Final = 256 * MIB
"""A log of statements, of some 470,000 of them."""
_AHEAD: Final = 2
"""Periods from a statement to its round: one that the checks ask for, and one for the clocks."""


def attest(
    identity: NodeIdentity,
    log: Path,
    *,
    request_digest: bytes,
    receipt_digest: bytes,
    chain: Chain = QUICKNET,
    now: float | None = None,
) -> BeaconStatement:
    """Sign that a receipt was seen before a round, unless another one was attested for the same request.

    Args:
        identity: the attestor's key pair.
        log: the file in which all statements of this attestor are kept; made if it is not there.
        request_digest: digest of the request, 32 bytes.
        receipt_digest: digest of the signed receipt, 32 bytes; the caller has checked the receipt.
        chain: whose round will draw the cells.
        now: seconds since the Unix epoch; None: this machine's clock.

    Returns the statement: the one in the log if this receipt was attested before.

    Raises BeaconError if another receipt of this request was attested before, FormatError if the log is
    damaged, InputError if another process has it or it is another attestor's, and StorageError if it cannot
    be written.
    """
    with exclusive(log, "log of statements", wait=10.0) as fd:
        for line in read_limited(log, MAX_LOG, "log of statements", fd).splitlines():
            found = _logged(line, log)
            if found.attestor != identity.public:
                raise InputError(f"the log {log} is that of another attestor, {found.attestor.hex()}")
            if found.request_digest == request_digest:
                if found.receipt_digest == receipt_digest:
                    return found
                raise BeaconError(
                    f"another receipt of this request was attested before, {found.receipt_digest.hex()}"
                )
        seconds = time.time() if now is None else now
        made = BeaconStatement(
            request_digest=request_digest,
            receipt_digest=receipt_digest,
            chain=chain.hash,
            round=chain.first_after(seconds + _AHEAD * chain.period),
            made=round(1000 * seconds),
            attestor=identity.public,
        )
        made = made.signed(identity.sign(made.signed_digest))
        append(fd, made.encode().hex().encode() + b"\n", "log of statements")  # before it leaves
    return made


def _logged(line: bytes, log: Path) -> BeaconStatement:
    try:
        return BeaconStatement.decode(bytes.fromhex(line.decode("ascii")))
    except (ValueError, InputError) as e:
        raise FormatError(f"the log {log} is damaged; statements can no longer be made with it") from e
