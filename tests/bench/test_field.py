"""The tables of the field: ours is measured at the shapes, theirs have sources, and losses follow."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

import synthetic
from benchmarks.cost.shapes import LARGER, MODELS
from benchmarks.peers import commitllm_case, deepprove_case, nanogpt_case
from benchmarks.peers.cases import CASES, SYSTEMS
from benchmarks.peers.field import FIELD, field_losses
from benchmarks.peers.networks import Network
from benchmarks.peers.ours_case import measure
from benchmarks.peers.tables import FORMS, comparisons
from benchmarks.peers.whole import whole
from benchmarks.scale.bandwidth import LayerChecks
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench.settings import SHAPES
from proofcompute.testing.models import Shape, random_decoder
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

KERNELS = kernels_for("numpy")


@pytest.fixture
def small() -> Shape:
    return replace(MODELS["SmolLM2-135M"], layers=3, width=64, heads=4, kv_heads=2, head_dim=16, ffn_width=96)


# -- what is measured --------------------------------------------------------------------------------------
def test_a_request_is_proved_and_verified_as_a_whole() -> None:
    subject = Subject(random_decoder(SHAPES["tiny"], "w8a8", KERNELS), KERNELS)
    found = whole(subject, token_request(subject.model, 3, 2), 2)
    assert {len(times) for times in found["rounds"].values()} == {2}
    assert found["proof_bytes"] > 1000
    assert "all 14 cells" in found["note"]  # 4 rows through embedding and two blocks, and two tokens


def test_networks_keep_their_rounds() -> None:
    found = measure(Network((4, 8, 3)), 1, 2)
    assert {len(times) for what, times in found["rounds"].items() if what != "set up"} == {2}
    assert found["proof_bytes"] > 0


def test_the_shapes_are_those_that_were_published() -> None:
    widths = deepprove_case.NETWORK.widths
    biases = sum(widths[1:])  # theirs has them, ours has not
    weights = sum(d * m for d, m in itertools.pairwise(widths))
    assert (widths[0], widths[-1]) == (4, 3)
    assert 4.0e6 <= weights + biases < 4.1e6
    s = nanogpt_case.SHAPE
    gpt = s.layers * (4 * s.width**2 + 2 * s.width * 256) + s.vocabulary * s.width
    llama = s.layers * (4 * s.width**2 + 3 * s.width * s.ffn_width) + s.vocabulary * s.width
    assert abs(llama / gpt - 1) < 0.01
    assert [d.layers for d in commitllm_case.SHAPES.values()] == [32, 80, 126]
    largest = LARGER["Llama-3.1-405B"]
    assert (largest.width, largest.ffn_width, largest.kv_heads * largest.head_dim) == (16384, 53248, 1024)


def test_layers_are_checked_with_any_number_of_columns(small: Shape) -> None:
    found = commitllm_case.row("8B", small, 2, synthetic.KERNELS, 2)
    assert found["model"] == "8B, 3 layers"
    assert found["passes"] == "2^-61.99"
    assert {len(times) for times in found["rounds"].values()} == {2}
    layers = LayerChecks(small, 1, 3, synthetic.KERNELS)
    assert len(layers.sites) == 3 * 4  # of the seven products, those that read the same rows are one
    assert not layers.check()  # random integers are not the products
    layers.read()


def test_a_contraction_in_parts_is_checked(small: Shape) -> None:
    """That of the largest model's last product; its hint has a set for each part."""
    layers = LayerChecks(replace(small, layers=1, ffn_width=40_000), 1, 1, synthetic.KERNELS)
    assert max(len(hint) for _, hint in layers.sites) == 2
    assert not layers.check_and_gate()


# -- what is shown -----------------------------------------------------------------------------------------
def test_every_table_has_one_command_and_sources() -> None:
    for kind, table in FIELD.items():
        assert table.system in SYSTEMS
        assert [c.name for c in CASES if c.table == kind] == [
            c.name for c in CASES if table.system in c.parts
        ]
        assert len(table.head) == len(table.columns)
        for row in table.published:
            assert len(row.figures) == len(table.head)
            assert len(row.source) > 10
            assert row.machine
    assert {c.table for c in CASES} == {*FIELD, *FORMS}


def peers(kind: str, *rows: dict[str, Any], load: float = 0.0) -> dict[str, Any]:
    """Results with one case of a table."""
    machine = {"cpu": "a cpu", "threads": 2, "versions": {"proofcompute": "1"}}
    case = {
        "case": "c",
        "table": kind,
        "machine": machine,
        "packages": {},
        "code": "",
        "date": "",
        "note": "",
    }
    measured = [{"system": "ours", "status": "measured", **row} for row in rows]
    return {"cases": [{**case, "load": load, "rows": measured}]}


def shown(kind: str, p: dict[str, Any]) -> str:
    return next("\n".join(t.markdown()) for t in comparisons(p) if t.title == FIELD[kind].title)


@pytest.mark.parametrize("kind", FIELD)
def test_ours_stands_below_theirs(kind: str) -> None:
    table = FIELD[kind]
    row = {name: "text" if form is str else 1.0 for name, form in table.columns}
    text = shown(kind, peers(kind, row))
    assert text.index(table.published[0].system) < text.index("**ours 1**")
    assert f"`python -m benchmarks.peers -o DIR --only {table.system}`" in text
    assert "measured here" in text
    assert "not quiet" not in text
    assert "(**not quiet**: others used 1.5 cores)" in shown(kind, peers(kind, row, load=1.5))


def test_a_missing_demo_model_leaves_theirs() -> None:
    p = peers("obelyzk")
    p["cases"][0]["rows"] = [{"system": "obelyzk", "status": "missing", "reason": "no model"}]
    assert "missing: no model" in shown("obelyzk", p)
    assert list(field_losses(p)) == []


def test_a_slower_verifier_is_a_loss() -> None:
    rows = [
        {"model": "8B, 32 layers", "columns": 2, "all_seconds": 0.0025},
        {"model": "70B, 80 layers", "columns": 1, "all_seconds": 0.0080},
    ]
    (text,) = field_losses(peers("commitllm", *rows))
    assert "8B, k = 2: 2.5 ms against 1.9 ms" in text
    assert "70B" not in text


def test_what_a_proof_does_and_ours_does_not_is_said() -> None:
    row = {"proof_bytes": 2_000_000, "prove_seconds": 3.0, "native_seconds": 1.5}
    for kind in ("obelyzk", "nanogpt", "deepprove"):
        (text,) = field_losses(peers(kind, row))
        assert "2.0 MB" in text
        assert "2.0 times as long as" in text
        (text,) = field_losses(peers(kind, {**row, "prove_seconds": 1.0}))
        assert "times as long" not in text


def test_published_figures_are_those_of_the_constants() -> None:
    """The sentence about losses compares with the figures of the table."""
    from benchmarks.peers.field import VERIFIERS

    for row, (some, every) in zip(FIELD["commitllm"].published, VERIFIERS.values(), strict=True):
        assert f"{1e3 * every:.2f} ms" == row.figures[3]
        assert row.figures[2] in (f"{1e3 * some:.2f} ms", f"{1e6 * some:.0f} us")


def test_the_committed_comparison_has_every_table() -> None:
    from benchmarks.page import DATA

    kinds = {c["table"] for c in json.loads((DATA / "peers.json").read_text("utf-8"))["cases"]}
    assert kinds == {*FIELD, *FORMS}
