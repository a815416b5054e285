"""The sweeps, on sizes that take moments, with the NumPy backend: what is measured, never how fast."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import fields, replace
from statistics import median
from typing import Any

import pytest

from bench.conftest import TINY
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench import Results, measure, planned
from proofcompute.bench.results import BudgetRow, ColumnsRow, Machine, ScalingRow, SizeRow, SuiteRow
from proofcompute.bench.scaling import SWEEPS, checking, computing
from proofcompute.bench.settings import SHAPES
from proofcompute.bench.timing import (
    alternating,
    compared,
    exponent,
    in_turn,
    phases,
    ratios,
    repeated,
    spread,
)
from proofcompute.errors import Cell, InputError
from proofcompute.protocol.cells import all_cells
from proofcompute.testing.models import random_decoder, random_network
from proofcompute.testing.requests import sample_request, token_request
from proofcompute.testing.subject import Subject

KERNELS = kernels_for("numpy")


def test_every_step_is_announced(measured: tuple[Results, list[str]]) -> None:
    _, steps = measured
    assert len(steps) == len(set(steps)) == planned(TINY, KERNELS)
    assert steps[0] == "size tiny w8a8"


def test_what_was_asked_for_is_measured(measured: tuple[Results, list[str]]) -> None:
    results, _ = measured
    assert [(r.model, r.precision) for r in results.sizes] == [("tiny", "w8a8"), ("tiny", "w16a16")]
    assert [r.suite for r in results.suites] == ["sha256", "blake3"]
    assert [r.columns for r in results.columns] == [1, 3]
    assert [r.name for r in results.scaling] == list(SWEEPS)
    assert results.left_out == ["budget 10000: the request has no more cells"]
    (lengths,) = TINY.lengths
    rows = lengths.prompt + lengths.tokens - 1
    cells = (SHAPES["tiny"].layers + 1) * rows + lengths.tokens
    assert {(r.rows, r.cells) for r in results.sizes} == {(rows, cells)}
    # a budget that the trace cannot fill is left out; the audit of everything comes anyway
    assert [(r.cells, r.total) for r in results.budgets] == [(1, cells), (5, cells), (cells, cells)]


def test_figures_are_those_of_the_protocol(measured: tuple[Results, list[str]]) -> None:
    results, _ = measured
    one, five, every = results.budgets
    assert (one.detects_one, every.detects_one) == (1 / one.total, 1.0)
    assert one.detects_50_percent == pytest.approx(0.5, abs=0.1)
    assert 0 < one.opening_bytes < five.opening_bytes
    assert every.detects_1_percent == 1.0
    k1, k3 = results.columns
    assert k3.soundness_bits - k1.soundness_bits == pytest.approx(62, abs=1)
    assert k3.key_bytes > k1.key_bytes
    w8a8, w16a16 = results.sizes
    assert w16a16.opening_bytes > w8a8.opening_bytes
    assert w16a16.weights > w8a8.weights  # the tables keep one limb, and the head gets one of its own


def test_at_least_five_sizes_behind_each_exponent(measured: tuple[Results, list[str]]) -> None:
    for row in measured[0].scaling:
        assert len(set(row.sizes)) == len(row.verify_seconds) >= 5
        assert all(t > 0 for t in row.verify_seconds)
        assert (row.execute_exponent is None) == (row.execute_seconds == [])


def test_exponents_of_the_formulas(measured: tuple[Results, list[str]]) -> None:
    found = {r.name: r for r in measured[0].scaling}
    assert found["rows n"].formula_exponent == pytest.approx(1)
    assert found["width d"].formula_exponent == pytest.approx(1)
    assert found["width d"].execute_formula_exponent == pytest.approx(2)
    assert found["cells c"].formula_exponent == pytest.approx(1, abs=0.05)
    assert 0 < found["context t"].formula_exponent < 1


def test_rounds_reproduce_every_time_rate_and_ratio(measured: tuple[Results, list[str]]) -> None:
    """From the file alone, as a reader of it would."""
    plain = json.loads(json.dumps(measured[0].to_json()))

    def figure(x: float) -> float:
        return float(f"{x:.4g}")

    for section in ("sizes", "suites", "columns", "budgets", "scaling"):
        for row in plain[section]:
            assert {len(times) for times in row["rounds"].values()} == {TINY.rounds}
            for what, times in row["rounds"].items():
                low, *_, high = sorted(times)
                found = row["spread"][what]
                assert (found["min"], found["max"]) == (figure(low), figure(high))
                assert found["median"] == figure(median(times))
                assert found["min"] <= found["q1"] <= found["median"] <= found["q3"] <= found["max"]
            r = row["rounds"]
            for name, below, above in (
                ("commit_overhead", "run", "commit"),
                ("commit_overhead_prefill", "prefill", "commit prefill"),
                ("verify_over_execute", "run beside", "verify"),
            ):
                if name in row:
                    assert row[name] == figure(median(b / a for a, b in zip(r[below], r[above], strict=True)))
    for row in plain["sizes"]:
        run, prefill = (median(row["rounds"][what]) for what in ("run", "prefill"))
        assert row["execute_seconds"] == figure(run)
        assert row["prefill_tokens_per_second"] == figure(row["prompt"] / prefill)
        assert row["decode_tokens_per_second"] == figure((row["tokens"] - 1) / max(run - prefill, 1e-9))
    for row in plain["columns"]:
        assert row["keygen_seconds"] == figure(median(row["rounds"]["keygen"]))
    for row in plain["scaling"]:
        times = [median(row["rounds"][f"verify {size}"]) for size in row["sizes"]]
        assert row["verify_seconds"] == [figure(t) for t in times]
        assert row["verify_exponent"] == figure(exponent(row["sizes"], times))


def test_json_has_the_documented_form(measured: tuple[Results, list[str]]) -> None:
    plain = measured[0].to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert json.loads(measured[0].to_text()) == plain
    assert Results.from_json(plain).to_json() == plain
    assert plain.pop("schema") == 2
    assert set(plain) == {f.name for f in fields(Results)}
    assert set(plain["machine"]) == {f.name for f in fields(Machine)}
    for name, kind in (
        ("sizes", SizeRow),
        ("suites", SuiteRow),
        ("columns", ColumnsRow),
        ("budgets", BudgetRow),
        ("scaling", ScalingRow),
    ):
        assert plain[name]
        for row in plain[name]:
            assert set(row) == {f.name for f in fields(kind)} | {"spread"}


def test_json_names_no_host_and_no_path(measured: tuple[Results, list[str]]) -> None:
    machine = json.dumps(measured[0].to_json()["machine"])
    assert not re.search(rf"\b{re.escape(platform.node())}\b", machine)
    assert "/" not in machine


def test_a_missing_demo_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise InputError("the demo model is not installed")

    monkeypatch.setattr("proofcompute.bench.runner.packaged_smollm2", missing)
    only = replace(TINY, sizes=("demo",), precisions=("w8a16",), sections=("sizes",))
    results = measure(only, KERNELS, "")
    assert results.sizes == []
    assert results.left_out == ["size demo w8a16: the demo model is not installed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ("huge",)}, "size 'huge' is none of"),
        ({"precisions": ("w4a4",)}, "precision 'w4a4'"),
        ({"suites": ("md5",)}, "hash suite 'md5'"),
        ({"suites": ("sha256", "sha256")}, "none twice"),
        ({"columns": (9,)}, "number of columns 9"),
        ({"columns": ()}, "at least one"),
        ({"sections": ("all",)}, "section 'all'"),
        ({"budgets": (0,)}, "at least one cell"),
        ({"rounds": 0}, "at least 1"),
    ],
)
def test_settings_that_do_not_exist_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)


# -- the parts ---------------------------------------------------------------------------------------------
def test_counts_of_multiplications() -> None:
    model = random_network([8, 4, 2], limbs=2)
    cells = (Cell(0, 0, 3), Cell(1, 0, 3))
    assert computing(model.program, cells) == 3 * 2 * (8 * 4 + 4 * 2)
    assert checking(model.program, cells, 5) == 3 * 5 * (2 * 8 + 4 + 2 * 4 + 2)


def test_attention_counts_every_earlier_row() -> None:
    program = random_decoder(SHAPES["tiny"], "w8a8", KERNELS).program
    one, two = (checking(program, [Cell(1, t, t + 1)], 2) for t in (0, 9))
    assert two - one == 3 * SHAPES["tiny"].width * 9


def test_a_network_is_audited() -> None:
    subject = Subject(random_network([8, 4, 2]), KERNELS)
    run = subject.finish(sample_request(subject.model, 3))
    verified = subject.verifier(run, subject.open(run))()
    assert verified.complete
    assert len(all_cells(run.claim)) == 2


def test_random_models_answer_in_full() -> None:
    for precision in ("w8a8", "w8a16", "w16a16"):
        subject = Subject(random_decoder(SHAPES["tiny"], precision, KERNELS), KERNELS)
        session = subject.execute(token_request(subject.model, 5, 4))
        assert len(session.answer) == 4


def test_exponent_of_a_power() -> None:
    assert exponent([1, 2, 4, 8, 16], [3 * n**1.5 for n in (1, 2, 4, 8, 16)]) == pytest.approx(1.5)


def test_both_sides_run_in_turn() -> None:
    seen: list[str] = []
    a, b = alternating(lambda: seen.append("a"), lambda: seen.append("b"), 3)
    assert seen == ["a", "b"] * 3
    assert len(a) == len(b) == 3
    seen.clear()
    times = in_turn([lambda: seen.append("x"), lambda: seen.append("y")], 2)
    assert [len(t) for t in times] == [2, 2]
    assert seen == ["x", "y", "x", "y"]
    seen.clear()
    first, then = phases(lambda: "made", seen.append, 2)
    assert seen == ["made", "made"]
    assert min(first + then) >= 0
    assert repeated(lambda: seen.clear(), 4) == pytest.approx([0] * 4, abs=1)


def test_what_follows_from_rounds() -> None:
    assert ratios([1.0, 2.0], [3.0, 4.0]) == [3.0, 2.0]
    assert compared([1.0, 2.0, 4.0], [1.0, 6.0, 2.0]) == (2.0, 2.0, 1.0)
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == {"min": 1, "q1": 2, "median": 3, "q3": 4, "max": 5}
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])
