"""Provides the demo model with everything that a benchmark runs on it."""

from __future__ import annotations

from secrets import token_bytes

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.importers.compiling import compile_decoder
from proofcompute.importers.gguf import open_gguf
from proofcompute.importers.located import packaged_smollm2
from proofcompute.protocol.messages import Generation, Request
from proofcompute.prover.node import Node
from proofcompute.quality import text
from proofcompute.tokens import Tokenizer

__all__ = ["Bench"]


class Bench:
    """The demo model with everything that a benchmark runs on it."""

    def __init__(self, device: str, precision: str = "w8a16") -> None:
        checkpoint = open_gguf(packaged_smollm2())
        kernels = kernels_for(device)
        model = compile_decoder(checkpoint, kernels, precision)
        self.node = Node(model, NodeIdentity(bytes(32)), device=kernels)
        self.tokens = Tokenizer(checkpoint.vocabulary).encode(text(), special=False)
        self.run(8, 4)  # compile every kernel

    def request(self, prompt: int, count: int) -> Request:
        """Return a request for ``count`` tokens after the first ``prompt`` tokens of the English text."""
        data = np.array(self.tokens[:prompt], "<i4").tobytes()
        return Request(self.node.card.model_id, (("tokens", data),), token_bytes(32), Generation(count))

    def run(self, prompt: int, count: int) -> Session:
        """Run a request to its end."""
        return self.node.run(self.request(prompt, count))
