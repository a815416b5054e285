"""The packaged chat model, compiled once for all tests, and one long run of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import compile_decoder
from proofcompute.importers.gguf import open_gguf
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.prover.node import Answer, Node
from proofcompute.quality import text
from proofcompute.tokens import Tokenizer
from proofcompute.verifier import Key, keygen

NODE = NodeIdentity(bytes(32))


@cache
def checkpoint(path: Path) -> Checkpoint:
    return open_gguf(path)


@cache
def model(path: Path, precision: str = "w8a16") -> Model:
    return compile_decoder(checkpoint(path), kernels_for("auto"), precision)


@cache
def key(path: Path) -> Key:
    return keygen(model(path), kernels_for("auto"))


def english(path: Path, count: int) -> list[int]:
    return Tokenizer(checkpoint(path).vocabulary).encode(text(), special=False)[:count]


def request(m: Model, tokens: list[int], count: int) -> Request:
    data = np.array(tokens, "<i4").tobytes()
    return Request(m.model_id, (("tokens", data),), bytes([1] * 32), Generation(count))


@cache
def long_run(path: Path, prompt: int = 480, count: int = 32) -> tuple[Node, Answer]:
    """A prompt of real English and a short answer, so that cells at row 500 exist."""
    m = model(path)
    node = Node(m, NODE, device=kernels_for("auto"))
    return node, node.answer(request(m, english(path, prompt), count))
