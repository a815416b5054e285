"""Checks that the device computes what the definition does, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np

import synthetic
from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from cuda_rig.requests import run
from gpu.workload import cases_of, differences
from gpu.workload import receipts as made
from kernel_cases import METHODS
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.sampling import Sampling

__all__ = ["batches", "kernels", "large", "receipts"]

SHOWN = 8


def kernels(out: Findings, settings: Settings) -> None:
    """Run all cases of the kernels' tests, and products in each of their ways."""
    k = settings.kernels()
    most = 2 if settings.few else 25 if settings.device == "emulated" else None

    def compared(name: str, of: Any, method: str) -> None:
        cases = cases_of(method, most)
        wrong = differences(of, cases)
        out.say(name, bad=bool(wrong), cases=len(cases), wrong=wrong[:SHOWN])

    for method in METHODS:
        compared(method, k, method)
    compared("linear by the library", settings.kernels(products="library"), "linear")
    k.device.capability = 75  # what chooses the way; the machine code is the device's own
    compared("linear without tensor cores", k, "linear")


def receipts(out: Findings, settings: Settings) -> None:
    """Compare receipts of a small model, greedy and sampled."""
    count = 6 if settings.few else 24
    for i, (found, expected) in enumerate(made(settings.kernels(), count)):
        out.say(f"receipt {i}", bad=found != expected, bytes=len(found))


def batches(out: Findings, settings: Settings) -> None:
    """Run many requests at once, whose steps are captured with products in either way."""
    model = synthetic.model()
    request = synthetic.request(model, "ab", max_tokens=4)
    alone = synthetic.prove(model, request).data
    ways = ("library",) if settings.few else ("kernel", "library", "measure")
    for products in ways:
        for count in (33,) if settings.device == "emulated" else (2, 32, 33, 36):
            k = settings.kernels(products=products)
            _, found = run(model, [request] * count, k)
            bad = set(found) != {alone} or bool(k.refused)
            chosen = sorted(set(k.routes.chosen.values()))
            refused = [*k.refused, *k.routes.refused.values()][:3]
            out.say(f"{count} requests, {products}", bad=bad, chosen=chosen, refused=refused)


def large(out: Findings, settings: Settings) -> None:
    """Compare some channels and rows at the shapes of an 8B model, which no small case reaches."""
    rng, defined = np.random.default_rng(1), NumpyKernels()
    ways = {way: settings.kernels(products=way) for way in ("kernel", "library")}
    few = settings.few
    shapes = ((6144, 4096), (28672, 4096), (4096, 14336), (128256, 4096))
    for m, d in ((40, 64),) if few else shapes:
        q = np.maximum(np.frombuffer(rng.bytes(m * d), np.int8), -127).reshape(1, m, d)
        scale = rng.random(m, np.float32)
        some = np.sort(rng.choice(m, 24, replace=False))
        part = Matrix(np.ascontiguousarray(q[:, some]), scale[some])
        placed = {way: Matrix(k.array(q), k.array(scale)) for way, k in ways.items()}
        for n in (1, 33) if few else (1, 4, 5, 32, 33, 256):
            x = rng.standard_normal((n, d)).astype(np.float32)
            for limbs in (1, 2):
                wanted = np.ascontiguousarray(defined.linear(x, part, limbs)).tobytes()
                for way, k in ways.items():
                    y = np.asarray(k.host(k.linear(k.array(x), placed[way], limbs)))
                    out.say(f"linear, {way}", bad=y[:, some].tobytes() != wanted, n=n, m=m, d=d, limbs=limbs)
    _large_attention(out, settings, rng)


def _large_attention(out: Findings, settings: Settings, rng: np.random.Generator) -> None:
    k, defined = settings.kernels(), NumpyKernels()
    contexts = ((1, 4095, 32, 8, 128), (8, 4088, 32, 8, 128), (256, 256, 8, 2, 128))
    for n, first, h, hk, dh in ((2, 7, 4, 2, 8),) if settings.few else contexts:
        t = first + n
        queries = rng.standard_normal((n, h * dh)).astype(np.float32)
        kq, vq = (np.frombuffer(rng.bytes(t * hk * dh), np.int8).reshape(t, hk, dh) for _ in "kv")
        ks, vs = (rng.random((t, hk), np.float32) for _ in "kv")
        given = (queries, kq, ks, vq, vs, first, np.float32(dh**-0.5), 0)
        bad = k.attention(*given).tobytes() != defined.attention(*given).tobytes()
        out.say("attention", bad=bad, n=n, first=first)
    logits = rng.standard_normal((2, 300 if settings.few else 128256)).astype(np.float32) * np.float32(4)
    history, draws = np.zeros(3, np.int32), rng.integers(0, 1 << 63, (2, 2), np.uint64)
    for how in (Sampling(), Sampling(1.0), synthetic.SAMPLED):
        given_ = (logits, history, 0, how, draws)
        bad = k.sample(*given_).tobytes() != defined.sample(*given_).tobytes()
        out.say("sampling", bad=bad, temperature=how.temperature)
