"""Lists the backend's launches for a model of any size: prefill, one decoding step, the commitment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.cost.device import CountingDevice, Launched, Mark
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.engine import Engine
from proofcompute.importers.compiling import PRECISIONS, decoder_program
from proofcompute.models.card import ModelCard, Weight
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.trace import Trace
from proofcompute.testing.models import Shape

__all__ = ["Commitment", "answered", "commitment", "decode_step", "placed_model", "prefill"]

DIGEST = bytes(32)


@dataclass(frozen=True)
class Commitment:
    """Hashing launches of one request."""

    beside: list[list[Launched]]
    """Launches after each step that hashes, queued on the second stream beside the next tokens."""
    after: list[Launched]
    """Launches that are queued when the answer is complete: the rest of the leaves, and the trees."""


def placed_model(shape: Shape, kernels: CudaKernels, precision: str) -> Model:
    """Return a model of this shape whose weights are memory of a device, with undefined contents."""
    program = decoder_program(shape.arch, PRECISIONS[precision])
    weights: dict[str, Weight] = {}
    for spec in program.weights:
        if spec.kind == "constant":
            weights[spec.name] = kernels.zeros(spec.shape, np.float32)
        else:
            q = kernels.zeros((spec.limbs, spec.rows, spec.width), np.int8)
            weights[spec.name] = Matrix(q, kernels.zeros((spec.rows,), np.float32), None)
    card = ModelCard(program, b"", "", (DIGEST,) * len(program.weights))
    return Model(card, weights)


def _start(
    shape: Shape, precision: str, prompt: int, count: int, suite: str = "sha256"
) -> tuple[CountingDevice, Engine]:
    device = CountingDevice()
    kernels = CudaKernels(device)
    engine = Engine(placed_model(shape, kernels, precision), kernels)
    tokens = np.zeros(prompt, "<i4").tobytes()
    inputs = (("tokens", tokens),)
    engine.add(Request(engine.model.model_id, inputs, DIGEST, Generation(count), suite=suite))
    device.launches.clear()
    device.timeline.clear()
    return device, engine


def prefill(shape: Shape, precision: str, prompt: int) -> list[list[Launched]]:
    """Return the launches of each chunk of a prompt, without the hashing beside it."""
    device, engine = _start(shape, precision, prompt, 1)
    chunks = []
    for _ in range(0, prompt, engine.chunk):
        device.launches.clear()
        engine.step()
        chunks.append([launched for launched in device.launches if launched.stream == 0])
    return chunks


def answered(shape: Shape, precision: str, suite: str, prompt: int) -> list[Launched | Mark]:
    """Return everything that is queued for a prompt and one token, including the trees over its rows."""
    device, engine = _start(shape, precision, prompt, 1, suite)
    for _ in range(0, prompt, engine.chunk):
        engine.step()
    return device.timeline


def decode_step(shape: Shape, precision: str, context: int) -> list[Launched]:
    """Return the launches of a repeated decoding step near row ``context``."""
    device, engine = _start(shape, precision, context - 3, 8)
    for _ in range(0, context - 3, engine.chunk):
        engine.step()
    for _ in range(3):  # the first runs, the second is captured, the third repeats it
        device.launches.clear()
        engine.step()
    return [launched for launched in device.launches if launched.stream == 0]


def commitment(shape: Shape, precision: str, suite: str, finished: Sequence[int]) -> Commitment:
    """Return the hashing of a request; ``finished`` is the number of finished rows after each step."""
    device = CountingDevice()
    kernels = CudaKernels(device)
    trace = Trace(decoder_program(shape.arch, PRECISIONS[precision]), finished[-1], kernels)
    device.launches.clear()
    beside = []
    for rows in finished:
        trace.hash_ahead(suite, rows, kernels)
        if device.launches:
            beside.append(list(device.launches))
            device.launches.clear()
    trace.seals(suite, finished[-1], kernels)
    return Commitment(beside, list(device.launches))
