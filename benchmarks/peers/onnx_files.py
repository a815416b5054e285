"""Registers networks that every system reads from the same ONNX file, with JSTprove beside EZKL and ours.

They are measured with `--add benchmarks.peers.onnx_files` only, as JSTprove needs Open MPI as well.
"""

from __future__ import annotations

from benchmarks.peers.cases import Case, System, register
from benchmarks.peers.networks import CONVOLUTIONAL

__all__: list[str] = []

register(
    "jstprove",
    System("benchmarks.peers.jstprove_case", {"python": "JSTprove", "onnx": "onnx"}),
    *(Case(name, ("ours", "ezkl", "jstprove"), "proof") for name in CONVOLUTIONAL),
)
