"""Keys and values of the width of a 7B model: cells whose prefix is longer than any frame."""

from __future__ import annotations

import gc
import tracemalloc
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import synthetic
from adversary.setting import NODE
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Span
from proofcompute.errors import Cell, VerificationError
from proofcompute.importers.compiling import compile_decoder
from proofcompute.limits import MAX_OPENING_PART, MIB
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.program.types import Reads
from proofcompute.protocol.cells import all_cells, draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, OpeningHead, Receipt
from proofcompute.protocol.needs import GroupRows
from proofcompute.protocol.openable import most_bytes
from proofcompute.protocol.pieces import PIECE, cut
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.protocol.trace import Trace, group_seal, trace_root
from proofcompute.prover.node import Node
from proofcompute.testing.forging import ForgedRows, Forgery, commit, generation_of
from proofcompute.testing.models import Shape, random_checkpoint
from proofcompute.verifier import keygen
from proofcompute.verifier.auditor import Auditor

WIDE = Shape(
    layers=1,
    width=16,
    heads=32,
    kv_heads=32,
    head_dim=128,
    ffn_width=16,
    context=1 << 17,
    vocabulary=260,
    interleaved=True,
)
BLOCK = 1


@cache
def model() -> Model:
    return compile_decoder(random_checkpoint(0, WIDE), kernels_for("auto"), "w8a16")


def committed(rows: int) -> Forgery:
    """A trace whose keys and values are made up, but for the last row of the block, which is computed."""
    m, kernels = model(), kernels_for("auto")
    asked = synthetic.request(m, "x" * rows, max_tokens=1)
    trace, rng = Trace(m.program, rows), np.random.default_rng(0)
    trace.arrays["tokens"][:rows] = ord("x")
    for group in m.program.committed:
        for name in group.tensors:
            array = trace.arrays[name]
            if array.dtype == np.int8:
                array[:] = rng.integers(-127, 128, array.shape, np.int8)
            else:
                array[:] = rng.random(array.shape, np.float32) / 64 + np.float32(1 / 64)
    reader = ForgedRows(trace, generation_of(asked), bytes(32))
    source = Source(reader, m, ComputeProducts(m.matrix))
    run(m.program, BLOCK, [Span(0, rows - 1, rows)], source, kernels)
    return commit(m, m, asked, [65], trace, "length", kernels, NODE)


def test_no_cell_is_too_long_to_be_opened() -> None:
    """At the whole context, whatever is drawn or listed; though a prefix takes more than a frame."""
    program = model().program
    for segment in range(len(program.segments)):
        for rows in (1, 128):
            most = most_bytes(program, segment, rows, WIDE.context, WIDE.context, tables=True, hints=True)
            assert most.fits
            assert most.part < 64 * MIB
    assert (
        most_bytes(program, BLOCK, 1, WIDE.context, WIDE.context, tables=True, hints=True).ahead
        > 4 * MAX_OPENING_PART
    )


def test_a_node_that_committed_to_anything_is_rejected_in_cells_far_out() -> None:
    """Opening nothing is the node's fault wherever the cell is, and no mistake of the verifier's."""
    m, rows, kernels = model(), 100_000, kernels_for("auto")
    auditor = Auditor(keygen(m, kernels), device=kernels)
    asked = synthetic.request(m, "x" * rows, max_tokens=1)
    inputs = inputs_of(asked, m.program, m.model_id)
    statement = statement_of(asked, m.program, inputs, {"next": np.array([65], np.int32)})
    roots = tuple(bytes([i]) * 32 for i, _ in enumerate(m.program.committed))
    seals = [group_seal(m.program, asked.suite, i, rows, root) for i, root in enumerate(roots)]
    receipt = Receipt(
        suite=asked.suite,
        model_id=m.model_id,
        request_digest=asked.digest,
        outputs=(("next", np.array([65], "<i4").tobytes()),),
        rows=rows,
        stop_reason="length",
        trace_root=trace_root(asked.suite, seals),
        retention=3600,
        node=NODE.public,
    )
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    claim = Claim(receipt, statement)
    pieces = [c for c in all_cells(claim) if c.b > rows - 1000]
    for cell in (Cell(BLOCK, 31_775, 31_776), Cell(BLOCK, rows - 1, rows), *draw_cells(claim, 4), *pieces):
        challenge = Challenge(receipt.digest, (cell,))
        head = OpeningHead(receipt.digest, challenge.digest, roots).encode()
        opening = synthetic.closed([head], receipt, challenge, NODE)
        with pytest.raises(VerificationError) as caught:
            auditor.check(asked, receipt.encode(), challenge, opening)
        assert (caught.value.step, caught.value.cell, caught.value.attributable) == (10, cell, True)


@pytest.mark.slow
def test_a_cell_with_a_prefix_longer_than_a_frame_is_checked(tmp_path: Path) -> None:
    """In memory there is the prefix, once, and a piece besides."""
    rows, kernels = 33_000, kernels_for("auto")
    forgery = committed(rows)
    cell = Cell(BLOCK, rows - 1, rows)
    challenge = Challenge(forgery.receipt.digest, (cell,))
    path = tmp_path / "opening"
    node = Node(model(), NODE, device=kernels)
    node.remember(forgery.receipt, forgery.stored)
    with path.open("wb") as stream:
        node.open(forgery.request, forgery.receipt, challenge, stream)
    size = path.stat().st_size
    assert size > MAX_OPENING_PART
    (long,) = [c for g in _groups(cell, rows) if (c := cut(model().program, g)).ahead]
    assert long.ahead == -(-size // PIECE) - 1
    auditor = Auditor(keygen(model(), kernels), device=kernels)
    request, receipt = forgery.request, forgery.receipt.encode()
    del forgery, node
    gc.collect()
    for evidence in (False, True):
        with path.open("rb") as stream:
            tracemalloc.start()
            try:
                found = auditor.check(request, receipt, challenge, stream, evidence=evidence)
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert (found.cells, found.bytes_opened) == (1, size)
        assert most < size + 2 * PIECE + 16 * MIB
    with path.open("r+b") as stream:  # a bit in the middle of the prefix
        stream.seek(size // 2)
        byte = stream.read(1)
        stream.seek(size // 2)
        stream.write(bytes([byte[0] ^ 1]))
    with path.open("rb") as stream, pytest.raises(VerificationError) as caught:
        auditor.check(request, receipt, challenge, stream)
    assert (caught.value.step, caught.value.attributable) == (2, False)
    assert isinstance(caught.value.__cause__, VerificationError)
    assert caught.value.__cause__.step == 7


def _groups(cell: Cell, rows: int) -> list[GroupRows]:
    """The rows of groups that the cell opens."""
    plan = model().program.plans[cell.segment]
    return [GroupRows(g, cell.a if mode is Reads.SAME else 0, rows) for g, mode in plan.groups]
