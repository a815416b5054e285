"""One block of a large model: checking its cells against computing them, and what committing adds.

*Computing* is this package's engine, the fastest exact one here unless ``blas_seconds`` says otherwise:
float32 BLAS multiplies int8 exactly in chunks of 1,024, and is timed on the same products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.scale.models import blocks_of
from proofcompute.bench.subject import Subject, token_request
from proofcompute.bench.timing import alternating, phases, seconds
from proofcompute.errors import Cell
from proofcompute.freivalds import (
    Claim,
    check_product,
    claims,
    derive,
    largest_squares,
    project_weight,
)
from proofcompute.hashing import SUITES
from proofcompute.kernels import F32, I8, I32, Array, Kernels, Matrix
from proofcompute.messages import all_cells
from proofcompute.program import Site

__all__ = ["Block", "Check", "committing"]

CONTEXT = 1_024
"""Rows before the single cell, itself included."""
PREFILL = 512
_EXACT = 1_024
"""Products of two int8 whose sum float32 holds exactly."""


class Check:
    """The product checks of some rows at the block's sites, and the products themselves."""

    def __init__(self, block: Block, rows: int, columns: int = 2) -> None:
        self.k = block.subject.kernels
        rng = np.random.default_rng(0)
        self.cases = []
        self.inputs: list[tuple[F32, Matrix, Site]] = []
        for site in block.sites:
            model = block.subject.model
            w = model.matrix(site.weight)
            s = derive(bytes(32), model.model_id, model.program.weight[site.weight], columns)
            x = rng.standard_normal((rows, site.d), np.float32)
            q, _ = self.k.quantise(x, site.x_limbs)
            squares = largest_squares(w, self.k)
            hint = np.stack([self._values(q, w, c) for c in claims(site, q, squares, self.k)])
            self.cases.append((q, hint, site, s, project_weight(w, s, self.k), squares))
            self.inputs.append((x, w, site))
        assert self.check()
        for _, hint, *_ in self.cases:
            hint[-1, -1, -1] += 1
            assert not self.check()
            hint[-1, -1, -1] -= 1

    def _values(self, q: I8, w: Matrix, claim: Claim) -> I32:
        a, b = claim.start, claim.stop
        limb = np.ascontiguousarray(w.q[claim.w_limb][:, a:b])
        values = np.zeros((q.shape[1], len(limb)), np.int32)
        for i in claim.limbs:
            values = 256 * values + self.k.product(np.ascontiguousarray(q[i][:, a:b]), limb)
        return values

    def check(self) -> bool:
        """All product checks: the claims with their bounds, both sides projected and compared."""
        good = True
        for q, hint, site, s, v, squares in self.cases:
            made = claims(site, q, squares, self.k)
            sets, n, m = hint.shape
            left = self.k.project(hint.reshape(sets * n, m), s).reshape(sets, n, -1)
            good &= check_product(q, left, made, v, self.k)
        return good

    def compute(self) -> None:
        """All products, quantisation and scaling included."""
        for x, w, site in self.inputs:
            self.k.linear(x, w, site.x_limbs)

    def blas_seconds(self, rounds: int) -> float:
        """Seconds of all products in float32 BLAS, weights converted beforehand, nothing else done."""
        spent = 0.0
        for (q, _, site, *_), (_, w, _) in zip(self.cases, self.inputs, strict=True):
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


class Block:
    """One block of a model with random weights."""

    def __init__(self, model: str, precision: str, kernels: Kernels, blocks: int) -> None:
        self.name = f"{model} {precision}"
        self.blocks = blocks
        self.subject = Subject(blocks_of(model, precision, kernels), kernels)
        self.sites = self.subject.model.program.plans[1].sites

    def checks(self, rows: int, rounds: int) -> dict[str, Any]:
        """Product checks of rows that are checked together, over computing those products."""
        check = Check(self, rows)
        computing, checking, ratio = alternating(check.compute, check.check, rounds)
        blas = check.blas_seconds(3)
        return {
            "what": f"product checks of {rows} row{'s' * (rows > 1)}",
            **self._row(computing, checking, ratio, blas),
        }

    def cell(self, rounds: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """One cell at the end of a long context, over computing one token through all blocks."""
        s = self.subject
        run = s.finish(token_request(s.model, CONTEXT, 1))
        audit = s.open(run, (Cell(1, CONTEXT - 1, CONTEXT),))
        verify = s.verifier(run, audit)
        session = s.engine.add(token_request(s.model, CONTEXT - 2 * rounds, 4 * rounds))
        while not session.answer:
            s.engine.step()
        computing, checking, ratio = alternating(s.engine.step, verify, rounds)
        s.engine.run(session)
        return {
            "what": f"one cell at context {CONTEXT:,}, over one token through {self.blocks} blocks",
            "opening_bytes": len(audit.opening),
            **self._row(self.blocks * computing, checking, ratio / self.blocks, None),
        }, verify

    def prefill(self, rounds: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """All cells of the block in a prefill, over computing it."""
        s = self.subject
        request = token_request(s.model, PREFILL, 1)
        run = s.finish(request)
        cells = tuple(c for c in all_cells(run.receipt, s.model.program) if c.segment == 1)
        audit = s.open(run, cells)
        verify = s.verifier(run, audit)
        computing, checking, ratio = alternating(lambda: s.execute(request), verify, rounds)
        return {
            "what": f"all cells of a prefill of {PREFILL}",
            "opening_bytes": len(audit.opening),
            **self._row(computing, checking, ratio, Check(self, PREFILL).blas_seconds(1)),
        }, verify

    def _row(self, computing: float, checking: float, ratio: float, blas: float | None) -> dict[str, Any]:
        if blas is not None and blas < computing:
            computing, ratio = blas, checking / blas
        return {
            "model": self.name,
            "computing_seconds": computing,
            "blas_seconds": blas,
            "checking_seconds": checking,
            "ratio": ratio,
        }


def committing(model: str, precision: str, kernels: Kernels, rounds: int) -> list[dict[str, Any]]:
    """What hashing the trace and signing add to a prefill and to decoding, on a program of four blocks.

    Four, since the embedding's rows are committed as well: they are a fifth of what is hashed then, where
    one block alone would pay for twice as many rows as it makes.
    """
    subject = Subject(blocks_of(model, precision, kernels, 4), kernels)
    rows = []
    for suite in SUITES:
        for what, prompt, tokens in (("prefill", PREFILL, 1), ("decode", 64, 32)):
            request = token_request(subject.model, prompt, tokens, suite)
            subject.commit(subject.execute(request))
            spent, share = phases(partial(subject.execute, request), subject.commit, rounds)
            name = f"{model} {precision}"
            rows.append({"model": name, "suite": suite, "of": what, "seconds": spent, "overhead": share})
    return rows
