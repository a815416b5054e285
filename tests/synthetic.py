"""The whole protocol around :data:`proofcompute.testing.TINY`, with fixed keys and the NumPy backend."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import BinaryIO

import numpy as np

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.protocol.messages import (
    Challenge,
    OpeningEnd,
    Receipt,
    Request,
    frame_digest,
    frames_digest,
)
from proofcompute.prover.node import Node
from proofcompute.testing import Run, byte_request, keep, random_chat_model
from proofcompute.verifier import Key, Verified, keygen
from proofcompute.verifier.auditor import Auditor

KERNELS: Kernels = NumpyKernels()
NODE = NodeIdentity(bytes(range(32)))
SAMPLED = Sampling(temperature=0.75, top_k=40, top_p=float(np.float32(0.9)), repetition_penalty=1.25)

request = byte_request


@cache
def model(seed: int = 0, precision: str = "w8a16") -> Model:
    return random_chat_model(KERNELS, seed, precision)


@cache
def _key(seed: int, precision: str, columns: int) -> Key:
    return keygen(model(seed, precision), KERNELS, columns=columns, seed=bytes([7] * 32))


def key(seed: int = 0, precision: str = "w8a16", columns: int = 2) -> Key:
    """Made once, with a new log each time: the requests of tests have one nonce."""
    return replace(_key(seed, precision, columns), log=MemoryLog())


# -- a node, and an honest run -----------------------------------------------------------------------------
def node(m: Model, kernels: Kernels = KERNELS, *, chunk: int = 64) -> Node:
    """A node that computes at most ``chunk`` rows of a prompt in a step."""
    made = Node(m, NODE, device=kernels)
    made.engine.chunk = chunk
    return made


def prove(m: Model, r: Request, kernels: Kernels = KERNELS) -> Run:
    proving = node(m, kernels)
    return keep(proving, proving.run(r))


# -- openings, frame by frame ------------------------------------------------------------------------------
def frames(opening: bytes) -> list[bytes]:
    """The frames of an honest opening."""
    stream, found = io.BytesIO(opening), list[bytes]()
    while (frame := read_frame(stream, limit=1 << 24, what="honest opening")) is not None:
        found.append(frame)
    return found


def joined(sent: Sequence[bytes]) -> bytes:
    """The opening of these frames."""
    out = io.BytesIO()
    for frame in sent:
        write_frame(out, frame)
    return out.getvalue()


def end(sent: Sequence[bytes], receipt: bytes, challenge: bytes, identity: NodeIdentity = NODE) -> bytes:
    """The closing frame over others, for the digests of a receipt and a challenge."""
    unsigned = OpeningEnd(frames_digest([frame_digest(f) for f in sent]))
    return unsigned.signed(identity.sign(unsigned.signed_digest(receipt, challenge))).encode()


def closed(
    sent: Sequence[bytes],
    receipt: Receipt,
    challenge: Challenge,
    identity: NodeIdentity = NODE,
    signed: Sequence[bytes] | None = None,
) -> bytes:
    """An opening of any frames, with a proper closing frame, or one that signs others."""
    return joined(
        [*sent, end(sent if signed is None else signed, receipt.digest, challenge.digest, identity)]
    )


# -- audits ------------------------------------------------------------------------------------------------
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
    return check(holds, run, challenge, run.open(challenge))
