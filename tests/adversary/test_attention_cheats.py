"""Provers that change an option of attention and commit what follows: an audit rejects their cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from adversary.setting import ANSWER, BLOCK_0, BLOCK_1, PROMPT, case, forge, request
from attending_models import KINDS, attending
from proofcompute.arrays import Array
from proofcompute.program.operations import Attention, Rope
from proofcompute.program.types import Node
from proofcompute.testing.altered import with_operations
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Key, keygen
from synthetic import KERNELS


@cache
def key(kind: str) -> Key:
    return keygen(attending(kind), KERNELS, columns=2, seed=bytes([7] * 32))


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_run_passes(kind: str) -> None:
    m = attending(kind)
    forgery = forge(m, request(m))
    assert case(forgery, holder=key(kind)).verify().complete


def changed(kind: str, of: type[Any], **attributes: Any) -> Callable[[], Forgery]:
    """Every operation of a class has other attributes."""

    def change(node: Node) -> Node:
        return replace(node, op=replace(node.op, **attributes)) if type(node.op) is of else node  # type: ignore[type-var]

    def build() -> Forgery:
        m = attending(kind)
        return forge(m, request(m), runs=with_operations(m, change))

    return build


def written(kind: str, name: str, change: Callable[[Array], None]) -> Callable[[], Forgery]:
    """Rows of a tensor are changed when they are committed, and used so."""

    def write(tensor: str, first: int, rows: Array) -> Array:
        if tensor == name:
            rows = rows.copy()
            change(rows)
        return rows

    def build() -> Forgery:
        m = attending(kind)
        return forge(m, request(m), write_as=write)

    return build


def _no_low_limb(rows: Array) -> None:
    rows[:, :, 1] = 0


def _one_step(rows: Array) -> None:
    low = rows[:, 0, 1, 0]
    rows[:, 0, 1, 0] = np.where(low < 127, low + 1, low - 1)


def _scales_swapped(rows: Array) -> None:
    rows[:] = rows[:, :, ::-1].copy()


CHEATS: dict[str, tuple[str, Callable[[], Forgery], tuple[int, ...]]] = {
    "softcap ignored": ("limbs", changed("limbs", Attention, softcap=0), (BLOCK_0, BLOCK_1)),
    "window widened": ("limbs", changed("limbs", Attention, window=6), (BLOCK_0, BLOCK_1)),
    "window dropped": ("limbs", changed("limbs", Attention, window=0), (BLOCK_0,)),
    "sink dropped": ("limbs", changed("limbs", Attention, sinks=""), (BLOCK_0, BLOCK_1)),
    "one limb of queries": ("limbs", changed("limbs", Attention, limbs=1), (BLOCK_0, BLOCK_1)),
    "rotation not scaled": ("limbs", changed("limbs", Rope, scale=0x3F800000), (BLOCK_0, BLOCK_1)),
    "low limbs of keys dropped": ("limbs", written("limbs", "k.0", _no_low_limb), (BLOCK_0,)),
    "one low limb of keys changed": ("limbs", written("limbs", "k.0", _one_step), (BLOCK_0,)),
    "low limbs of values dropped": ("apart", written("apart", "v.1", _no_low_limb), (BLOCK_1,)),
    "rotation from the front": ("apart", changed("apart", Rope, start=0), (BLOCK_0, BLOCK_1)),
    "latent with the rope key's scale": (
        "latent",
        written("latent", "k_scale.1", _scales_swapped),
        (BLOCK_1,),
    ),
    "low limbs of latents dropped": ("latent", written("latent", "k.0", _no_low_limb), (BLOCK_0,)),
}


@pytest.mark.parametrize("name", CHEATS)
def test_an_audit_catches_it(name: str) -> None:
    kind, build, segments = CHEATS[name]
    forgery = build()
    error = case(forgery, holder=key(kind), using=attending(kind)).rejection()
    assert error.step == 9
    assert error.cell is not None
    assert error.cell.segment in segments
    rows = len(PROMPT) + ANSWER - 1
    others = [s for s in range(4) if s not in segments]
    first = forgery.statement.first_rows
    cells = [error.cell.__class__(s, first[s], rows) for s in others]
    assert case(forgery, *cells, holder=key(kind), using=attending(kind)).verify().cells == sum(
        rows - first[s] for s in others
    )
