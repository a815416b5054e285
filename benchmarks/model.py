"""The demo model with everything that a benchmark runs on it."""

from __future__ import annotations

from pathlib import Path
from secrets import token_bytes

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

__all__ = ["Bench"]

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
        return Request(self.model.model_id, (("tokens", data),), token_bytes(32), Generation(count))

    def run(self, prompt: int, count: int) -> Session:
        """Run a request to its end."""
        session = self.engine.add(self.request(prompt, count))
        self.engine.run(session)
        return session
