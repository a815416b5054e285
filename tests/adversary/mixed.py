"""A small DeepSeek V3 with random weights, and provers that cheat with its router, experts or latents.

Layer 0 is dense; layers 1 and 2 have 12 experts in 4 groups, of which a row uses 3 in 2 groups, with a
correction of the scores; all layers have latent attention.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from adversary.case import Case
from adversary.setting import KERNELS, NODE
from importers import families
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import Array, Span
from proofcompute.errors import Cell
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.program.operations import Experts, Route
from proofcompute.program.source import Source
from proofcompute.program.types import Node
from proofcompute.protocol.messages import Generation, Request
from proofcompute.testing.altered import reweighted, with_operations
from proofcompute.testing.forging import Forgery, forge
from proofcompute.verifier import Key, keygen

CASE = "deepseek_v3"
PROMPT, ANSWER = 7, 4
ROWS = PROMPT + ANSWER - 1
BLOCK_1 = 2
"""The segment of layer 1, after the embedding and layer 0."""


@cache
def model(case: str = CASE, precision: str = "w8a16") -> Model:
    with tempfile.TemporaryDirectory() as folder:
        return compile_decoder(families.opened(case, Path(folder)), KERNELS, precision)


@cache
def _key(case: str, precision: str) -> Key:
    return keygen(model(case, precision), KERNELS, seed=bytes(32))


def key(case: str = CASE, precision: str = "w8a16") -> Key:
    return replace(_key(case, precision), log=MemoryLog())


def request(m: Model) -> Request:
    tokens = np.array(families.tokens(CASE)[:PROMPT], "<i4").tobytes()
    return Request(m.model_id, (("tokens", tokens),), bytes(32), Generation(ANSWER))


def forged(**lies: Any) -> Forgery:
    return forge(model(), request(model()), KERNELS, NODE, **lies)


def audited(
    forgery: Forgery, *cells: Cell, holder: Key | Model | None = None, using: Model | None = None
) -> Case:
    """An audit of some cells of a forgery, or of all, opened with the products that the prover made."""
    holder = holder or key()
    challenge = forgery.challenge(*cells, hints=isinstance(holder, Key))
    return Case(holder, forgery.request, forgery.receipt.encode(), challenge, forgery.open(challenge, using))


# -- lies --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Seen(Experts):
    """Remembers what was chosen."""

    numbers: tuple[list[Array], ...] = ()

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        self.numbers[0].append(np.array(ins[1]))
        return super().run(ins, spans, src, k)


@cache
def chosen() -> Array:
    """The experts that each row uses in layer 1: [rows, 3]."""
    found: list[Array] = []

    def watched(node: Node) -> Node:
        if not isinstance(node.op, Experts) or node.op.weight != "block.1.ffn.experts.down":
            return node
        return replace(node, op=_Seen(node.op.weight, node.op.limbs, (found,)))

    forged(runs=with_operations(model(), watched))
    return np.concatenate(found)


USED = cache(lambda: int(chosen()[0, 0]))
"""The expert that the first row likes best."""


@dataclass(frozen=True)
class _Second(Route):
    """Leaves the best expert out."""

    def run(self, ins: Sequence[Any], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        more = Route(self.top_k + 1, *(getattr(self, f.name) for f in fields(Route)[1:]))
        return [x[:, 1:].copy() for x in more.run(ins, spans, src, k)]


def _other_choice() -> Forgery:
    """Layer 1 uses the experts after the best one."""

    def shift(node: Node) -> Node:
        if not isinstance(node.op, Route) or node.outputs[0] != "chosen.1":
            return node
        return replace(node, op=_Second(*(getattr(node.op, f.name) for f in fields(Route))))

    return forged(runs=with_operations(model(), shift))


def _with(name: str, change: Callable[[Array], Array]) -> Callable[[], Forgery]:
    """One matrix has other elements."""

    def altered(n: str, w: Matrix) -> Matrix:
        return replace(w, q=change(w.q.copy())) if n == name else w

    return lambda: forged(runs=reweighted(model(), altered))


def _no_correction() -> Forgery:
    m, name = model(), "block.1.ffn.correction"
    return forged(runs=Model(m.card, {**m.weights, name: np.zeros_like(m.constant(name))}))


def _one_weight(q: Array) -> Array:
    q[USED(), 0, 0, 0] ^= 1
    return q


def _swapped(q: Array) -> Array:
    q[[USED(), (USED() + 1) % len(q)]] = q[[(USED() + 1) % len(q), USED()]]
    return q


def _edited(tensor: str, at: int) -> Callable[[], Forgery]:
    """One element of one committed row is another; everything later follows from it."""

    def edit(name: str, first: int, rows: Array) -> Array:
        if name == tensor and first <= EDITED < first + len(rows):
            row = rows[EDITED - first].reshape(-1)
            row[at] += 1 if row[at] < 127 else -1
        return rows

    return lambda: forged(write_as=edit)


EDITED = 3
"""The row that is edited."""
_LATENT = int(families.config(CASE)["kv_lora_rank"])


@dataclass(frozen=True)
class Lie:
    """A cheating prover and what becomes of it."""

    build: Callable[[], Forgery]
    own: int
    """Step that rejects it when it opens with the products that it made; with true ones that is always 9."""
    rows: Callable[[], Sequence[int]]
    """Rows of which the cells of layer 1 must be rejected, at least; no other layer's are."""
    exactly: bool = False
    """Whether no other row's cells may be rejected."""


def _all() -> Sequence[int]:
    return range(ROWS)


def _users() -> Sequence[int]:
    """The rows that use the expert."""
    return [int(row) for row in np.nonzero((chosen() == USED()).any(axis=1))[0]]


LIES: dict[str, Lie] = {
    "another expert chosen": Lie(_other_choice, 8, _all),
    "router altered": Lie(_with("block.1.ffn.router", np.negative), 8, _all),
    "correction of a router dropped": Lie(_no_correction, 8, lambda: ()),
    "one weight of an expert altered": Lie(
        _with("block.1.ffn.experts.down", _one_weight), 8, _users, exactly=True
    ),
    "two experts swapped": Lie(_with("block.1.ffn.experts.gate_up", _swapped), 8, _users),
    "expansion of latents altered": Lie(_with("block.1.attention.values", lambda q: q[::-1]), 8, _all),
    "latent altered": Lie(_edited("k.1", 0), 9, lambda: [EDITED], exactly=True),
    "rope key altered": Lie(_edited("k.1", _LATENT), 9, lambda: [EDITED], exactly=True),
    "scale of a rope key altered": Lie(_edited("k_scale.1", 1), 9, lambda: [EDITED], exactly=True),
}
