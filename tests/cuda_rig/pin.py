"""Measures every kernel's resources and machine code; ``python -m cuda_rig.pin`` writes the pinned file."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from cuda_rig import nvrtc
from proofcompute.arithmetic.backends.cuda.cubins import files_for

__all__ = ["ARCHITECTURES", "PINNED", "files_for", "measure_instructions", "measure_use", "ptx_operations"]

ARCHITECTURES: Final = (75, 80, 90, 100, 120)
PINNED: Final = Path(__file__).with_name("pinned.json")

_OPERATION: Final = re.compile(r"^\s*(?:@!?%p\d+\s+)?([a-z][a-z0-9_]*(?:\.[a-z0-9_:]+)*)\s", re.MULTILINE)


def ptx_operations(file: str, architecture: int) -> Counter[str]:
    """Counts the PTX operations of each kind that touch floating point in a file."""
    operations = _OPERATION.findall(nvrtc.compiled(file, architecture).ptx)
    return Counter(operation for operation in operations if re.search(r"\.f(16|32|64)", operation))


def measure_use(architecture: int) -> dict[str, Any]:
    """Reads registers, shared memory, stack and spills of every kernel."""
    used: dict[str, Any] = {}
    for file in files_for(architecture):
        used |= {kernel: asdict(use) for kernel, use in nvrtc.compiled(file, architecture).used.items()}
    return dict(sorted(used.items()))


def measure_instructions(architecture: int) -> dict[str, dict[str, int]]:
    """Counts fused multiply-adds and tensor-core products in every kernel's machine code."""
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for file in files_for(architecture):
            for kernel, codes in nvrtc.disassembly(file, architecture, Path(scratch)).items():
                counts = Counter(code.split(".")[0] for code in codes)
                found[kernel] = {
                    name: n for name, n in sorted(counts.items()) if re.search("FMA|MMA", name) and n
                }
    return dict(sorted(found.items()))


def _write() -> None:
    lines = [f' "nvrtc": {json.dumps(nvrtc.version())}']
    for name, measure in (("use", measure_use), ("instructions", measure_instructions)):
        for architecture in ARCHITECTURES:
            kernels = measure(architecture).items()
            body = ",\n".join(f"  {json.dumps(kernel)}: {json.dumps(value)}" for kernel, value in kernels)
            lines.append(f' "{name}-{architecture}": {{\n{body}\n }}')
    PINNED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    _write()
