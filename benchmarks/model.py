"""The demo model with everything that a benchmark runs on it, and runs timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from proofcompute.devices import kernels_for
from proofcompute.generation import Engine, Session
from proofcompute.importers.decoder import compile_decoder
from proofcompute.importers.gguf import open_gguf
from proofcompute.importers.located import packaged_smollm2
from proofcompute.kernels import Kernels
from proofcompute.messages import Generation, Request
from proofcompute.model import Model
from proofcompute.tokens import Tokenizer

__all__ = ["Bench", "alternating"]

ENGLISH = Path(__file__).parents[1] / "tests" / "data" / "english.txt"


class Bench:
    """The demo model with everything that a benchmark runs on it."""

    def __init__(self, device: str, precision: str = "w8a16") -> None:
        self.kernels: Kernels = kernels_for(device)
        checkpoint = open_gguf(packaged_smollm2())
        self.model: Model = compile_decoder(checkpoint, self.kernels, precision)
        self.tokens = Tokenizer(checkpoint.vocabulary).encode(ENGLISH.read_text(), special=False)
        self.engine = Engine(self.model, self.kernels)
        self.run(8, 4)  # compile every kernel

    def request(self, prompt: int, count: int) -> Request:
        """The first ``prompt`` tokens of the English text, ``count`` tokens to generate."""
        data = np.array(self.tokens[:prompt], "<i4").tobytes()
        return Request(self.model.model_id, (("tokens", data),), bytes(32), Generation(count))

    def run(self, prompt: int, count: int) -> Session:
        """Run a request to its end."""
        session = self.engine.add(self.request(prompt, count))
        self.engine.run(session)
        return session


def alternating(a: Callable[[], object], b: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of ``a`` and of ``b``, run in turn, and the median of the ratios b / a of each round."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        start = time.perf_counter()
        a()
        middle = time.perf_counter()
        b()
        times.append((middle - start, time.perf_counter() - middle))
    return median(t for t, _ in times), median(t for _, t in times), median(y / x for x, y in times)
