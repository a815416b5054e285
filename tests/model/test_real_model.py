"""What the design promises of a real chat model: sizes, quality, one trace however it was made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import real
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.engine import Engine, logits_of
from proofcompute.errors import Cell
from proofcompute.importers.float_model import FloatModel
from proofcompute.quality import Sums
from proofcompute.verifier.auditor import Auditor

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def reference(smollm2_path: Path) -> tuple[list[int], np.ndarray]:
    tokens = real.english(smollm2_path, 1024)
    checkpoint = real.checkpoint(smollm2_path)
    return tokens, FloatModel(checkpoint.arch, checkpoint.rows).logits(tokens)


@pytest.mark.parametrize(
    ("precision", "rows", "perplexity", "divergence", "agreement"),
    [
        ("w16a16", 512, 0.001, 0.00002, 0.998),
        ("w8a16", 512, 0.005, 0.005, 0.94),
        ("w8a8", 1024, 0.02, 0.015, 0.92),
    ],
)
def test_quality(
    smollm2_path: Path,
    reference: tuple[list[int], np.ndarray],
    precision: str,
    rows: int,
    perplexity: float,
    divergence: float,
    agreement: float,
) -> None:
    """Half a percent and two percent of perplexity; the figures are in docs/measurements.md."""
    tokens, logits = reference[0][:rows], reference[1][:rows]
    assert len(tokens) == rows
    kernels = kernels_for("auto")
    mine = logits_of(real.model(smollm2_path, precision), kernels, tokens)
    sums = Sums()
    sums.add(logits[:-1], mine[:-1], tokens[1:])
    quality = sums.quality()
    assert abs(quality.relative) <= perplexity
    assert quality.kl_mean <= divergence
    assert quality.top1_agreement >= agreement


def test_two_processes_compile_the_same_model_id(smollm2_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from proofcompute.arithmetic.devices import kernels_for;"
        "from proofcompute.importers.gguf import open_gguf;"
        "from proofcompute.importers.compiling import compile_decoder;"
        "c = open_gguf(Path(sys.argv[1]));"
        "print(compile_decoder(c, kernels_for('cpu'), 'w8a16').model_id.hex())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(smollm2_path)], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == real.model(smollm2_path).model_id.hex()


def test_sizes(smollm2_path: Path) -> None:
    node, answer = real.long_run(smollm2_path)
    auditor = Auditor(real.key(smollm2_path), device=node.kernels)
    outputs = sum(rows.nbytes for rows in answer.outputs.values())
    assert len(answer.receipt) - outputs <= 1024
    assert len(real.key(smollm2_path).encode()) <= 4_000_000
    for segment, limit in ((1, 300_000), (30, 300_000), (31, 320_000)):
        challenge = auditor.challenge(answer.request, answer.receipt, [Cell(segment, 500, 501)])
        opening = node.open(answer.request, answer.receipt, challenge)
        assert len(opening) <= limit
        assert auditor.check(answer.request, answer.receipt, challenge, opening).cells == 1


def test_decoding_equals_one_pass(smollm2_path: Path) -> None:
    m, kernels = real.model(smollm2_path), kernels_for("auto")
    engine = Engine(m, kernels)
    session = engine.add(real.request(m, real.english(smollm2_path, 20), 24))
    engine.run(session)
    whole = Engine(m, kernels)
    tokens = real.english(smollm2_path, 20) + session.answer[:-1]
    again = whole.add(real.request(m, tokens, 1))
    whole.run(again)
    rows = session.statement().rows
    for name, array in session.trace.arrays.items():
        np.testing.assert_array_equal(
            array[:rows].view(np.uint8), again.trace.arrays[name][:rows].view(np.uint8)
        )
    assert again.answer == session.answer[-1:]
