"""A small DeepSeek V3 with random weights, and provers that cheat with its router, experts or latents.

Layer 0 is dense; layers 1 and 2 have 12 experts in 4 groups, of which a row uses 3 in 2 groups, with a
correction of the scores; all layers have latent attention.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from adversary.setting import KERNELS
from importers import families
from proofcompute.arrays import Array
from proofcompute.attacks import experts
from proofcompute.attacks.case import Case
from proofcompute.attacks.case import case as case_of
from proofcompute.attacks.experts import EDITED, EXPERTS
from proofcompute.attacks.target import PROMPT, ROWS, Target
from proofcompute.errors import Cell
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Key, keygen

CASE = "deepseek_v3"
BLOCK_1 = 2
"""The segment of layer 1, after the embedding and layer 0."""


@cache
def model(case: str = CASE, precision: str = "w8a16") -> Model:
    with tempfile.TemporaryDirectory() as folder:
        return compile_decoder(families.opened(case, Path(folder)), KERNELS, precision)


@cache
def target(case: str = CASE) -> Target:
    """The model as it is attacked."""
    tokens = np.resize(families.tokens(CASE), PROMPT)
    return Target(model(case), KERNELS, tuple(int(t) for t in tokens))


@cache
def _key(case: str, precision: str) -> Key:
    return keygen(model(case, precision), KERNELS, seed=bytes(32))


def key(case: str = CASE, precision: str = "w8a16") -> Key:
    return replace(_key(case, precision), log=MemoryLog())


def request(m: Model) -> Request:
    return replace(target().request(), model_id=m.model_id)


def forged(**lies: Any) -> Forgery:
    return target().forge(**lies)


def audited(
    forgery: Forgery, *cells: Cell, holder: Key | Model | None = None, using: Model | None = None
) -> Case:
    """An audit of some cells of a forgery, or of all, opened with the products that the prover made."""
    return case_of(target(), forgery, *cells, holder=holder or key(), using=using)


@cache
def chosen() -> Array:
    """The experts that each row uses in layer 1: [rows, 3]."""
    return experts.chosen(target())


@dataclass(frozen=True)
class Lie:
    """A cheating prover and what becomes of it."""

    build: Callable[[], Forgery]
    own: tuple[int, ...]
    """Steps of which one rejects it when it opens the products that it made; with true ones it is 9."""
    rows: Callable[[], Sequence[int]]
    """Rows of which the cells of layer 1 must be rejected, at least; no other layer's are."""
    exactly: bool = False
    """Whether no other row's cells may be rejected."""


def _all() -> Sequence[int]:
    return range(ROWS)


def _users() -> Sequence[int]:
    """The rows that use the expert which the first row likes best."""
    return [int(row) for row in np.nonzero((chosen() == chosen()[0, 0]).any(axis=1))[0]]


def _edited() -> Sequence[int]:
    return [EDITED]


_ROWS: dict[str, tuple[Callable[[], Sequence[int]], bool]] = {
    "correction of a router dropped": (lambda: (), False),
    "one weight of an expert altered": (_users, True),
    "an expert pruned": (_users, True),
    "two experts swapped": (_users, False),
    "latent altered": (_edited, True),
    "rope key altered": (_edited, True),
    "scale of a rope key altered": (_edited, True),
}
"""The rows whose cells of layer 1 must be rejected, and whether no others may be; else all."""

LIES: dict[str, Lie] = {
    name: Lie(partial(cheat.build, target()), cheat.own_steps(target()), *_ROWS.get(name, (_all, False)))
    for name, cheat in EXPERTS.items()
}
