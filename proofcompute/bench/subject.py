"""Prepares what is measured: a model with its key, a request, and the steps of the protocol on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from secrets import token_bytes

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import I32
from proofcompute.bench.settings import Shape
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.errors import Cell
from proofcompute.importers.checkpoint import Decoder, Rope
from proofcompute.importers.decoder import PRECISIONS, decoder_program
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.card import Weight
from proofcompute.models.model import Model
from proofcompute.program.types import WeightSpec
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Generation, Receipt, Request
from proofcompute.prover import StoredTrace
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, Verified, keygen
from proofcompute.verifier.auditor import Auditor

__all__ = ["Audit", "Finished", "Subject", "network", "random_weight", "synthetic", "token_request"]

_SPREAD = np.sqrt((256**2 - 1) / 12)
"""Standard deviation of uniform int8 weights."""


def synthetic(shape: Shape, precision: str, kernels: Kernels, context: int = 8_192) -> Model:
    """Return a decoder of uniform int8 weights, scaled to give activations of order one."""
    decoder = Decoder(
        layers=shape.layers,
        width=shape.width,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.width // shape.heads,
        ffn_width=shape.ffn_width,
        context=context,
        vocabulary=shape.vocabulary,
        eps=float(np.float32(1e-5)),
        rope=Rope(10_000.0, shape.width // shape.heads, interleaved=False),
        tied=True,
    )
    program = decoder_program(decoder, PRECISIONS[precision])
    rng = np.random.default_rng(0)
    weights = {spec.name: random_weight(spec, rng) for spec in program.weights}
    return Model.build(program, weights, kernels.hash_rows, manifest={"origin": "random weights"})


def random_weight(spec: WeightSpec, rng: np.random.Generator) -> Weight:
    """Return a random weight: a matrix uniform over all 256 int8 values, scaled; or a vector of ones."""
    if spec.kind == "vector":
        return np.ones(spec.width, np.float32)
    size = spec.limbs * spec.rows * spec.width
    words = rng.integers(0, 1 << 64, -(-size // 8), np.uint64)  # several times faster than drawing bytes
    q = words.view(np.int8)[:size].reshape(spec.limbs, spec.rows, spec.width)
    scale = 1 / (_SPREAD * np.sqrt(spec.width) * 256 ** (spec.limbs - 1))
    return Matrix(q, np.full(spec.rows, scale, np.float32))


def network(widths: Sequence[int], *, limbs: int = 2, relu: bool = True) -> Model:
    """Return a multi-layer perceptron with random weights, built by hand, with one segment per layer."""
    rng = np.random.default_rng(0)
    b = ProgramBuilder()
    x = b.input("x", widths[0])
    for i, (d, m) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        w = (rng.standard_normal((m, d), np.float32) / np.float32(d**0.5)).astype(np.float32)
        x = b.linear(x, w, limbs=limbs, name="y" if last else None)
        if not last:
            x = b.relu(x) if relu else x
            b.cut(x)
    b.output(x)
    return b.model()


def token_request(
    model: Model, prompt: int, tokens: int, suite: str = "sha256", given: I32 | None = None
) -> Request:
    """Return a greedy request of ``given`` tokens, or ``prompt`` random ones, for ``tokens`` tokens."""
    if given is None:
        vocabulary = model.program.weight["embedding"].rows
        given = np.random.default_rng(1).integers(0, vocabulary, prompt).astype(np.int32)
    ids = np.ascontiguousarray(given, "<i4")
    generation = Generation(tokens, ignore_end=True)  # the answer has the asked length in any case
    return Request(
        model.model_id, (("tokens", ids.tobytes()),), token_bytes(32), generation=generation, suite=suite
    )


def sample_request(model: Model, rows: int) -> Request:
    """Return a request of ``rows`` random samples for a network built by hand."""
    name, spec = model.program.inputs[0]
    x = np.random.default_rng(1).standard_normal((rows, spec.size)).astype("<f4")
    return Request(model.model_id, ((name, x.tobytes()),), token_bytes(32))


@dataclass(eq=False)
class Audit:
    """A challenge and the opening that answers it."""

    challenge: Challenge
    opening: bytes


@dataclass(eq=False)
class Finished:
    """A run that has been committed to."""

    request: Request
    receipt: Receipt
    stored: StoredTrace
    data: bytes
    """The receipt, encoded."""

    @property
    def claim(self) -> Claim:
        """The claim of the receipt, which needs no check because this process made it."""
        return Claim(self.receipt, self.stored.statement)


@dataclass(eq=False)
class Subject:
    """A model under measurement."""

    model: Model
    kernels: Kernels
    node: Node = field(init=False)
    keys: dict[int, Key] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # each run keeps its own trace, so the node needs only the trace that it opens
        self.node = Node(self.model, NodeIdentity(bytes(32)), device=self.kernels, trace_bytes=1)

    def key(self, columns: int = 2) -> Key:
        """Return the verifier's key with ``columns`` columns, which is made once."""
        if columns not in self.keys:
            self.keys[columns] = keygen(self.model, self.kernels, columns=columns)
        return self.keys[columns]

    def execute(self, request: Request) -> Session:
        """Run a request without committing."""
        return self.node.run(request)

    def commit(self, session: Session) -> Receipt:
        """Hash the trace of a finished run and sign."""
        return self.node.commit(session, keep=False)

    def finish(self, request: Request) -> Finished:
        """Run a request and commit to it, so that it can be opened."""
        return self.keep(self.execute(request))

    def keep(self, session: Session) -> Finished:
        """Commit to a run, and keep the data for opening it."""
        receipt = self.node.commit(session)
        stored = self.node.trace(session.request, receipt)
        return Finished(session.request, receipt, stored, receipt.encode())

    def open(self, run: Finished, cells: tuple[Cell, ...] | None = None) -> Audit:
        """Open some cells, by default all of them."""
        challenge = Challenge(run.receipt.digest, all_cells(run.claim) if cells is None else cells)
        self.node.remember(run.receipt, run.stored)
        return Audit(challenge, self.node.open(run.request, run.receipt, challenge))

    def verifier(self, run: Finished, audit: Audit, columns: int = 2) -> Callable[[], Verified]:
        """Return a function that verifies an audit from its bytes; one call has compiled everything."""
        auditor = Auditor(self.key(columns), device=self.kernels)
        check = partial(auditor.check, run.request, run.data, audit.challenge, audit.opening)
        check()
        return check
