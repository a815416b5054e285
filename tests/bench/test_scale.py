"""Benchmarks at the sizes of large models: what they run is right, and their page is made from the JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import synthetic
from benchmarks.cost.shapes import MODELS
from benchmarks.scale import models
from benchmarks.scale.block import PEAK, STREAMED, Block, Check, altered
from benchmarks.scale.key import key_of
from benchmarks.scale.page import DATA, PAGE, page

SMALL = replace(
    MODELS["SmolLM2-135M"],
    layers=2,
    width=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    ffn_width=96,
    vocabulary=300,
    rope_base=10000.0,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "small", SMALL)


def test_weights_are_the_same_whenever_they_are_made() -> None:
    reader = models.Synthetic(SMALL, "w8a16", synthetic.KERNELS)
    for spec in reader.program.weights:
        reader.card.check_root(spec, reader.weight(spec.name), synthetic.KERNELS.hash_rows)


def test_the_key_of_a_model() -> None:
    found = key_of("small")
    assert found["made_twice_after_interruption"] == 0
    assert found["weight_bytes"] == sum(
        s.rows * s.row_bytes for s in models.Synthetic(SMALL, "w8a16", synthetic.KERNELS).program.weights
    )


@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
def test_product_checks_pass_and_fail(precision: str) -> None:
    """Making the benchmark asserts both; BLAS gives the same accumulators."""
    for peak in (0, PEAK):
        check = Check(Block("small", precision, synthetic.KERNELS, 2), 3, peak)
        assert check.check()
        assert check.blas_seconds(1) > 0
        check.cases[2].hint[-1] = altered(check.cases[2], synthetic.KERNELS)
        assert not check.check()


def test_one_row_through_blocks_that_have_keys_of_their_own() -> None:
    block = Block("small", "w8a8", synthetic.KERNELS, 4)
    row = block.row_through_blocks(1)
    assert row["ratio"] == pytest.approx(row["checking_seconds"] / row["computing_seconds"])
    checks = [Check(block, 1, 0, number) for number in range(4)]
    assert len({c.cases[0].columns[0].tobytes() for c in checks}) == 4
    assert len({c.cases[0].w.q.tobytes() for c in checks}) == STREAMED


def test_the_page_is_made_from_the_committed_json() -> None:
    assert PAGE.read_text("utf-8") == page(json.loads(DATA.read_text("utf-8")))


def test_a_missed_goal_is_on_the_page() -> None:
    results: dict[str, Any] = json.loads(DATA.read_text("utf-8"))
    for row in results["bandwidths"]:
        row["of_sum"] = 0.9
    met = page(results).count("**missed**")
    results["bandwidths"][0]["of_sum"] = 0.79
    assert page(results).count("**missed**") == met + 1
