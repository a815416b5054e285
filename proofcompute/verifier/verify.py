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

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from proofcompute.errors import Cell, ExecutionError, FormatError, InputError, LimitError, VerificationError
from proofcompute.generation import check_answer
from proofcompute.interpreter import Needs, needs, run
from proofcompute.kernels import Array, Kernels
from proofcompute.limits import MAX_OPENING_PART
from proofcompute.messages import Challenge, OpeningHead, Part, Receipt, Request
from proofcompute.model import Identity, Model
from proofcompute.program import Span
from proofcompute.signing import signature_holds
from proofcompute.source import Source
from proofcompute.statement import Statement, rows_from_bytes
from proofcompute.trace import group_seal, trace_root
from proofcompute.verifier.holders import Holder, KeyHolder, WeightsHolder
from proofcompute.verifier.key import Key
from proofcompute.verifier.result import HASH_BITS, Verified
from proofcompute.verifier.sources import open_groups
from proofcompute.wire import FrameReader

__all__ = ["audit", "verify"]


def verify(
    key: Key | Model,
    request: Request,
    receipt: bytes,
    challenge: Challenge,
    opening: BinaryIO,
    *,
    kernels: Kernels,
    node: bytes | None = None,
    attempts: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Verified:
    """Check the opened cells of an untrusted node's receipt.

    Args:
        key: a private verifier key; or the model itself, and then products are computed, not hinted.
        request: the request as the verifier knows it.
        receipt: the node's receipt, encoded.
        challenge: the verifier's own challenge.
        opening: the node's opening; read frame by frame, so memory does not grow with the number of cells.
        kernels: backend.
        node: public key that must have signed; None: the one in the request, or any if it names none.
        attempts: verifications made under this key so far, this one included; subtracted as log2.
        progress: gets the number of rows of each cell checked.

    Returns:
        What was covered, and how sure it is.

    Raises:
        VerificationError: the receipt or the opening fails one of the ten steps.
        InputError: the verifier's own key, request and challenge do not belong together.
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
        attempts=attempts,
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
    attempts: int,
    progress: Callable[[int], None] | None,
) -> Verified:
    """:func:`verify` for any holder."""
    if (challenge.hints, challenge.tables) != (holder.hints, holder.tables):
        raise InputError("the challenge asks for other openings than this key needs; make one for this key")
    if attempts < 1:
        raise InputError("attempts counts this verification, so it is at least 1")
    inputs = request.check(holder.identity.program, holder.identity.model_id)
    claim = check_receipt(holder.identity, request, inputs, receipt, node)
    check_challenge(claim, challenge)
    reader = FrameReader(opening)
    roots = _check_head(claim, challenge, reader)
    checked: list[Cell] = []
    for cell in challenge.cells:
        need = needs(claim.statement, cell)
        part = _read_part(claim, challenge, need, cell, reader)
        _check_cell(holder, claim, need, part, roots, cell, kernels)
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
        soundness_bits=min(holder.soundness_bits(attempts), HASH_BITS),
        bytes_opened=reader.count,
    )


@dataclass(frozen=True)
class Claim:
    """A receipt that passed steps 1 to 5."""

    receipt: Receipt
    statement: Statement


def check_receipt(
    identity: Identity, request: Request, inputs: dict[str, Array], data: bytes, node: bytes | None
) -> Claim:
    """Steps 1 to 5."""
    try:
        receipt = Receipt.decode(data)
        if receipt.encode() != data:
            raise FormatError("receipt is not canonical")
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
    for wanted in (node, request.node or None):
        if wanted is not None and wanted != receipt.node:
            raise VerificationError(
                2, "signed by another node", expected=wanted.hex(), found=receipt.node.hex()
            )
    if not signature_holds(receipt.node, receipt.signed_digest, receipt.signature):
        raise VerificationError(2, "the node's signature does not hold")
    if receipt.model_id != identity.model_id:
        raise VerificationError(
            3, "another model", expected=identity.model_id.hex(), found=receipt.model_id.hex()
        )
    if receipt.suite != request.suite:
        raise VerificationError(4, "another hash suite", expected=request.suite, found=receipt.suite)
    if receipt.request_digest != request.digest:
        raise VerificationError(
            4, "another request", expected=request.digest.hex(), found=receipt.request_digest.hex()
        )
    return Claim(receipt, _check_outputs(identity, request, inputs, receipt))


def _check_outputs(
    identity: Identity, request: Request, inputs: dict[str, Array], receipt: Receipt
) -> Statement:
    """Step 5."""
    program = identity.program
    names = tuple(n for n, _ in receipt.outputs)
    if names != program.outputs:
        raise VerificationError(5, "other outputs than the program's", expected=program.outputs, found=names)
    reason = "complete"
    try:
        outputs = {n: rows_from_bytes(program.specs[n], data, f"output {n}") for n, data in receipt.outputs}
        statement = request.statement(program, inputs, outputs)
        if request.generation is not None:
            answer = [int(t) for t in outputs[program.outputs[0]]]
            reason = check_answer(request.generation, answer, identity.vocabulary)
    except InputError as e:
        raise VerificationError(5, str(e)) from e
    for what, expected, found in (
        ("row count", statement.rows, receipt.rows),
        ("layout", statement.layout, receipt.layout),
        ("stop reason", reason, receipt.stop_reason),
    ):
        if expected != found:
            raise VerificationError(5, f"wrong {what}", expected=expected, found=found)
    return statement


def check_challenge(claim: Claim, challenge: Challenge) -> None:
    """Step 6: the challenge is about this receipt and names cells that exist."""
    if challenge.receipt_digest != claim.receipt.digest:
        raise VerificationError(6, "the challenge is for another receipt")
    for cell in challenge.cells:
        try:
            claim.statement.check_cell(cell)
        except InputError as e:
            raise VerificationError(6, str(e), cell=cell) from e


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


def _read_part(claim: Claim, challenge: Challenge, need: Needs, cell: Cell, reader: FrameReader) -> Part:
    """Step 1 of one cell's part: exactly what is needed, in canonical form."""
    program, rows = claim.statement.program, claim.statement.rows
    tables, hints = challenge.tables, challenge.hints
    largest = Part.largest(program, need, rows, cell.b - cell.a, tables=tables, hints=hints)
    data = _frame(reader, largest)
    if data is None:
        raise VerificationError(10, "the opening lacks this cell", cell=cell)
    try:
        return Part.decode(data, program, need, rows, tables=tables, hints=hints)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e), cell=cell) from e


def _check_cell(
    holder: Holder,
    claim: Claim,
    need: Needs,
    part: Part,
    roots: tuple[bytes, ...],
    cell: Cell,
    kernels: Kernels,
) -> None:
    """Steps 7 to 10 of one cell."""
    program = holder.identity.program
    try:
        rows = open_groups(claim.statement, claim.receipt.suite, need, part, roots, cell, kernels)  # 7
        weights, products = holder.sources(need, part, cell, kernels)  # 7
        run(
            program, cell.segment, [Span(0, cell.a, cell.b)], Source(rows, weights, products), kernels
        )  # 8, 9
    except FormatError as e:
        raise VerificationError(7, str(e), cell=cell) from e
    except ExecutionError as e:
        raise VerificationError(8, f"the arithmetic has no result: {e}", cell=cell) from e
    if products.made != len(need.sites):
        raise VerificationError(10, "a product was not checked", cell=cell)
    if rows.compared != {*need.plan.writes, *need.plan.emits}:
        raise VerificationError(10, "an output of the cell was not compared", cell=cell)


def _frame(reader: FrameReader, limit: int) -> memoryview | None:
    try:
        return reader.read(limit=min(limit, MAX_OPENING_PART), what="opening")
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e
