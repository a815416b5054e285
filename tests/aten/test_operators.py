"""Each operator of ATen gives what PyTorch gives, computed in floats by the lowering library."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from aten.operators import CASES  # noqa: E402
from aten.record import TOGETHER, Together, recorded  # noqa: E402
from aten.recording import read  # noqa: E402
from proofcompute.importers.aten.rows import evaluate  # noqa: E402


@pytest.mark.parametrize("start", range(0, len(CASES), TOGETHER))
def test_operators_give_what_pytorch_gives(start: int) -> None:
    cases = CASES[start : start + TOGETHER]
    graph, given, wanted = read(recorded(Together(cases).eval(), [case.inputs for case in cases]))
    made = iter(zip(evaluate(graph, given), wanted, strict=True))
    for case in cases:
        results = case.function(*case.inputs)
        for _ in results if isinstance(results, tuple) else (results,):
            found, right = next(made)
            assert found.shape == right.shape, case.name
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=2e-5, err_msg=case.name)
