"""Verifiable matrix workloads: Freivalds checks and Merkle commitments for untrusted GPUs."""

from __future__ import annotations

__version__ = "0.1.0"
