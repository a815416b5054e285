"""Measures ours as obelyzk.rs publishes: the demo model, 1, 8 and 16 tokens, every cell checked."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.whole import whole
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.importers import import_checkpoint, packaged_smollm2
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

TOKENS, ROUNDS = (1, 8, 16), 5


def run(_case: str) -> list[dict[str, Any]]:
    """Measure a prompt of one token and as many generated tokens as the row says."""
    kernels = kernels_for("auto")
    subject = Subject(import_checkpoint(packaged_smollm2(), kernels, "w8a16"), kernels)
    rows = []
    for tokens in TOKENS:
        found = whole(subject, token_request(subject.model, 1, tokens), ROUNDS)
        rows.append({**found, "tokens": tokens, "token_seconds": found["prove_seconds"] / tokens})
    return rows
