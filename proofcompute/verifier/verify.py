"""The ten verification steps (design, section 7).

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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from proofcompute.errors import Cell, ExecutionError, FormatError, InputError, LimitError, VerificationError
from proofcompute.ieee import require_ieee
from proofcompute.interpreter import Needs, needs, run
from proofcompute.kernels import Kernels
from proofcompute.limits import MAX_OPENING_PART, MIB
from proofcompute.messages import Challenge, Claim, OpeningHead, Part, Request, row_bytes
from proofcompute.messages.received import received
from proofcompute.model import Model
from proofcompute.program import Span
from proofcompute.source import Source
from proofcompute.trace import group_seal, trace_root
from proofcompute.verifier.claim import check_challenge, check_receipt, naming
from proofcompute.verifier.holders import Holder, KeyHolder, WeightsHolder
from proofcompute.verifier.key import Key
from proofcompute.verifier.result import HASH_BITS, Verified
from proofcompute.verifier.sources import open_groups
from proofcompute.wire import FrameReader

__all__ = ["audit", "verify"]

_LONG: Final = MIB
"""Bytes that cells open on average, from which they are checked beside one another."""


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
) -> Verified:
    """Check the opened cells of an untrusted node's receipt.

    Each call that gets as far as the opening is an attempt under the key, and counted in its log before any
    product is looked at, whatever comes of it.

    Args:
        key: a private verifier key; or the model itself, and then products are computed, not hinted.
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        challenge: the verifier's own challenge.
        opening: the node's opening; read frame by frame, so memory does not grow with the number of cells.
        kernels: backend.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        progress: gets the number of rows of each cell checked.

    Returns:
        What was covered, and how sure it is.

    Raises:
        VerificationError: the receipt or the opening fails one of the ten steps.
        InputError: the verifier's own key, request and challenge do not belong together, the key was used so
            often that no bit of soundness is left, or a cell may take more than MAX_OPENING_PART bytes to
            open.
        MismatchError: the verifier's own weights are not those of the model id; or the request's nonce is
            that of another request that was verified under this key.
        StorageError: the attempt cannot be counted in the key's file.
    """
    holder = KeyHolder(key) if isinstance(key, Key) else WeightsHolder(key)
    return audit(
        holder,
        request,
        receipt,
        challenge,
        opening,
        kernels=kernels,
        node=node,
        progress=progress,
    )


def audit(
    holder: Holder,
    request: Request,
    receipt: bytes,
    challenge: Challenge,
    opening: BinaryIO,
    *,
    kernels: Kernels,
    node: bytes | None,
    progress: Callable[[int], None] | None,
) -> Verified:
    """:func:`verify` for any holder."""
    require_ieee()
    if (challenge.hints, challenge.tables) != (holder.hints, holder.tables):
        raise InputError("the challenge asks for other openings than this key needs; make one for this key")
    claim = check_receipt(holder.card, request, receipt, node)
    with naming(claim):
        return _audit(holder, request, claim, challenge, received(opening), kernels, progress)


def _audit(
    holder: Holder,
    request: Request,
    claim: Claim,
    challenge: Challenge,
    opening: BinaryIO,
    kernels: Kernels,
    progress: Callable[[int], None] | None,
) -> Verified:
    """Steps 6 to 10."""
    check_challenge(claim, challenge)
    holder.prepare(kernels)
    soundness = holder.begin(request)
    if soundness <= 0:
        raise InputError("this key was used so often that its checks prove nothing; make a new key")
    reader = FrameReader(opening, kernels.lead())
    roots = _check_head(claim, challenge, reader)
    check = partial(_check_cell, holder, claim, challenge, roots, kernels)
    opened = _opened(claim, challenge, reader)
    found = kernels.each(check, opened) if _long(claim, challenge) else map(check, opened)
    checked: list[Cell] = []
    for cell in found:
        checked.append(cell)
        if progress is not None:
            progress(cell.b - cell.a)
    if not reader.ended():
        raise VerificationError(10, "the opening holds more than was asked for")
    if tuple(checked) != challenge.cells:
        raise VerificationError(10, "a cell was not checked")
    return Verified(
        cells=sum(c.b - c.a for c in checked),
        total=claim.statement.cells,
        rows=claim.statement.rows,
        outputs=max(o.shape[0] for o in claim.statement.outputs.values()),
        stop_reason=claim.receipt.stop_reason,
        node=claim.receipt.node,
        soundness_bits=min(soundness, HASH_BITS),
        bytes_opened=reader.count,
    )


def _check_head(claim: Claim, challenge: Challenge, reader: FrameReader) -> tuple[bytes, ...]:
    """Steps 1, 6 and 7 of the opening's first frame: the groups' roots hash to the trace root."""
    program, suite, rows = claim.statement.program, claim.receipt.suite, claim.statement.rows
    data = _frame(reader, OpeningHead.largest(len(program.committed)))
    if data is None:
        raise VerificationError(10, "the opening is empty")
    try:
        head = OpeningHead.decode(data, len(program.committed))
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    if head.receipt_digest != claim.receipt.digest or head.challenge_digest != challenge.digest:
        raise VerificationError(6, "the opening answers another challenge")
    seals = [group_seal(program, suite, i, rows, root) for i, root in enumerate(head.roots)]
    if trace_root(suite, seals) != claim.receipt.trace_root:
        raise VerificationError(7, "the opened roots do not hash to the trace root")
    return head.roots


@dataclass(frozen=True)
class _Opened:
    """What the opening holds for one cell."""

    cell: Cell
    need: Needs
    frame: memoryview | VerificationError | InputError | None
    """The encoded part. Why there is none is told later, after what is wrong with the cells before."""


def _opened(claim: Claim, challenge: Challenge, reader: FrameReader) -> Iterator[_Opened]:
    """The frames of all cells, up to the first that cannot be read."""
    tables, hints = challenge.tables, challenge.hints
    for cell in challenge.cells:
        need = needs(claim.statement, cell)
        program, size, rows = claim.statement.program, claim.statement.rows, cell.b - cell.a
        largest = Part.largest(program, need, size, rows, tables=tables, hints=hints)
        frame: memoryview | VerificationError | InputError | None
        try:
            if largest > MAX_OPENING_PART:  # an honest node could not open it either
                text = f"{cell} may open {largest} bytes, and a part holds {MAX_OPENING_PART}"
                raise InputError(f"{text}; ask for fewer rows")
            frame = _frame(reader, largest)
        except (VerificationError, InputError) as e:
            frame = e
        yield _Opened(cell, need, frame)
        if isinstance(frame, (VerificationError, InputError)):
            return


def _part(claim: Claim, challenge: Challenge, opened: _Opened) -> Part:
    """Step 1 of one cell's part: exactly what is needed, in canonical form."""
    frame, cell = opened.frame, opened.cell
    if frame is None:
        raise VerificationError(10, "the opening lacks this cell", cell=cell)
    if isinstance(frame, (VerificationError, InputError)):
        raise frame
    program, size = claim.statement.program, claim.statement.rows
    tables, hints = challenge.tables, challenge.hints
    try:
        return Part.decode(frame, program, opened.need, size, tables=tables, hints=hints)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e), cell=cell) from e


def _check_cell(
    holder: Holder,
    claim: Claim,
    challenge: Challenge,
    roots: tuple[bytes, ...],
    kernels: Kernels,
    opened: _Opened,
) -> Cell:
    """Steps 1 and 7 to 10 of one cell, which is returned."""
    part = _part(claim, challenge, opened)
    program, suite, cell, need = holder.card.program, claim.receipt.suite, opened.cell, opened.need
    try:
        rows = open_groups(claim.statement, suite, need, part, roots, cell, kernels)  # 7
        weights, products = holder.sources(need, part, cell, kernels)  # 7
        span = Span(0, cell.a, cell.b)
        run(program, cell.segment, [span], Source(rows, weights, products), kernels)  # 8, 9
    except FormatError as e:
        raise VerificationError(7, str(e), cell=cell) from e
    except (ExecutionError, InputError) as e:  # an operation may refuse what the node opened, too
        raise VerificationError(8, f"the arithmetic has no result: {e}", cell=cell) from e
    if products.made != len(need.sites):
        raise VerificationError(10, "a product was not checked", cell=cell)
    if rows.compared != {*need.plan.writes, *need.plan.emits}:
        raise VerificationError(10, "an output of the cell was not compared", cell=cell)
    return cell


def _long(claim: Claim, challenge: Challenge) -> bool:
    """Whether cells are worth a thread each: short ones would wait for one interpreter's lock."""
    program, cells = claim.statement.program, challenge.cells
    size = {segment: row_bytes(program, segment) for segment in {c.segment for c in cells}}
    work = sum((c.b - c.a) * size[c.segment] for c in cells)
    return len(cells) > 1 and work >= _LONG * len(cells)


def _frame(reader: FrameReader, limit: int) -> memoryview | None:
    try:
        return reader.read(limit=limit, what="opening")
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
