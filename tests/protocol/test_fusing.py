"""Fused steps: the same bytes, the same products in the same order, and only where nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

import synthetic
from proofcompute.engine import Engine
from proofcompute.errors import NonFiniteError
from proofcompute.program import interpreter
from proofcompute.program.operations import Add, Gate, Linear, QuantiseHeads, RmsNorm, Rope, Split
from proofcompute.program.operations.fused import FusedHeads, FusedLinear, fuse
from proofcompute.program.types import Reads, Runs, Step


def step(name: str, op: Runs, inputs: str, outputs: str, kept: str = "") -> Step:
    """A step that reads and makes the tensors named, separated by spaces; ``kept`` ones are committed."""
    made = tuple((n, n in kept.split(), False) for n in outputs.split())
    return Step(f"s/{name}", op, tuple((n, Reads.SAME) for n in inputs.split()), made)


NORM, GATE, LINEAR, ADD = RmsNorm("n", 0), Gate(), Linear("w", 2), Add()
ROPE, ROPE_K, QUANTISE = Rope(4, (0,), 1), Rope(2, (0,), 1), QuantiseHeads(2)


def heads(**changes: Step) -> list[Step]:
    """The five steps that become one call."""
    steps = {
        "split": step("split", Split((32, 16, 16)), "x", "q0 k0 v0"),
        "q": step("q", ROPE, "q0", "q"),
        "turned": step("turned", ROPE_K, "k0", "k1"),
        "k": step("k", QUANTISE, "k1", "k ks", "k ks"),
        "v": step("v", QUANTISE, "v0", "v vs", "v vs"),
    }
    return list((steps | changes).values())


def names(steps: Sequence[Step]) -> list[str]:
    return [s.name for s in steps]


def test_a_block_takes_six_calls() -> None:
    block = synthetic.model().program.plans[1]
    kinds = [type(s.op).__name__ for s in fuse(block.steps)]
    assert kinds == ["FusedLinear", "FusedHeads", "Attention", "FusedLinear", "FusedLinear", "FusedLinear"]
    assert {n for s in fuse(block.steps) for n, kept, _ in s.outputs if kept} == set(block.writes)


@pytest.mark.parametrize("first", [NORM, GATE])
def test_what_stands_around_a_product_joins_it(first: RmsNorm | Gate) -> None:
    steps = [step("a", first, "x", "h"), step("l", LINEAR, "h", "y"), step("r", ADD, "z y", "out", "out")]
    (one,) = fuse(steps)
    assert (one.name, one.inputs) == ("s/a+l+r", (("x", Reads.SAME), ("z", Reads.SAME)))
    assert one.outputs == (("out", True, False),)
    assert one.op == FusedLinear(LINEAR, first, residual=True)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (  # the normed rows are read twice; the product may still take the sum
            [step("a", NORM, "x", "h"), step("l", LINEAR, "h", "y"), step("r", ADD, "h y", "out")],
            ["s/a", "s/l+r"],
        ),
        (  # both tensors in between are committed
            [step("a", NORM, "x", "h", "h"), step("l", LINEAR, "h", "y", "y"), step("r", ADD, "x y", "out")],
            ["s/a", "s/l", "s/r"],
        ),
        (  # a product added to itself
            [step("l", LINEAR, "x", "h"), step("r", ADD, "h h", "out")],
            ["s/l", "s/r"],
        ),
        (  # the other summand comes later
            [step("l", LINEAR, "x", "y"), step("g", GATE, "x", "z"), step("r", ADD, "z y", "out")],
            ["s/l", "s/g", "s/r"],
        ),
        (  # no product at all
            [step("a", NORM, "x", "h"), step("g", GATE, "h", "out")],
            ["s/a", "s/g"],
        ),
    ],
)
def test_what_somebody_else_reads_stays(steps: list[Step], expected: list[str]) -> None:
    assert names(fuse(steps)) == expected


def test_two_products_share_no_residual() -> None:
    steps = [step("a", LINEAR, "x", "p"), step("b", LINEAR, "x", "q"), step("r", ADD, "p q", "out")]
    assert names(fuse(steps)) == ["s/a", "s/b+r"]


def test_heads_become_one_call() -> None:
    (one,) = fuse(heads())
    assert one.op == FusedHeads(ROPE, ROPE_K, 1)
    assert [n for n, *_ in one.outputs] == ["q", "k", "ks", "v", "vs"]


def test_heads_of_two_limbs_become_one_call() -> None:
    two, scaled = QuantiseHeads(2, 2), replace(ROPE, scale=0x3F000000)
    changes = {"k": step("k", two, "k1", "k ks"), "v": step("v", two, "v0", "v vs")}
    turned = {
        "q": step("q", scaled, "q0", "q"),
        "turned": step("turned", replace(scaled, heads=2), "k0", "k1"),
    }
    (one,) = fuse(heads(**changes, **turned))
    assert one.op == FusedHeads(scaled, replace(scaled, heads=2), 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"q": step("q", Rope(4, (1,), 1), "q0", "q")},
        {"q": step("q", Rope(4, (0,), 0), "q0", "q")},
        {"q": step("q", Rope(2, (0,), 1), "q0", "q")},
        {"q": step("q", replace(ROPE, scale=0x3F000000), "q0", "q")},
        {"q": step("q", replace(ROPE, start=1), "q0", "q")},
        {
            "q": step("q", replace(ROPE, start=1), "q0", "q"),
            "turned": step("turned", replace(ROPE_K, start=1), "k0", "k1"),
        },
        {"v": step("v", QuantiseHeads(2, 2), "v0", "v vs")},
        {
            "k": step("k", QuantiseHeads(2, 1, 3), "k1", "k ks"),
            "v": step("v", QuantiseHeads(2, 1, 3), "v0", "v vs"),
        },
        {"split": step("split", Split((40, 16, 16)), "x", "q0 k0 v0")},
        {"turned": step("turned", ROPE_K, "k0", "k1", "k1")},
        {"v": step("v", QuantiseHeads(4), "v0", "v vs")},
        {"v": step("v", GATE, "v0", "v")},
        {"k": step("k", GATE, "k1", "k")},
        {"more": step("more", GATE, "q0", "other")},
    ],
)
def test_heads_that_differ_stay_apart(changes: dict[str, Step]) -> None:
    assert fuse(heads(**changes)) == tuple(heads(**changes))


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w16a16"])
def test_the_trace_is_that_of_the_steps_one_by_one(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = synthetic.model(0, precision)
    fused = synthetic.prove(m, synthetic.request(m))
    monkeypatch.setattr(interpreter, "_steps", lambda plan: [(step, ()) for step in plan.steps])
    plain = synthetic.prove(m, synthetic.request(m))
    assert fused.receipt.encode() == plain.receipt.encode()
    assert synthetic.audit(synthetic.key(0, precision), fused).complete


def test_an_error_names_the_operations_that_ran_together() -> None:
    m = synthetic.model()
    engine = Engine(m, synthetic.KERNELS)
    session = engine.add(synthetic.request(m))
    norm = m.constant("block.0.attention.norm")
    kept = norm.copy()
    norm[:] = np.float32(3e38)
    try:
        with pytest.raises(NonFiniteError, match=r"block\.0/attention\.norm\+attention\.qkv"):
            engine.run(session)
    finally:
        norm[:] = kept
