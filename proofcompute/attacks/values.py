"""Nodes that run the right program on wrong values: rows that are altered, stale, inflated or cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.attacks.attack import Cheat, in_blocks, in_first
from proofcompute.attacks.target import FIRST, PROMPT, NotApplicable, Target
from proofcompute.errors import Cell
from proofcompute.protocol.trace import split_rows
from proofcompute.testing.forging import Forgery, Rewrite

__all__ = ["EDITED", "VALUES", "edit_rows"]

EDITED: Final = 5
"""The row that is altered."""

_LOW: Final = np.uint32(0xFFF)
"""The low bits of a binary32 number that are cut off."""


def edit_rows(tensor: str, row: int) -> Rewrite:
    """Return what alters one element of one committed row when it is written; everything later follows."""

    def edit(name: str, first: int, rows: Array) -> Array:
        if name == tensor and first <= row < first + len(rows):
            flat = rows[row - first].reshape(-1)
            flat[0] += 1 if rows.dtype != np.int8 or flat[0] < 127 else -1
        return rows

    return edit


def _kinds(t: Target, segment: int) -> tuple[list[str], list[str]]:
    """Return the integer tensors, and the scales, of which later rows read a prefix."""
    specs, kept = t.model.program.specs, t.kept(segment)
    if not kept:
        raise NotApplicable("no keys and values")
    return [n for n in kept if specs[n].dtype == "i8"], [n for n in kept if specs[n].dtype == "f32"]


def _other_run(t: Target) -> Forgery:
    """Return the honest run of another prompt."""
    return t.honest(t.request([t.another(token) for token in t.prompt]))


def _stale(t: Target, name: str, first: int, rows: Array, other: Forgery) -> Array:
    """Return rows of keys and values from another prompt's run, up to the end of the prompt."""
    if not any(name in t.kept(block) for block in t.blocks):
        return rows
    group = t.model.program.group_of[name]
    old = split_rows(t.model.program, group, other.stored.groups[group])[name]
    keep = max(0, min(PROMPT - 1, first + len(rows)) - first)
    return np.concatenate([old[first : first + keep], rows[keep:]])


def _stale_committed(t: Target) -> Forgery:
    other = _other_run(t)
    return t.forge(write_as=lambda name, first, rows: _stale(t, name, first, rows, other))


def _stale_used(t: Target) -> Forgery:
    other = _other_run(t)
    return t.forge(see_as=lambda name, row, rows: _stale(t, name, 0, rows, other))


def _repeated(t: Target) -> Forgery:
    """Every second row of keys and values is that of the row before."""
    names = {name for block in t.blocks for name in t.kept(block)}

    def see(name: str, row: int, rows: Array) -> Array:
        return rows[np.arange(len(rows)) // 2 * 2].copy() if name in names else rows

    return t.forge(see_as=see)


def _four_bits(when: str) -> Callable[[Target], Forgery]:
    """Return a build in which keys and values lose their low four bits, when committed or when used."""

    def build(t: Target) -> Forgery:
        names = {name for block in t.blocks for name in _kinds(t, block)[0]}

        def cut(name: str, row: int, rows: Array) -> Array:
            if name in names:
                rounded = ((rows.astype(np.int16) + 8) >> 4 << 4).clip(-128, 112).astype(np.int8)
                if rows.ndim == 4:
                    rounded[:, :, 1] = 0
                rows = rounded
            return rows

        return t.forge(see_as=cut) if when == "used" else t.forge(write_as=cut)

    return build


def _no_low_limb(t: Target) -> Forgery:
    """The low limbs of keys and values are zero."""
    names = {name for block in t.blocks for name in _kinds(t, block)[0]}
    if all(len(t.model.program.specs[name].shape) < 3 for name in names):
        raise NotApplicable("keys and values have one limb")

    def clear(name: str, first: int, rows: Array) -> Array:
        if name in names and rows.ndim == 4:
            rows[:, :, 1] = 0
        return rows

    return t.forge(write_as=clear)


def _zeroed_keys(t: Target) -> Forgery:
    """Keys quantise to zero under an inflated scale, so that attention costs nothing."""
    keys, scales = {}, {}
    for block in t.blocks:
        integers, floats = _kinds(t, block)
        keys[integers[0]] = scales[floats[0]] = True

    def flat(name: str, first: int, rows: Array) -> Array:
        if name in scales:
            return np.full_like(rows, 1e6)
        return np.zeros_like(rows) if name in keys else rows

    return t.forge(write_as=flat)


def _inflated(t: Target) -> Forgery:
    """The residual stream is so large that its norm overflows and every later product is zero."""
    stream = t.exit(t.first)
    return t.forge(write_as=lambda name, first, rows: np.full_like(rows, 3e38) if name == stream else rows)


def _low_bits(t: Target) -> Forgery:
    """The low 12 bits of the residual stream's numbers are cleared, to keep half as many bytes."""
    streams = {t.exit(block) for block in t.blocks}

    def cut(name: str, first: int, rows: Array) -> Array:
        if name in streams:
            rows = (np.ascontiguousarray(rows).view(np.uint32) & ~_LOW).view(np.float32)
            rows = rows + np.float32(0)  # no -0
        return rows

    return t.forge(write_as=cut)


def _last_bit(t: Target) -> Forgery:
    """The last bit of one number of the residual stream is another."""
    stream = t.exit(t.middle)

    def flip(name: str, first: int, rows: Array) -> Array:
        if name == stream and first <= EDITED < first + len(rows):
            rows[EDITED - first].reshape(-1).view(np.uint32)[0] ^= 1
        return rows

    return t.forge(write_as=flip)


def _edited(pick: Callable[[Target], str], row: int = EDITED) -> Callable[[Target], Forgery]:
    return lambda t: t.forge(write_as=edit_rows(pick(t), row))


def _one_cell(segment: Callable[[Target], int], row: int) -> Callable[[Target, Cell], bool]:
    return lambda t, cell: cell == Cell(segment(t), row, row + 1)


VALUES: Final[Mapping[str, Cheat]] = {
    "stale keys and values committed": Cheat(
        "keeps the cache of an earlier prompt, and commits that",
        "key-value reuse",
        _stale_committed,
        in_blocks,
    ),
    "stale keys and values used": Cheat(
        "commits the right keys and values, and uses those of an earlier prompt",
        "key-value reuse",
        _stale_used,
        in_blocks,
    ),
    "every second key reused": Cheat(
        "uses each key and value for two positions", "key-value reuse", _repeated, in_blocks
    ),
    "keys and values of four bits committed": Cheat(
        "quantises its cache to four bits", "lower precision", _four_bits("committed"), in_blocks
    ),
    "keys and values of four bits used": Cheat(
        "quantises its cache to four bits, and commits the right one",
        "lower precision",
        _four_bits("used"),
        in_blocks,
    ),
    "low limbs of keys dropped": Cheat(
        "stores one limb of keys and values where the program has two", "low bits", _no_low_limb, in_blocks
    ),
    "keys quantised to zero": Cheat(
        "inflates the scale of keys, so that all of them are zero", "key-value reuse", _zeroed_keys, in_blocks
    ),
    "residual stream inflated": Cheat(
        "commits rows so large that all later products are zero", "low bits", _inflated, in_first
    ),
    "low bits of activations cleared": Cheat(
        "clears the low 12 bits of each number of the residual stream", "low bits", _low_bits, in_blocks
    ),
    "one bit of an activation": Cheat(
        "flips the last bit of one number of the residual stream",
        "low bits",
        _last_bit,
        _one_cell(lambda t: t.middle, EDITED),
    ),
    "a row of the residual stream altered": Cheat(
        "alters one number of a committed row, and goes on from it honestly",
        "rows moved",
        _edited(lambda t: t.exit(t.first)),
        _one_cell(lambda t: t.first, EDITED),
    ),
    "a key altered": Cheat(
        "alters one number of a committed key, and goes on from it honestly",
        "rows moved",
        _edited(lambda t: t.kept(t.middle)[0], FIRST),
        _one_cell(lambda t: t.middle, FIRST),
    ),
    "an embedded row altered": Cheat(
        "alters one number of the embedding of one row, and goes on from it honestly",
        "rows moved",
        _edited(lambda t: t.exit(t.embedding), 0),
        _one_cell(lambda t: t.embedding, 0),
    ),
}
"""Cheats that alter values which the right program computes, or reads."""
