"""Times audits at the sizes of large models: `make bench PYTEST_ARGS=benchmarks/test_scale.py`.

The benchmark times the verifier's side; the ratio to computing, measured in turn, is in `extra_info`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.scale.bandwidth import all_layers, bandwidths
from benchmarks.scale.block import PEAK, Block, Check, committing
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels

MODEL = "Llama-3.1-8B"
ROUNDS = 3

Benchmark = Callable[..., Any]


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return kernels_for("cpu")


@pytest.fixture(scope="module", params=["w8a8", "w8a16"])
def block(request: pytest.FixtureRequest, kernels: Kernels) -> Block:
    return Block(MODEL, request.param, kernels, 32)


@pytest.mark.parametrize("rows", [1, 16])
def test_product_checks_of_a_block(benchmark: Any, block: Block, rows: int) -> None:
    benchmark.extra_info.update(block.checks(rows, 5 * ROUNDS))
    assert benchmark(Check(block, rows, PEAK).check)


def test_one_cell_at_a_long_context(benchmark: Any, block: Block) -> None:
    facts, verify = block.cell(ROUNDS)
    benchmark.extra_info.update(facts)
    assert benchmark(verify).cells == 1


def test_all_cells_of_a_prefill(benchmark: Any, block: Block) -> None:
    facts, verify = block.prefill(ROUNDS)
    benchmark.extra_info.update(facts)
    assert benchmark.pedantic(verify, rounds=ROUNDS).cells == 512


@pytest.mark.parametrize("rows", [1, 16])
def test_product_checks_of_all_layers(benchmark: Any, kernels: Kernels, rows: int) -> None:
    facts = benchmark.pedantic(all_layers, ("Llama-3.1-70B", rows, kernels, ROUNDS), rounds=1)
    benchmark.extra_info.update(facts)


def test_bandwidths(benchmark: Any, kernels: Kernels) -> None:
    facts = benchmark.pedantic(bandwidths, (kernels, ROUNDS), rounds=1)
    benchmark.extra_info.update({x["what"]: x["of_sum"] for x in facts})


def test_committing(benchmark: Any, kernels: Kernels) -> None:
    facts = benchmark.pedantic(committing, (MODEL, "w8a16", kernels, ROUNDS), rounds=1)
    benchmark.extra_info.update({f"{x['suite']} {x['of']}": x["overhead"] for x in facts})


def test_key(benchmark: Any) -> None:
    """Run in a process of its own, to measure its peak memory."""
    command = [sys.executable, "-m", "benchmarks.scale.key", "--model", MODEL]
    done = benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True, text=True), rounds=1
    )
    facts = json.loads(done.stdout)
    benchmark.extra_info.update(facts)
    assert facts["made_twice_after_interruption"] == 0
