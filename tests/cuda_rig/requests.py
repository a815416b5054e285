"""Makes requests to a small model, and runs them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import synthetic
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Session
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node

__all__ = ["overflowing", "run", "several", "together"]


def together(node: Node, requests: Sequence[Request]) -> list[Session]:
    """Runs all requests at once, and returns the finished sessions. Raises the error of one that fails."""
    sessions = [node.engine.add(r) for r in requests]
    for session in sessions:
        node.engine.run(session)
    return sessions


def run(
    m: Model, requests: Sequence[Request], kernels: Kernels, chunk: int = 64
) -> tuple[list[Session], list[bytes]]:
    """Runs all requests at once, and returns the finished sessions and their receipts."""
    node = synthetic.node(m, kernels, chunk=chunk)
    sessions = together(node, requests)
    return sessions, [node.commit(s, keep=False).encode() for s in sessions]


def several(m: Model) -> list[Request]:
    """Returns greedy and sampled requests, with prompts and answers of different lengths."""
    return [
        synthetic.request(m, "Hello, world", max_tokens=9),
        synthetic.request(m, "abc", max_tokens=6, sampling=synthetic.SAMPLED, seed=bytes([5] * 32)),
        synthetic.request(m, "a longer prompt than both", max_tokens=4, sampling=synthetic.SAMPLED),
    ]


def overflowing(name: str) -> Model:
    """Returns a model in which an operation's result is infinite: a weight matrix has huge scales."""
    m = synthetic.model()
    w = m.matrix(name)
    return Model(m.card, {**m.weights, name: replace(w, scale=w.scale * np.float32(1e38))})
