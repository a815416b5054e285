"""Measures ours at the shape of nanoGPT that EZKL and Jolt Atlas prove: 4 layers, width 64, 65 tokens.

A decoder of the Llama kind has three matrices in its feed-forward layer where GPT has two of 256 columns: 171
columns make as many weights.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.whole import whole
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.testing.models import Shape, random_decoder
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

SHAPE = Shape(layers=4, width=64, heads=4, kv_heads=4, ffn_width=171, vocabulary=65)
TOKENS, ROUNDS = 64, 25


def run(_case: str) -> list[dict[str, Any]]:
    """Measure a request of 64 prompt tokens and one generated token."""
    kernels = kernels_for("auto")
    subject = Subject(random_decoder(SHAPE, "w8a16", kernels), kernels)
    return [whole(subject, token_request(subject.model, TOKENS, 1), ROUNDS)]
