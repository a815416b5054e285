"""Measures ours at the size of DeepProve's Dense 4M: dense layers, 4 million weights, one sample."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.networks import Network
from benchmarks.peers.ours_case import measure

NETWORK = Network((4, 1_000, 1_000, 1_000, 1_000, 1_000, 3))
"""4 inputs, layers of one width and 3 outputs, as the authors' generator makes them."""
SETUPS, ROUNDS = 3, 25


def run(_case: str) -> list[dict[str, Any]]:
    """Set up, prove and verify; every cell is checked."""
    return [measure(NETWORK, SETUPS, ROUNDS)]
