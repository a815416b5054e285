"""Makes models with generated weights, and compares their receipts on the device and on the CPU."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np

import proofcompute as pc
from benchmarks.cost.shapes import MODELS
from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.encoding import files
from proofcompute.importers.compiling import PRECISIONS, decoder_program
from proofcompute.testing.models import Shape

__all__ = ["SMALL", "asked", "made_model", "prepare", "receipts"]

SMALL = replace(
    MODELS["SmolLM2-135M"],
    layers=1,
    width=96,
    heads=3,
    kv_heads=1,
    head_dim=32,
    ffn_width=128,
    vocabulary=512,
)
"""A small shape that shows that everything works."""
_BLOCK = 1 << 25
"""Words of 8 bytes that all matrices of a model share, if they do: 256 MiB."""


def made_model(shape: Shape, precision: str = "w8a16", *, shared: bool = False) -> pc.Model:
    """Return a model of a shape; its weights, words of PCG64 as bytes, are the same on every machine."""
    program, bits = decoder_program(shape.arch, PRECISIONS[precision]), np.random.PCG64(7)
    block = np.maximum(bits.random_raw(_BLOCK).view(np.int8), -127) if shared else None
    weights: dict[str, Any] = {}
    for spec in program.weights:
        if spec.kind == "constant":
            weights[spec.name] = np.ones(spec.shape, np.float32)
            continue
        size = spec.limbs * spec.rows * spec.width
        if block is None:
            q = np.maximum(bits.random_raw(-(-size // 8)).view(np.int8)[:size], -127)
        else:
            q = block[:size] if size <= block.size else np.resize(block, size)
        scale = np.full(spec.rows, np.float32(0.0118 / spec.width**0.5), np.float32)
        weights[spec.name] = Matrix(q.reshape(spec.limbs, spec.rows, spec.width), scale, None)
    roots = (bytes(32),) * len(program.weights)  # hashing them takes longer than anything here
    return pc.Model(pc.ModelCard(program, b"", "", roots), weights)


def asked(model: pc.Model, prompt: int, count: int, suite: str = "sha256", **generation: Any) -> pc.Request:
    """Return a request with fixed tokens."""
    ids = np.arange(prompt, dtype=np.int64) * 7919 % 500
    inputs = (("tokens", ids.astype("<i4").tobytes()),)
    return pc.Request(model.model_id, inputs, bytes(32), pc.Generation(count, **generation), suite=suite)


def _requests(model: pc.Model, *, few: bool) -> dict[str, pc.Request]:
    sampled = pc.Sampling(0.75, 40, 0.875, 1.25)
    a, b, c = (12, 4, 4) if few else (300, 100, 40)
    return {
        f"sha256 {a}+{b}": asked(model, a, b),
        f"blake3 {c}+{c}, sampled": asked(model, c, c, "blake3", sampling=sampled),
    }


def _models(settings: Settings) -> dict[str, tuple[pc.Model, dict[str, pc.Request]]]:
    few = settings.few or settings.device == "emulated"
    model = made_model(SMALL if few else MODELS["SmolLM2-135M"])
    found = {"made": (model, _requests(model, few=few))}
    if not few and (real := _real()) is not None:
        found["real"] = real
    return found


def _real() -> tuple[pc.Model, dict[str, pc.Request]] | None:
    """Return the packaged chat model, if it is installed."""
    from model.real import english, model, request

    try:
        path = pc.packaged_smollm2()
    except pc.InputError:
        return None
    found = model(path)
    return found, {"300+100": request(found, english(path, 300), 100)}


def _answered(model: pc.Model, request: pc.Request, kernels: Any) -> tuple[str, float]:
    start = time.perf_counter()
    receipt = pc.Node(model, pc.NodeIdentity(bytes(32)), device=kernels).answer(request).receipt
    return hashlib.sha256(receipt).hexdigest(), time.perf_counter() - start


def _expected(settings: Settings, models: Any) -> dict[str, str]:
    """Return digests of the CPU's receipts by model id and request, which are computed once."""
    path = settings.expected
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    cpu = pc.kernels_for("numpy" if settings.few or settings.device == "emulated" else "cpu")
    for model, requests in models.values():
        for request in requests.values():
            name = f"{model.model_id.hex()}/{request.digest.hex()}"
            if name not in found:
                found[name] = _answered(model, request, cpu)[0]
    files.write_atomic(path, json.dumps(found, indent=1).encode() + b"\n")
    return found


def receipts(out: Findings, settings: Settings) -> None:
    """Compare receipts of the demo's shape, and of the demo model if it is installed, with the CPU's."""
    models, k = _models(settings), settings.kernels()
    if "real" not in models and not settings.few and settings.device == "cuda":
        out.say("the packaged chat model is not here: only weights made on the spot")
    expected = _expected(settings, models)
    for name, (model, requests) in models.items():
        for label, request in requests.items():
            digest, seconds = _answered(model, request, k)
            wanted = expected[f"{model.model_id.hex()}/{request.digest.hex()}"]
            out.say(f"{name}: {label}", bad=digest != wanted, wall=round(seconds, 2))
    if k.refused:
        out.say("steps were not captured", bad=True, refused=k.refused[:3])


def prepare(settings: Settings) -> int:
    """Compute the receipts to compare with, without a device."""
    settings.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(_expected(settings, _models(settings)))} receipts in {settings.expected}")
    return 0
