"""Runs an 8B shape from end to end: prefill, decoding of several requests, and committing."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.cost.shapes import MODELS
from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.models import SMALL, asked, made_model
from benchmarks.gpu.day.plan import Settings
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Engine
from proofcompute.prover.node import Node

__all__ = ["decoding"]

SHAPE = "Llama-3.1-8B"
WARM = 4
"""Steps of a run that are not timed: the prompt, the first run and the capture."""


def decoding(out: Findings, settings: Settings) -> None:
    """Time prefill, plain and committed, then decoding at several batch sizes."""
    k = settings.kernels()
    few = settings.few
    model = made_model(SMALL if few else MODELS[SHAPE], shared=not few)
    node = Node(model, NodeIdentity(bytes(32)), device=k)
    for weight in model.weights.values():
        if isinstance(weight, Matrix):
            k.weight(weight)
    out.say("weights are placed", shape=SHAPE)
    for suite in ("sha256", "blake3"):
        times: dict[str, list[float]] = {"plain": [], "committed": []}
        for turn in range(4):
            for kind, spent in times.items():
                engine = Engine(model, k)
                session = engine.add(asked(model, 8 if few else 512, 1, suite))
                begin = time.perf_counter()
                engine.run(session)
                if kind == "committed":
                    node.commit(session, keep=False)
                else:
                    k.look()
                if turn:  # the first one measures ways
                    spent.append(time.perf_counter() - begin)
        plain, committed = (sorted(spent)[len(spent) // 2] for spent in times.values())
        share = round(100 * (committed / plain - 1), 2)
        speed = round(512 / plain)
        out.say("prefill of 512", suite=suite, commit_percent=share, ms=_ms(plain), tokens_s=speed)
    for batch, tokens in ((1, 8), (2, 6)) if few else ((1, 128), (8, 24), (33, 12)):
        engine = Engine(model, k)
        sessions = [engine.add(asked(model, 4 if few else 64, tokens, ignore_end=True)) for _ in range(batch)]
        steps = []
        while any(s.running for s in sessions):
            begin = time.perf_counter()
            engine.step()
            steps.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        node.commit(sessions[0], keep=False)
        sealed = time.perf_counter() - begin
        middle = sorted(steps[WARM:])[len(steps[WARM:]) // 2]
        first: dict[str, Any] = {
            "plain_ms": _ms(steps[1]),
            "captured_ms": _ms(steps[2]),
            "receipt_ms": _ms(sealed),
        }
        out.say("decoding", batch=batch, ms=_ms(middle), tokens_s=round(batch / middle), **first)
    refused = [*k.refused, *k.routes.refused.values()]
    chosen = {str(shape): way for shape, way in k.routes.chosen.items()}
    out.say("ways of products", bad=bool(k.refused), chosen=chosen, refused=refused)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)
