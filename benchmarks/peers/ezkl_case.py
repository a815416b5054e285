"""Measures EZKL: zero-knowledge proofs of one network's inference (package ezkl; networks as ONNX files)."""

from __future__ import annotations

import inspect
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.networks import CONVOLUTIONAL, NETWORKS, convolutional_onnx, far_from_floats, onnx_model

LONG = 15.0
"""Seconds after which a step is not repeated."""


def run(name: str) -> list[dict[str, Any]]:
    """Set up, prove and verify a network with EZKL's default settings."""
    import ezkl
    import onnx

    file = convolutional_onnx(CONVOLUTIONAL[name]) if name in CONVOLUTIONAL else onnx_model(NETWORKS[name])
    samples = (CONVOLUTIONAL.get(name) or NETWORKS[name]).samples()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)

        def path(file: str) -> str:
            return str(at / file)

        onnx.save(file, path("network.onnx"))
        data = {"input_data": [samples.reshape(-1).tolist()]}
        (at / "input.json").write_text(json.dumps(data))
        start = time.perf_counter()
        _call(ezkl.gen_settings, path("network.onnx"), path("settings.json"))
        _call(
            ezkl.calibrate_settings,
            path("input.json"),
            path("network.onnx"),
            path("settings.json"),
            "resources",
        )
        _call(ezkl.compile_circuit, path("network.onnx"), path("circuit"), path("settings.json"))
        calibrated = time.perf_counter()
        logrows = json.loads((at / "settings.json").read_text())["run_args"]["logrows"]
        _call(ezkl.gen_srs, path("srs"), logrows)
        universal = time.perf_counter()
        _call(ezkl.setup, path("circuit"), path("vk"), path("pk"), path("srs"))
        keyed = time.perf_counter()

        def prove() -> None:
            _call(ezkl.gen_witness, path("input.json"), path("circuit"), path("witness.json"))
            _call(ezkl.prove, path("witness.json"), path("circuit"), path("pk"), path("proof"), path("srs"))

        proving = _timed(prove)

        def verify() -> None:
            if not _call(ezkl.verify, path("proof"), path("settings.json"), path("vk"), path("srs")):
                raise RuntimeError("EZKL rejects its own proof")

        verifying = _timed(verify)
        proof = json.loads((at / "proof").read_text())
        shown = proof["pretty_public_inputs"]["rescaled_outputs"]
        outputs = np.array([float(x) for part in shown for x in part], np.float32)
        return [
            {
                "system": "ezkl",
                "setup_seconds": calibrated - start + keyed - universal,
                "common_setup_seconds": universal - calibrated,
                "prove_seconds": median(proving),
                "verify_seconds": median(verifying),
                "rounds": {"prove": proving, "verify": verifying},
                "proof_bytes": len(bytes.fromhex(str(proof["hex_proof"]).removeprefix("0x"))),
                "prover_key_bytes": (at / "pk").stat().st_size,
                "verifier_key_bytes": (at / "vk").stat().st_size,
                "note": f"2^{logrows} rows; default settings, calibrated for resources; "
                f"outputs {far_from_floats(file, samples, outputs):.2g} from float32",
            }
        ]


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Wait for a result: some releases return an awaitable where others block."""
    out = function(*arguments)
    if inspect.isawaitable(out):
        import asyncio

        async def wait() -> Any:
            return await out

        return asyncio.run(wait())
    return out


def _timed(action: Callable[[], object]) -> list[float]:
    """Return the seconds of three rounds, or of the first alone if it was long."""
    times: list[float] = []
    while len(times) < 3 and sum(times) < LONG:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return times
