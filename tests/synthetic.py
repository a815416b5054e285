"""The whole protocol around :data:`proofcompute.testing.TINY`, with fixed keys and the NumPy backend."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import BinaryIO

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.attacks import identities, target
from proofcompute.attacks.taken_apart import closing, joined
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.frames import read_frame
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.prover.node import Node
from proofcompute.testing import Run, byte_request, keep, random_chat_model
from proofcompute.verifier import Key, Verified, keygen
from proofcompute.verifier.auditor import Auditor

KERNELS: Kernels = NumpyKernels()
NODE = identities.NODE
SAMPLED = target.SAMPLED

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


def closed(
    sent: Sequence[bytes],
    receipt: Receipt,
    challenge: Challenge,
    identity: NodeIdentity = NODE,
    signed: Sequence[bytes] | None = None,
) -> bytes:
    """An opening of any frames, with a proper closing frame, or one that signs others."""
    return joined(
        [*sent, closing(sent if signed is None else signed, receipt.digest, challenge.digest, identity)]
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
