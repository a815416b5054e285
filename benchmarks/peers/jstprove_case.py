"""Measures JSTprove: zero-knowledge proofs of an ONNX file by sumcheck (package JSTprove, command ``jst``).

Its programs are linked to Open MPI (``libmpi.so.40``), which a distribution or the package openmpi brings.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.networks import CONVOLUTIONAL, convolutional_onnx, far_from_floats

ROUNDS = 3


def run(name: str) -> list[dict[str, Any]]:
    """Compile, prove and verify a network with JSTprove's default settings."""
    import onnx

    network = CONVOLUTIONAL[name]
    file = convolutional_onnx(network)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        onnx.save(file, at / "network.onnx")
        (at / "input.json").write_text(json.dumps({"input": network.samples().reshape(-1).tolist()}))
        given = ["-c", "circuit.txt", "-i", "input.json", "-o", "output.json", "-w", "witness.bin"]
        proof = ["-w", "witness.bin", "-p", "proof.bin"]
        given_sizes = [found.stat().st_size for found in at.iterdir()]
        setup = _command(at, "compile", "-m", "network.onnx", "-c", "circuit.txt")
        circuit = sum(found.stat().st_size for found in at.iterdir()) - sum(given_sizes)
        proving = [
            _command(at, "witness", *given) + _command(at, "prove", "-c", "circuit.txt", *proof)
            for _ in range(ROUNDS)
        ]
        verifying = [_command(at, "verify", *given, "-p", "proof.bin") for _ in range(ROUNDS)]
        outputs = np.array(json.loads((at / "output.json").read_text())["rescaled_output"], np.float32)
        return [
            {
                "system": "jstprove",
                "setup_seconds": setup,
                "common_setup_seconds": 0.0,
                "prove_seconds": median(proving),
                "verify_seconds": median(verifying),
                "rounds": {"prove": proving, "verify": verifying},
                "proof_bytes": (at / "proof.bin").stat().st_size,
                "prover_key_bytes": circuit,
                "children_peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
                "note": "default settings; each step is a command, whose start counts; "
                f"outputs {far_from_floats(file, network.samples(), outputs):.2g} from float32",
            }
        ]


def _command(at: Path, *words: str) -> float:
    """Run a step, and return the seconds that it took. Raises RuntimeError if it fails."""
    start = time.perf_counter()
    done = subprocess.run(["jst", "--no-banner", *words], cwd=at, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"jst {words[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return time.perf_counter() - start
