"""A mixture of experts, written by hand: every row is multiplied by the matrices that its router chooses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from adversary.setting import KERNELS, NODE
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32
from proofcompute.attacks.case import Case
from proofcompute.attacks.taken_apart import Opening
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.program.operations import (
    Constant,
    Experts,
    Gate,
    Linear,
    Map,
    Order,
    Reduce,
    Take,
    View,
    reshape,
)
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.prover.node import Node as Prover
from proofcompute.testing.models import random_weight
from proofcompute.verifier import Key, check_receipt, keygen

WIDTH, HIDDEN, EXPERTS, CHOSEN, ROWS = 8, 6, 5, 2, 7

Nodes = list[tuple[str, Op, str, str]]


def nodes(limbs: int) -> tuple[Nodes, Nodes]:
    """The router, whose choice is committed, and the experts."""
    first: Nodes = [
        ("router", Linear("router", 2), "x", "scores"),
        ("bias", Constant("bias"), "", "b"),
        ("biased", Map("add"), "scores b", "s"),
        ("order", Order(0), "s", "ascending"),
        ("best", View((CHOSEN,), (-1,), EXPERTS - 1), "ascending", "chosen"),
        ("weights", Take(), "s chosen", "kept"),
        ("exp", Map("exp"), "kept", "e"),
        ("total", Reduce("sum", (0,)), "e", "t"),
        ("share", Map("div"), "e t", "share_"),
        ("column", reshape((CHOSEN, 1)), "share_", "share"),
    ]
    second: Nodes = [
        ("up", Experts("up", limbs), "x chosen", "gu"),
        ("gate", Gate(), "gu", "g"),
        ("down", Experts("down", limbs), "g chosen", "d"),
        ("scaled", Map("mul"), "d share", "ds"),
        ("sum", Reduce("sum", (0,)), "ds", "y"),
    ]
    return first, second


def program(limbs: int = 2, w_limbs: int = 1, bias: bool = True) -> Program:
    def made(steps: Nodes) -> tuple[Node, ...]:
        return tuple(Node(n, op, tuple(i.split()), tuple(o.split())) for n, op, i, o in steps)

    first, second = nodes(limbs)
    return Program(
        inputs=(("x", Spec("f32", (WIDTH,))),),
        outputs=("y",),
        feedback=False,
        context=64,
        weights=(
            WeightSpec("router", "matrix", (EXPERTS, WIDTH), limbs=2),
            WeightSpec("bias", "constant", (EXPERTS,), "f32"),
            WeightSpec("up", "matrix", (EXPERTS, 2 * HIDDEN, WIDTH), limbs=w_limbs, bias=bias),
            WeightSpec("down", "matrix", (EXPERTS, WIDTH, HIDDEN), limbs=w_limbs),
        ),
        committed=(Committed("choice", ("chosen", "share")),),
        segments=(Segment("router", made(first)), Segment("experts", made(second))),
    )


@cache
def model(limbs: int = 2, w_limbs: int = 1) -> Model:
    p = program(limbs, w_limbs)
    rng = np.random.default_rng(3)
    weights = {s.name: random_weight(s, rng) for s in p.weights}
    weights["bias"] = rng.standard_normal(EXPERTS).astype(np.float32)
    up = weights["up"]
    assert isinstance(up, Matrix)
    weights["up"] = replace(up, bias=rng.standard_normal((EXPERTS, 2 * HIDDEN)).astype(np.float32))
    return Model.build(p, weights, KERNELS.hash_rows)


@cache
def _key(limbs: int, w_limbs: int) -> Key:
    return keygen(model(limbs, w_limbs), KERNELS, seed=bytes(32))


def key(limbs: int = 2, w_limbs: int = 1) -> Key:
    return replace(_key(limbs, w_limbs), log=MemoryLog())


def rows(n: int = ROWS) -> F32:
    return np.random.default_rng(9).standard_normal((n, WIDTH)).astype(np.float32)


def audited(runs: Model, claims: Model | None = None, edit: Any = None, holder: Any = None) -> Case:
    """An audit of every cell of what a node with the weights of ``runs`` answers for another model."""
    claims = claims or runs
    liar = Model(claims.card, runs.weights)  # commits consistently to what its own weights give
    request = Request(claims.model_id, (("x", rows().tobytes()),), bytes(32))
    node = Prover(liar, identity=NODE, device="numpy")
    answer = node.answer(request)
    holder = holder or key()
    claim = check_receipt(holder, request, answer.receipt, None)
    private = isinstance(holder, Key)
    challenge = Challenge(claim.receipt.digest, all_cells(claim), hints=private, tables=private)
    data = node.open(request, answer.receipt, challenge)
    if edit is not None:
        setting: Any = SimpleNamespace(statement=claim.statement, claims=claims, identity=NODE)
        data = edit(Opening.parse(data, setting, challenge)).encode()
    return Case(holder, request, answer.receipt, challenge, data)


def sets_too_many() -> Case:
    """One product's hint has a set more than its rows have matrices."""

    def edit(opening: Opening) -> Opening:
        *before, last = opening.parts[-1].hints
        return opening.with_part(len(opening.parts) - 1, hints=(*before, (*last, last[0])))

    return audited(model(), edit=edit)
