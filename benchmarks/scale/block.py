"""Measures one block of a large model: checking cells, computing them, and what committing adds.

*Computing* is this package's engine, the fastest exact one here unless ``blas_seconds`` says otherwise:
float32 BLAS multiplies int8 exactly in chunks of 1,024, and is timed on the same products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.scale.models import blocks_apart, blocks_of
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32, I8, I32, U32, Array
from proofcompute.bench.timing import alternating, compared, phases, seconds
from proofcompute.commitments.hashing import SUITES
from proofcompute.errors import Cell
from proofcompute.freivalds.columns import derive, project_weight
from proofcompute.freivalds.hint import HintSet
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import hint_sets, largest_squares, pack_set
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.hints import check_hint
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

__all__ = ["PEAK", "RIGHT_AFTER", "Block", "Check", "altered", "committing"]

CONTEXT = 1_024
"""Rows up to and including that of the single cell."""
PREFILL = 512
STREAMED = 3
"""Blocks whose weights are held when a row goes through all blocks."""
PEAK = 64.0
"""A number so far above normal ones beside it that a row of two limbs has one set (docs/adr/0016)."""
RIGHT_AFTER = "right after the products"
_EXACT = 1_024
"""Products of two int8 whose sum float32 holds exactly."""


@dataclass
class Case:
    """One product of some rows, with its hint and the verifier's key for it."""

    site: Site
    x: F32
    w: Matrix
    q: I8
    hint: list[bytes]
    columns: tuple[U32, U32]
    """S and V."""
    squares: tuple[int, ...]
    sx: F32


class Check:
    """The product checks of some rows at the block's sites, and the products themselves.

    Where ``peak`` is given, each row has one number so large, and else normal ones.
    """

    def __init__(self, block: Block, rows: int, peak: float, number: int = 0, columns: int = 2) -> None:
        self.k = block.subject.kernels
        rng = np.random.default_rng(number)
        matrices, model = block.matrices[number % len(block.matrices)], block.subject.model
        self.cases = []
        for site, w in zip(block.sites, matrices, strict=True):
            # one seed for each block: no two have a column in common
            s = derive(number.to_bytes(32), model.model_id, site.weight, site.m, columns)
            x = rng.standard_normal((rows, site.d), np.float32)
            if peak:
                x[:, 0] = peak
            q, sx = self.k.quantise(x, site.x_limbs)
            squares = largest_squares(w.q, self.k)
            hint = [pack_set(self._values(q, w, c), self.k) for c in hint_sets(site, q, squares, self.k)]
            v = project_weight(w.q, s, self.k)
            self.cases.append(Case(site, x, w, q, hint, (s, v), squares, sx))
        self.sets = max(len(case.hint) for case in self.cases)
        assert self.check()
        for case in self.cases:
            right, case.hint[-1] = case.hint[-1], altered(case, self.k)
            assert not self.check()
            case.hint[-1] = right

    def _values(self, q: I8, w: Matrix, claim: HintSet) -> I32:
        a, b = claim.start, claim.stop
        limb = np.ascontiguousarray(w.q[claim.w_limb][:, a:b])
        values = np.zeros((q.shape[1], len(limb)), np.int32)
        for i in claim.limbs:
            values = 256 * values + self.k.product(np.ascontiguousarray(q[i][:, a:b]), limb)
        return values

    def check(self) -> bool:
        """Make all product checks as an audit does, from the packed hints to the products as floats."""
        good = True
        for c in self.cases:
            wanted = hint_sets(c.site, c.q, c.squares, self.k)
            scales = c.w.scale, c.w.bias
            good &= check_hint(c.hint, c.site.weight, c.q, wanted, c.columns, c.sx, scales, self.k).holds
        return good

    def compute(self) -> None:
        """Compute all products, with quantisation and scaling."""
        for c in self.cases:
            self.k.linear(c.x, c.w, c.site.x_limbs)

    def blas_seconds(self, rounds: int) -> float:
        """Return the seconds of all products alone in float32 BLAS, with weights converted beforehand."""
        spent = 0.0
        for case in self.cases:
            q, w, site = case.q, case.w, case.site
            y = np.empty((len(w.q[0]), q.shape[1]), np.float32)
            cuts = range(0, site.d, _EXACT)
            rows = [[np.ascontiguousarray(x[:, a : a + _EXACT].T, np.float32) for a in cuts] for x in q]
            weights = [
                [np.ascontiguousarray(limb[:, a : a + _EXACT], np.float32) for a in cuts] for limb in w.q
            ]
            total = np.zeros((len(w.q[0]), q.shape[1]), np.int32)
            for x, part in zip(rows[0], weights[0], strict=True):
                total += (part @ x).astype(np.int32)
            assert np.array_equal(total.T, self.k.product(q[0], w.q[0]))

            def multiply(rows: Any = rows, weights: Any = weights, y: Array = y) -> None:
                for limb in weights:
                    for x in rows:
                        for part, piece in zip(limb, x, strict=True):
                            np.matmul(part, piece, out=y)

            multiply()
            spent += median(seconds(multiply) for _ in range(rounds))
        return spent


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n > 1)}"


def altered(case: Case, k: Kernels) -> bytes:
    """Return the last set of a hint with one added to its last value."""
    bits, data = case.hint[-1][0], case.hint[-1][1:]
    values = unpack(data, bits, case.q.shape[1] * case.site.m)
    values[-1] += 1
    return pack_set(values, k)


class Block:
    """One block of a model with random weights."""

    def __init__(self, model: str, precision: str, kernels: Kernels, blocks: int) -> None:
        self.name = f"{model} {precision}"
        self.blocks = blocks
        self.subject = Subject(blocks_of(model, precision, kernels), kernels)
        self.sites = self.subject.model.program.plans[1].sites
        self.matrices = [[self.subject.model.matrix(site.weight) for site in self.sites]]
        self._parts = model, precision, kernels

    def checks(self, rows: int, rounds: int, peak: float = 0) -> dict[str, Any]:
        """Compare product checks of rows that are checked together with computing those products."""
        check = Check(self, rows, peak)
        times = alternating(check.compute, check.check, rounds)
        blas = check.blas_seconds(3)
        return {
            "what": f"product checks of {_counted(rows, 'row')}{self._sets(check)}, {RIGHT_AFTER}",
            **self._row(*times, blas),
        }

    def row_through_blocks(self, rounds: int, peak: float = 0) -> dict[str, Any]:
        """Compare product checks of one row at all blocks, each with its own key, with computing the same.

        The weights of a few blocks are streamed in turn: together they are larger than any cache.
        """
        if len(self.matrices) == 1:
            self.matrices += blocks_apart(*self._parts, STREAMED - 1)
        every = [Check(self, 1, peak, number) for number in range(self.blocks)]

        def compute() -> None:
            for check in every:
                check.compute()

        def verify() -> None:
            good = True
            for check in every:
                good &= check.check()
            assert good

        times = alternating(compute, verify, rounds)
        sets = self._sets(every[0])
        return {
            "what": f"product checks of 1 row{sets}, {self.blocks} blocks one after the other",
            **self._row(*times, None),
        }

    def _sets(self, check: Check) -> str:
        several = self.sites[0].x_limbs == 2
        return f" in {_counted(check.sets, 'set')}" if several else ""

    def cell(self, rounds: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """Compare checking one cell after a long context with computing one token through all blocks."""
        s = self.subject
        run = s.finish(token_request(s.model, CONTEXT, 1))
        audit = s.open(run, (Cell(1, CONTEXT - 1, CONTEXT),))
        verify = s.verifier(run, audit)
        session = s.node.engine.add(token_request(s.model, CONTEXT - 2 * rounds, 4 * rounds))
        while not session.answer:
            s.node.engine.step()
        computing, checking = alternating(s.node.engine.step, verify, rounds)
        s.node.engine.run(session)
        return {
            "what": f"one cell at context {CONTEXT:,}, over one token through {self.blocks} blocks",
            "opening_bytes": len(audit.opening),
            **self._row([self.blocks * t for t in computing], checking, None),
        }, verify

    def prefill(self, rounds: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """Compare checking all cells of the block in a prefill with computing it."""
        s = self.subject
        request = token_request(s.model, PREFILL, 1)
        run = s.finish(request)
        cells = tuple(c for c in all_cells(run.claim) if c.segment == 1)
        audit = s.open(run, cells)
        verify = s.verifier(run, audit)
        times = alternating(lambda: s.execute(request), verify, rounds)
        return {
            "what": f"all cells of a prefill of {PREFILL}",
            "opening_bytes": len(audit.opening),
            **self._row(*times, Check(self, PREFILL, 0).blas_seconds(1)),
        }, verify

    def _row(self, computes: list[float], checks: list[float], blas: float | None) -> dict[str, Any]:
        computing, checking, ratio = compared(computes, checks)
        if blas is not None and blas < computing:
            computing, ratio = blas, checking / blas
        return {
            "model": self.name,
            "computing_seconds": computing,
            "blas_seconds": blas,
            "checking_seconds": checking,
            "ratio": ratio,
            "rounds": {"computing": computes, "checking": checks},
        }


def committing(model: str, precision: str, kernels: Kernels, rounds: int) -> list[dict[str, Any]]:
    """Time what hashing the trace and signing add to a prefill and to decoding, on a program of four blocks.

    Four, since the embedding's rows are committed as well: they are a fifth of what is hashed then, where
    one block alone would pay for twice as many rows as it makes.
    """
    subject = Subject(blocks_of(model, precision, kernels, 4), kernels)
    rows = []
    for suite in SUITES:
        for what, prompt, tokens in (("prefill", PREFILL, 1), ("decode", 64, 32)):
            request = token_request(subject.model, prompt, tokens, suite)
            subject.commit(subject.execute(request))
            runs, commits = phases(partial(subject.execute, request), subject.commit, rounds)
            spent, _, share = compared(runs, commits)
            row = {"model": f"{model} {precision}", "suite": suite, "of": what}
            times = {"run": runs, "commit": commits}
            rows.append({**row, "seconds": spent, "overhead": share, "rounds": times})
    return rows
