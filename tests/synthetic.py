"""A small random chat model, made in memory, and the whole protocol around it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import BinaryIO

import numpy as np

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.engine import Session
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.importers.checkpoint import Checkpoint, Decoder, Rope, tensor_shapes
from proofcompute.importers.decoder import compile_decoder
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import CONTROL, NORMAL, Vocabulary
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import (
    Challenge,
    Generation,
    OpeningEnd,
    Receipt,
    Request,
    frame_digest,
    frames_digest,
)
from proofcompute.prover import StoredTrace
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, Verified, keygen
from proofcompute.verifier.auditor import Auditor

KERNELS: Kernels = NumpyKernels()
NODE = NodeIdentity(bytes(range(32)))

DECODER = Decoder(
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_dim=8,
    ffn_width=48,
    context=96,
    vocabulary=260,
    eps=float(np.float32(1e-5)),
    rope=Rope(10000.0, 8, interleaved=True),
    tied=True,
)


def vocabulary() -> Vocabulary:
    """All single bytes and four control tokens, of which 257 ends a text."""
    names = [bytes([b]) for b in range(256)] + [b"<begin>", b"<end>", b"<a>", b"<b>"]
    return Vocabulary(
        "bpe", "gpt-2", tuple(names), bytes([NORMAL] * 256 + [CONTROL] * 4), bos=256, eos=257, end_ids=(257,)
    )


def checkpoint(seed: int = 0, decoder: Decoder = DECODER) -> Checkpoint:
    """Random weights, scaled so that activations stay of order one."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, F32] = {}
    for name, shape in tensor_shapes(decoder).items():
        scale = 1.0 if len(shape) == 1 else 1.5 / np.sqrt(shape[1])
        noise = rng.standard_normal(shape)
        tensors[name] = (1 + 0.1 * noise if len(shape) == 1 else scale * noise).astype(np.float32)
    return Checkpoint(
        decoder, vocabulary(), None, "synthetic", "Apache-2.0", bytes(32), lambda n, a, b: tensors[n][a:b]
    )


@cache
def model(seed: int = 0, precision: str = "w8a16") -> Model:
    return compile_decoder(checkpoint(seed), KERNELS, precision)


@cache
def _key(seed: int, precision: str, columns: int) -> Key:
    return keygen(model(seed, precision), KERNELS, columns=columns, seed=bytes([7] * 32))


def key(seed: int = 0, precision: str = "w8a16", columns: int = 2) -> Key:
    """Made once, with a new log each time: the requests of tests have one nonce."""
    return replace(_key(seed, precision, columns), log=MemoryLog())


def request(m: Model, prompt: str = "Hello, world", *, max_tokens: int = 8, **changes: object) -> Request:
    """A request for ``m``; generation settings and request fields by keyword."""
    generation = {k: changes.pop(k) for k in ("sampling", "seed", "stops", "ignore_end") if k in changes}
    tokens = np.frombuffer(prompt.encode(), np.uint8).astype("<i4")
    fields: dict[str, object] = {
        "model_id": m.model_id,
        "inputs": (("tokens", tokens.tobytes()),),
        "nonce": bytes([9] * 32),
        "generation": Generation(max_tokens, **generation),  # type: ignore[arg-type]
        "text": prompt,
        **changes,
    }
    return Request(**fields)  # type: ignore[arg-type]


SAMPLED = Sampling(temperature=0.75, top_k=40, top_p=float(np.float32(0.9)), repetition_penalty=1.25)


@dataclass
class Run:
    """An honest answer, and the node that gave it."""

    node: Node
    session: Session
    receipt: Receipt

    @property
    def model(self) -> Model:
        return self.node.model

    @property
    def request(self) -> Request:
        return self.session.request

    @property
    def data(self) -> bytes:
        """The receipt, encoded."""
        return self.receipt.encode()

    @property
    def stored(self) -> StoredTrace:
        return self.node.trace(self.request, self.receipt)

    @property
    def claim(self) -> Claim:
        return Claim(self.receipt, self.stored.statement)


def node(m: Model, kernels: Kernels = KERNELS, *, chunk: int = 64) -> Node:
    """A node that computes at most ``chunk`` rows of a prompt in a step."""
    made = Node(m, NODE, device=kernels)
    made.engine.chunk = chunk
    return made


def prove(m: Model, r: Request, kernels: Kernels = KERNELS) -> Run:
    proving = node(m, kernels)
    session = proving.run(r)
    return Run(proving, session, proving.commit(session))


def open_all(run: Run, challenge: Challenge) -> bytes:
    return run.node.open(run.request, run.receipt, challenge)


def frames(opening: bytes) -> list[bytes]:
    """The frames of an honest opening."""
    stream, found = io.BytesIO(opening), list[bytes]()
    while (frame := read_frame(stream, limit=1 << 24, what="honest opening")) is not None:
        found.append(frame)
    return found


def closed(
    sent: Sequence[bytes],
    receipt: Receipt,
    challenge: Challenge,
    identity: NodeIdentity = NODE,
    signed: Sequence[bytes] | None = None,
) -> bytes:
    """An opening of any frames, with a proper closing frame, or one that signs others."""
    end = OpeningEnd(frames_digest([frame_digest(f) for f in (sent if signed is None else signed)]))
    signature = identity.sign(end.signed_digest(receipt.digest, challenge.digest))
    out = io.BytesIO()
    for frame in (*sent, end.signed(signature).encode()):
        write_frame(out, frame)
    return out.getvalue()


def challenge_all(run: Run, *, hints: bool = True) -> Challenge:
    """Every cell of a run, for who holds a key; for who holds the model, without ``hints``."""
    challenge = Auditor(run.model, device=KERNELS).challenge(run.request, run.data, "all")
    return replace(challenge, hints=hints, tables=hints)


def check(
    holds: Key | Model, run: Run, challenge: Challenge, opening: bytes | BinaryIO, kernels: Kernels = KERNELS
) -> Verified:
    """What an auditor says of an opening."""
    return Auditor(holds, device=kernels).check(run.request, run.data, challenge, opening)


def audit(holds: Key | Model, run: Run, challenge: Challenge | None = None) -> Verified:
    """Open and verify every cell (or those of ``challenge``) of a run."""
    if challenge is None:
        challenge = challenge_all(run, hints=isinstance(holds, Key))
    return check(holds, run, challenge, open_all(run, challenge))
