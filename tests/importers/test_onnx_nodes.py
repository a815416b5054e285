"""Node tests of the ``onnx`` package, run as programs: each ends as `scripts/onnx_coverage.py` wrote down."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from importers import onnx_nodes

RESULTS = Path(__file__).with_name("onnx_node_results.tsv")
PAGE = Path(__file__).parents[2] / "docs" / "onnx-coverage.md"
CHUNKS = 8


def pinned() -> tuple[int, dict[str, str]]:
    head, *lines = RESULTS.read_text("utf-8").splitlines()
    pairs = [line.partition("\t") for line in lines]
    return int(head.split()[1]), {name: result for name, _, result in pairs}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_node_test_ends_as_written_down(chunk: int) -> None:
    _, others = pinned()
    names = sorted(onnx_nodes.cases())[chunk::CHUNKS]
    found = {name: onnx_nodes.run_case(onnx_nodes.cases()[name]) for name in names}
    assert {n: (o.result, o.reason) for n, o in found.items() if o.result != others.get(n, "passed")} == {}


def test_the_page_says_what_is_written_down() -> None:
    total, others = pinned()
    assert total == len(onnx_nodes.cases())
    assert set(others.values()) <= {"failed", "refused"}
    passed = total - len(others)
    assert passed >= 1650
    text = PAGE.read_text("utf-8")
    for what, count in (
        ("passed", passed),
        ("failed", list(others.values()).count("failed")),
        ("refused", list(others.values()).count("refused")),
    ):
        assert f"| {what} | {count} |" in text
    assert f"(version {onnx.__version__})" in text
