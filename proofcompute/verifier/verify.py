"""Run the ten verification steps (docs/spec/verification.md#the-ten-steps).

1. Receipt and opening decode, versions and limits hold.
2. The node's key is the one addressed, and its signature holds.
3. The model id is the expected one.
4. The request digest is that of the request the verifier holds.
5. Row count, layout, outputs and stop reason agree with the request and the stop rule.
6. The challenge belongs to this receipt, and the opening to this challenge.
7. Every committed row is under the trace root, every weight row under the model id.
8. For each cell the segment runs: each hint is within its bound and its Freivalds check holds.
9. Each output row of the cell equals the committed row, each output token the answer.
10. Every cell asked for was checked, every product of it, every output of it; nothing is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO, Final, NoReturn

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import Cell, InputError, StorageError, VerificationError
from proofcompute.freivalds.soundness import with_collisions
from proofcompute.limits import GIB, MIB
from proofcompute.models.model import Model
from proofcompute.protocol.cells import drawn_as, segment_rows
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.frames import Frames, place
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.openable import require_openable, row_bytes
from proofcompute.protocol.received import received
from proofcompute.verifier.cells import Opened, check_cell, check_head, opened_cells
from proofcompute.verifier.claim import check_challenge, check_receipt, naming
from proofcompute.verifier.frames import frame_limits
from proofcompute.verifier.holders import Holder, KeyHolder, WeightsHolder
from proofcompute.verifier.key import Key
from proofcompute.verifier.proven import Checks, Ending, Hearer, ProofHolds
from proofcompute.verifier.result import Verified
from proofcompute.verifier.verdicts import accepted, rejections_logged

__all__ = ["audit", "checks_for", "holder_for", "require_kind", "verify"]

_PARALLEL_LEAST: Final = MIB
"""Bytes that cells must open on average to be checked in parallel."""
_PARALLEL_MOST: Final = GIB
"""Bytes that cells checked in parallel may hold together; if they need more, they are checked in turn."""


def verify(
    key: Key | Model,
    request: Request,
    receipt: bytes,
    challenge: Challenge,
    opening: BinaryIO,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    progress: Callable[[int], None] | None = None,
    evidence: bool = False,
) -> Verified:
    """Check the opened cells of an untrusted node's receipt.

    Each call that gets as far as the opening is an attempt under the key. The key's log counts it before any
    product is checked, whatever the outcome. Terms, retention and deadlines are checked by
    :class:`proofcompute.verifier.auditor.Auditor`.

    Args:
        key: a private verifier key, or the model itself, whose products are computed instead of hinted.
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        challenge: the verifier's own challenge.
        opening: the node's opening; read frame by frame, so memory does not grow with the number of cells.
        kernels: the backend.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        progress: is called with the number of rows of each cell checked.
        evidence: whether to compare an accepted opening, too, with what the node signed. A rejection always
            says whether the node signed the opening (``VerificationError.attributable``): an opening that can
            be read again is then read twice, which counts as two attempts under the key, and one that cannot
            is hashed as it comes. If the log cannot count a second attempt, the first rejection stands.

    Returns:
        What was covered, and the soundness of the checks in bits.

    Raises:
        VerificationError: the receipt or the opening fails one of the ten steps.
        InputError: the verifier's own key, request and challenge do not belong together, the key was used so
            often that no bit of soundness is left, or a cell may take more than MAX_CELL_OPENING bytes to
            open.
        MismatchError: the verifier's own weights are not those of the model id, or another request with the
            same nonce was verified under this key.
        StorageError: the attempt cannot be counted in the key's file.
        DeviceError: the backend cannot compute a cell of this size, or not by IEEE 754.
    """
    holder = holder_for(key, challenge)
    with rejections_logged(request):
        claim = check_receipt(holder.card, request, receipt, node)
        with naming(claim):
            found = audit(
                holder,
                request,
                claim,
                challenge,
                opening,
                kernels=kernels,
                progress=progress,
                evidence=evidence,
            )
    return accepted(request, found)


def holder_for(key: Key | Model, challenge: Challenge) -> Holder:
    """Return the holder that checks products. Raises InputError if the challenge is for another kind."""
    require_kind(key, challenge)
    return KeyHolder(key) if isinstance(key, Key) else WeightsHolder(key)


def require_kind(holds: Key | Model | ProofHolds, challenge: Challenge) -> None:
    """Raise InputError unless a challenge asks for what it takes to check its opening with what is held."""
    hints = not isinstance(holds, Model)
    proof = holds.asked.public_id if isinstance(holds, ProofHolds) else None
    asked = None if challenge.proof is None else challenge.proof.public_id
    if (challenge.hints, challenge.tables, asked) != (hints, hints, proof):
        raise InputError("the challenge asks for other openings than this key needs; make one for this key")


def checks_for(
    holds: Key | Model | ProofHolds, claim: Claim, challenge: Challenge, kernels: Kernels
) -> Checks:
    """Return what checks one opening. Raises InputError if the challenge is for another kind."""
    if isinstance(holds, ProofHolds):
        require_kind(holds, challenge)
        return holds.checks(claim, challenge, kernels)
    return Checks(holder_for(holds, challenge))


def audit(
    holder: Holder,
    request: Request,
    claim: Claim,
    challenge: Challenge,
    opening: BinaryIO,
    *,
    kernels: Kernels,
    progress: Callable[[int], None] | None,
    evidence: bool = False,
    hearer: Hearer | None = None,
    ending: Ending | None = None,
) -> Verified:
    """Run :func:`verify` from step 6 on, for any holder.

    With a ``hearer`` the opening is hashed while it is read, once, and has to be what the node signed. An
    ``ending`` checks the frame that follows the cells, if the challenge asks for one.
    """
    require_ieee()
    if (challenge.proof is None) != (ending is None):
        raise InputError("a public proof is checked if the challenge asks for one, and only then")
    check_challenge(claim, challenge)
    most = require_openable(
        holder.card.program,
        claim.statement.rows,
        challenge.cells,
        tables=challenge.tables,
        hints=challenge.hints,
    )
    holder.prepare(kernels)
    soundness = holder.begin(request)
    if soundness <= 0:
        raise InputError("this key was used so often that its checks prove nothing; make a new key")
    parallel = _worth_threads(claim, challenge) and most * kernels.map_depth() <= _PARALLEL_MOST
    again = None if evidence or hearer is not None else place(opening)
    check = partial(
        _check_opening,
        holder,
        claim,
        challenge,
        opening,
        kernels,
        parallel=parallel,
        hearer=hearer,
        ending=ending,
    )
    size, first = 0, None
    try:
        size = check(progress=progress, watched=again is None)
    except VerificationError as e:
        if again is None:
            raise
        first = e
    if again is not None and first is not None:
        try:  # this counts as an attempt: whoever changes the opening meanwhile learns from it
            holder.begin(request)
        except (InputError, StorageError):  # an attempt that cannot be counted is not made
            raise first from first.__cause__
        received(opening).seek(again)
        _reject(partial(check, progress=None, watched=True), str(first))
    return Verified(
        cells=sum(c.b - c.a for c in challenge.cells),
        total=claim.statement.cells,
        rows=claim.statement.rows,
        outputs=max(o.shape[0] for o in claim.statement.outputs.values()),
        stop_reason=claim.receipt.stop_reason,
        node=claim.receipt.node,
        soundness_bits=with_collisions(soundness),
        bytes_opened=size,
        segments=segment_rows(claim.statement),
        drawn=drawn_as(claim.statement, challenge.cells),
    )


def _reject(check: Callable[[], int], first: str) -> NoReturn:
    """Check and hash an opening again that was rejected with the text ``first``, and reject it."""
    try:
        check()
    except VerificationError as e:
        if first in (str(e), str(e.__cause__)):
            raise
    raise VerificationError(6, "the opening was changed while it was read")


def _check_opening(
    holder: Holder,
    claim: Claim,
    challenge: Challenge,
    opening: BinaryIO,
    kernels: Kernels,
    *,
    parallel: bool,
    progress: Callable[[int], None] | None,
    watched: bool,
    hearer: Hearer | None,
    ending: Ending | None,
) -> int:
    """Run steps 1, 2 and 6 to 10 of an opening, frame by frame, and return the number of bytes read."""
    frames = Frames(opening, kernels.map_depth(), watched=watched)
    try:
        roots = check_head(claim, challenge, frames)
        check = partial(check_cell, holder, claim, roots, kernels)
        opened = opened_cells(claim, challenge, frames, kernels)
        if hearer is not None:
            hearer.roots(roots)
            opened = _heard(opened, frames, hearer)
        checked: list[Cell] = []
        for cell in kernels.map(check, opened) if parallel else map(check, opened):
            checked.append(cell)
            if progress is not None:
                progress(cell.b - cell.a)
        if tuple(checked) != challenge.cells:
            raise VerificationError(10, "a cell was not checked")
        if ending is not None:
            _check_ending(ending, frames)
        end = frames.close(claim.receipt, challenge.digest)
    except VerificationError as e:
        if not watched:
            raise
        limits = frame_limits(claim, challenge)
        raise frames.blame(e, claim.receipt, challenge.digest, limits) from e.__cause__
    if watched:
        frames.require_signed(end)
    return frames.count


def _check_ending(ending: Ending, frames: Frames) -> None:
    """Check the frame that follows the cells."""
    frame = frames.piece(ending.limit)
    if frame is None:
        raise VerificationError(10, "the opening has no public proof")
    ending.check(bytes(frame))


def _heard(opened: Iterable[Opened], frames: Frames, hearer: Hearer) -> Iterator[Opened]:
    """Yield what opens each cell, once the hearer knows the digests of its frames."""
    done = len(frames.digests)
    for one in opened:
        hearer.cell(one.cell, frames.digests[done:])
        done = len(frames.digests)
        yield one


def _worth_threads(claim: Claim, challenge: Challenge) -> bool:
    """Return whether cells are worth a thread each; short ones would wait for the interpreter's lock."""
    program, cells = claim.statement.program, challenge.cells
    size = {segment: row_bytes(program, segment) for segment in {c.segment for c in cells}}
    work = sum((c.b - c.a) * size[c.segment] for c in cells)
    return len(cells) > 1 and work >= _PARALLEL_LEAST * len(cells)
