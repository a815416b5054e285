"""Tests the first layers of the packaged chat model on the emulated device: receipts are the CPU's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from cuda_rig.requests import together
from model import real
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import Cell
from proofcompute.importers.compiling import calibration, compile_decoder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.testing.subject import Run
from proofcompute.verifier import keygen

pytestmark = [pytest.mark.model, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

LAYERS = 3
VOCABULARY = 1024
"""Rows of the embedding that are used; with all of them the head would be most of the work of two layers."""


def truncated(path: Path) -> Model:
    whole = real.checkpoint(path)
    arch = replace(whole.arch, blocks=whole.arch.blocks[:LAYERS], vocabulary=VOCABULARY)
    with pytest.MonkeyPatch.context() as patch:  # the calibration text uses all of the vocabulary
        patch.setattr(calibration, "calibration_tokens", lambda vocabulary: [])
        return compile_decoder(replace(whole, arch=arch), kernels_for("numpy"), "w8a16")


def requests(m: Model, path: Path) -> list[Request]:
    """Returns a greedy and a sampled request; prompts are the frequent tokens of an English text."""
    tokens = [t for t in real.english(path, 200) if t < VOCABULARY]
    plain = real.request(m, tokens[:5], 4)
    sampled = real.request(m, tokens[5:7], 3)
    assert sampled.generation is not None
    return [plain, replace(sampled, generation=replace(sampled.generation, sampling=synthetic.SAMPLED))]


def test_receipts_are_the_cpus(smollm2_path: Path) -> None:
    m, cpu = truncated(smollm2_path), kernels_for("numpy")
    device = EmulatedDevice(90, 2)
    nodes = synthetic.node(m, cpu), synthetic.node(m, CudaKernels(device))
    here, there = (together(node, requests(m, smollm2_path)) for node in nodes)
    assert len(device.downloads) == 4  # one for each step
    assert max(device.downloads) == 8 + 4 * len(here)  # a status and two tokens
    assert device.replays == 1
    receipts = [nodes[0].commit(s) for s in here]
    assert [nodes[1].commit(s) for s in there] == receipts
    assert [s.answer for s in here] == [s.answer for s in there]
    # cells of the last row, opened on the device, hold
    found, rows = Run.of(nodes[1], there[1].request, receipts[1]), receipts[1].rows
    cells = (Cell(LAYERS, rows - 1, rows), Cell(LAYERS + 1, rows - 1, rows))
    challenge = replace(synthetic.challenge_all(found), cells=cells)
    key = keygen(m, kernels_for("numpy"), seed=bytes(32))
    assert synthetic.audit(key, found, challenge).cells == 2
