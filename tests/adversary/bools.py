"""A node that commits bytes which are no bools, and is asked only for the rows that read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import synthetic
from adversary.setting import KERNELS, NODE
from proofcompute.attacks.case import Case
from proofcompute.errors import Cell
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.trace import group_seal, trace_root
from proofcompute.prover import StoredTrace
from proofcompute.verifier import keygen

ROWS, WIDTH = 3, 4


def choosing() -> Model:
    """Whether each number is positive is committed, and chooses in the next segment."""
    b = ProgramBuilder(context=8, device="numpy")
    x = b.input("x", WIDTH)
    positive = x > 0
    b.cut(positive)
    b.output(b.select(positive, x, 0.5, name="y"))
    return b.model()


def committed_twos() -> Case:
    """Every true is committed as the byte 2, from which NumPy computes what it computes from 1."""
    m = choosing()
    x = np.random.default_rng(4).standard_normal((ROWS, WIDTH)).astype(np.float32)
    asked = Request(m.model_id, (("x", x.tobytes()),), bytes(32))
    run = synthetic.prove(m, asked)
    lie = StoredTrace(run.stored.statement, run.stored.suite, [2 * run.stored.groups[0]], KERNELS)
    seal = group_seal(m.program, asked.suite, 0, ROWS, lie.roots()[0])
    forged = replace(run.receipt, trace_root=trace_root(asked.suite, [seal]))
    forged = forged.signed(NODE.sign(forged.signed_digest))
    challenge = Challenge(forged.digest, tuple(Cell(1, t, t + 1) for t in range(ROWS)))
    node = synthetic.node(m)
    node.remember(forged, lie)
    opening = node.open(asked, forged.encode(), challenge)
    return Case(keygen(m, KERNELS, seed=bytes(32)), asked, forged.encode(), challenge, opening)
