"""Draws of cells and audit policies against vectors that were made without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import synthetic
from oracle import make_draw_vectors
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import FormatError
from proofcompute.protocol.cells import drawn_from
from proofcompute.protocol.samples import Sample
from proofcompute.protocol.statement import Statement
from proofcompute.verifier.policy import AuditPolicy

FILE = Path(__file__).parents[1] / "vectors" / "draws.json"
VECTORS = json.loads(FILE.read_text())


def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    make_draw_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


@pytest.mark.parametrize("case", VECTORS["draws"], ids=lambda case: str(case["name"]))
def test_cells_are_those_of_the_vectors(case: Any) -> None:
    statement = Statement(synthetic.model().program, case["prompt"], case["rows"], {}, {}, Sampling(), b"")
    seed, digest = bytes.fromhex(case["seed"]), bytes.fromhex(case["digest"])
    cells = drawn_from(statement, digest, Sample(*case["sample"]), seed)
    assert [list(cell) for cell in cells] == case["cells"]
    if case["sample"][:2] == [0, 0]:
        assert drawn_from(statement, digest, case["sample"][2], seed) == cells


@pytest.mark.parametrize("data", VECTORS["policies"]["valid"])
def test_right_policies(data: str) -> None:
    assert AuditPolicy.decode(bytes.fromhex(data)).encode().hex() == data


@pytest.mark.parametrize("name", VECTORS["policies"]["invalid"])
def test_wrong_policies(name: str) -> None:
    with pytest.raises(FormatError):
        AuditPolicy.decode(bytes.fromhex(VECTORS["policies"]["invalid"][name]))
