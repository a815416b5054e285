"""Networks built by hand: right, audited with a key and with the weights, and cheats are caught."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthetic
from adversary.setting import KERNELS, NODE
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.attacks.case import Case
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.trace import group_seal, trace_root
from proofcompute.prover import StoredTrace
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, keygen

EXAMPLES = Path(__file__).parents[2] / "examples"
CPU = NumbaKernels()


@cache
def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"hand_built_{name}.py"))


def described(name: str) -> Any:
    """Weights or trees of an example."""
    return example(name)["grow" if name == "trees" else "parameters"]()


@cache
def model(name: str) -> Model:
    built: Model = example(name)["build"](described(name))
    return built


@cache
def _key(name: str) -> Key:
    return keygen(model(name), KERNELS, seed=bytes(32))


def key(name: str) -> Key:
    return replace(_key(name), log=MemoryLog())


def rows(name: str, n: int = 4) -> Array:
    ((_, spec),) = model(name).program.inputs
    return np.random.default_rng(5).standard_normal((n, *spec.shape)).astype(np.float32)


def asked(m: Model, x: Array) -> Request:
    ((name, _),) = m.program.inputs
    return Request(m.model_id, ((name, x.tobytes()),), bytes(32), node=NODE.public)


def audited(claims: Model, runs: Model, x: Array, holder: Key | Model) -> Case:
    """An audit of a node that computes another model and commits to that under this one's id."""
    request = asked(claims, x)
    honest, run = synthetic.prove(claims, request), synthetic.prove(runs, asked(runs, x))
    statement = replace(honest.stored.statement, outputs=run.stored.statement.outputs)
    lie = StoredTrace(statement, request.suite, run.stored.groups, KERNELS)
    seals = [group_seal(claims.program, request.suite, g, len(x), root) for g, root in enumerate(lie.roots())]
    receipt = replace(
        honest.receipt, outputs=run.receipt.outputs, trace_root=trace_root(request.suite, seals)
    )
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    node = synthetic.node(
        Model(claims.card, runs.weights if runs.program == claims.program else claims.weights)
    )
    node.remember(receipt, lie)
    private = isinstance(holder, Key)
    cells = all_cells(Claim(receipt, statement))
    challenge = Challenge(receipt.digest, cells, hints=private, tables=private)
    return Case(holder, request, receipt.encode(), challenge, node.open(request, receipt.encode(), challenge))


NAMES = ["cnn", "trees", "lstm"]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_gives_what_floats_give_on_every_backend(name: str) -> None:
    m, x = model(name), rows(name, 7)
    found = [
        next(iter(dict(Node(m, NODE, device=k).answer(asked(m, x)).outputs).values())) for k in (KERNELS, CPU)
    ]
    assert found[0].tobytes() == found[1].tobytes()
    np.testing.assert_allclose(found[0], example(name)["reference"](described(name), x), atol=1e-3)


@pytest.mark.parametrize("kernels", [KERNELS, CPU], ids=["numpy", "cpu"])
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_full_audit_accepts(name: str, private: bool, kernels: Kernels) -> None:
    m, x = model(name), rows(name)
    holder = key(name) if private else m
    result = audited(m, m, x, holder).verify(kernels)
    assert (result.cells, result.complete) == (len(x) * len(m.program.segments), True)


def changed(name: str, weight: str) -> Model:
    """The model with one number of a weight changed."""
    m = model(name)
    w = m.weights[weight]
    if isinstance(w, np.ndarray):
        other: Any = w.copy()
        other[0] = -other[0] if other.dtype == np.float32 else other[1]
    else:
        q = w.q.copy()
        q[0, 0, 0] ^= 1
        other = replace(w, q=q)
    return replace(m, weights={**m.weights, weight: other})


def matrices(name: str) -> list[str]:
    return [w.name for w in model(name).program.weights if w.kind == "matrix"]


def mean_pool(name: str) -> Model:
    made: Model = example(name)["build"](described(name), pool="mean")
    return made


CHEATS: list[tuple[str, Callable[[], Model], int, int]] = [
    ("cnn", lambda: changed("cnn", matrices("cnn")[0]), 8, 1),
    ("cnn", lambda: changed("cnn", matrices("cnn")[-1]), 8, 2),
    ("cnn", lambda: changed("cnn", model("cnn").program.weights[0].name), 9, 0),
    ("cnn", lambda: mean_pool("cnn"), 9, 0),
    ("trees", lambda: changed("trees", "threshold.value"), 9, 0),
    ("trees", lambda: changed("trees", "left.value"), 9, 0),
    ("lstm", lambda: changed("lstm", matrices("lstm")[0]), 8, 0),
    ("lstm", lambda: changed("lstm", matrices("lstm")[1]), 8, 0),
]


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(("name", "lie", "step", "segment"), CHEATS)
def test_a_recommitted_cheat_is_caught_at_its_segment(
    name: str, lie: Callable[[], Model], step: int, segment: int, private: bool
) -> None:
    x = rows(name, 40)  # so many that every tree takes both branches at its root
    error = audited(model(name), lie(), x, key(name) if private else model(name)).rejection()
    assert error.cell is not None
    assert (error.step, error.cell.segment) == (step if private else 9, segment)


def test_a_recurrent_network_has_one_product_of_inputs_and_one_for_each_step() -> None:
    steps = example("lstm")["STEPS"]
    sites = model("lstm").program.plans[0].sites
    assert [(s.weight.rpartition(".")[2], s.rows) for s in sites] == [
        ("input", steps),
        *[("recurrent", 1)] * steps,
    ]


def test_trees_have_no_products_so_an_audit_computes_everything_again() -> None:
    assert [plan.sites for plan in model("trees").program.plans] == [(), ()]
