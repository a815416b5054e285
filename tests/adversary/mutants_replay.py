"""Mutants of replay: a verifier that runs the request itself needs these few checks and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import synthetic
from adversary.cheats import CHEATS
from adversary.mutants import Mutant, never
from adversary.mutation import Edit
from adversary.setting import KERNELS, NODE, honest, model
from proofcompute.arrays import F32
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Verified
from proofcompute.verifier.replay import replay

R = "verifier.replay"
REPLAY = "verifier/replay:"
RESULT = 'raise VerificationError(8, f"the arithmetic has no result: {e}") from e'


@dataclass(frozen=True)
class Replayed:
    """Everything that one replay gets."""

    model: Model
    request: Request
    receipt: bytes

    def verify(self) -> Verified:
        return replay(self.model, self.request, self.receipt, kernels=KERNELS)


def replayed(forgery: Forgery) -> Replayed:
    return Replayed(model(), forgery.request, forgery.receipt.encode())


@cache
def network() -> Model:
    """A program that does not generate, in two segments; large inputs overflow it."""
    rng = np.random.default_rng(0)
    b = ProgramBuilder(device="numpy")
    x = b.input("x", 16)
    h = b.linear(x, rng.standard_normal((32, 16)).astype(np.float32) * np.float32(1e3))
    b.cut(h)
    b.output(b.linear(h, rng.standard_normal((4, 32)).astype(np.float32), name="y"))
    return b.model()


def samples(value: float = 1.0) -> F32:
    return np.full((3, 16), value, np.float32)


def answered(x: F32) -> tuple[Request, Receipt]:
    """A request to the network, and its honest receipt."""
    asked = Request(network().model_id, (("x", x.astype("<f4").tobytes()),), bytes(32))
    return asked, synthetic.prove(network(), asked).receipt


def _network(x: F32, change: Callable[[Receipt], Receipt]) -> Replayed:
    asked = Request(network().model_id, (("x", x.astype("<f4").tobytes()),), bytes(32))
    _, receipt = answered(samples())
    changed = change(receipt)
    return Replayed(network(), asked, changed.signed(NODE.sign(changed.signed_digest)).encode())


def another_output() -> Replayed:
    """The network's output is edited, and nothing else."""

    def edit(receipt: Receipt) -> Receipt:
        ((name, data),) = receipt.outputs
        rows = np.frombuffer(data, "<f4") + np.float32(1)
        return with_fields(receipt, outputs=((name, rows.astype("<f4").tobytes()),))

    return _network(samples(), edit)


def no_result() -> Replayed:
    """Inputs for which the arithmetic has no result, and an answer all the same."""
    asked = Request(network().model_id, (("x", samples(3e38).astype("<f4").tobytes()),), bytes(32))
    return _network(samples(3e38), lambda r: with_fields(r, request_digest=asked.digest))


def with_fields(receipt: Receipt, **changes: object) -> Receipt:
    changed: Receipt = replace(receipt, **changes)  # type: ignore[arg-type]
    return changed


REPLAY_MUTANTS: dict[str, Mutant] = {
    "replayed trace": Mutant(
        (REPLAY + "_compare: 7: another trace root",),
        (never(R, "root != receipt.trace_root"),),
        lambda: replayed(honest().signed(trace_root=bytes(32))),
    ),
    "replayed tokens": Mutant(
        (REPLAY + "_run: 9: token {} of the answer is not the one that the model gives",),
        (never("engine.session", "self.answer[self.emitted] != token"),),
        lambda: replayed(CHEATS["last answer token edited"].build()),
    ),
    "replayed outputs": Mutant(
        (REPLAY + "_compare: 9: the model gives another output",),
        (Edit(R, ".tobytes() != data:", ".tobytes() == b'':"),),
        another_output,
    ),
    "replayed arithmetic": Mutant(
        (REPLAY + "_run: 8: the arithmetic has no result: {}",),
        (
            Edit(R, RESULT, "return session"),
            Edit(R, "_compare(claim, session, kernels)\n", "pass\n"),
        ),
        no_result,
    ),
}
