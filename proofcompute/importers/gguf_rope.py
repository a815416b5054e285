"""Reads rotary position embeddings from a GGUF file's metadata (``rope.*``) and tensors of divisors.

Divisors of the frequencies are tensors: ``rope_freqs.weight`` for those of Llama 3, and the two of LongRoPE
for short and for long texts, of which the context that is asked for decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from proofcompute.arrays import F32
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Rope
from proofcompute.importers.gguf_families import Family
from proofcompute.importers.gguf_fields import Fields
from proofcompute.limits import MAX_CONTEXT

__all__ = ["DIVISORS", "Divisors", "Ropes", "read_ropes"]

LLAMA3: Final = "rope_freqs.weight"
SHORT: Final = "rope_factors_short.weight"
LONG: Final = "rope_factors_long.weight"
DIVISORS: Final = (LLAMA3, SHORT, LONG)
"""Names of the tensors that divide frequencies."""

Divisors = Callable[[str, int], F32 | None]
"""Returns the tensor of a name, whose shape must be [n]; None if the file has none."""


@dataclass(frozen=True)
class Ropes:
    """The rotary embeddings of a network."""

    full: Rope
    """Of layers without a window."""
    local: Rope
    """Of layers with one."""
    context: int
    """Positions for which they are meant."""
    magnitude: Decimal
    """What latent attention squares and multiplies its scores by."""


class _Scaled(NamedTuple):
    freqs: tuple[int, ...]
    scale: float
    context: int
    magnitude: Decimal = Decimal(1)


def read_ropes(
    fields: Fields,
    family: Family,
    columns: int,
    supported: int,
    divisors: Divisors,
    context: int | None,
    notes: list[str],
) -> Ropes:
    """Return the rotary embeddings of heads of ``columns`` columns.

    Args:
        fields: metadata of the architecture.
        family: what they do not say.
        columns: columns of a head that may be rotated.
        supported: positions of the model.
        divisors: the reader of the tensors.
        context: positions that the caller wants; None for as many as the model supports.
        notes: sentences for the user about choices are appended.

    Raises FormatError or UnsupportedError, which name the key or tensor.
    """
    rotated = fields.integer("rope.dimension_count", 2, columns, columns)
    if rotated % 2:
        raise FormatError(f"{fields.key('rope.dimension_count')} is {rotated}, which is odd")
    base = _base(fields, "rope.freq_base", 10_000.0)
    full = _scaled(fields, family, base, rotated, supported, divisors, context, notes)
    local = full.freqs, full.scale
    if family.window and family.window != "all":
        own = _base(fields, "rope.freq_base_swa", 10_000.0 if family.local_rope == "base" else base)
        if family.local_rope:
            local = rope_scaling.plain(own, rotated), 1.0
        elif own != base:
            raise UnsupportedError(f"{fields.key('rope.freq_base_swa')} is {own}, but the base is {base}")
    return Ropes(
        full=Rope(full.freqs, family.pairs, full.scale),
        local=Rope(local[0], family.pairs, local[1]),
        context=full.context,
        magnitude=full.magnitude,
    )


def _base(fields: Fields, key: str, default: float) -> float:
    base = fields.positive(key, default)
    if base <= 1:
        raise FormatError(f"{fields.key(key)} is {base}, not above 1")
    return base


def _scaled(
    fields: Fields,
    family: Family,
    base: float,
    columns: int,
    supported: int,
    divisors: Divisors,
    context: int | None,
    notes: list[str],
) -> _Scaled:
    kind = fields.text("rope.scaling.type", "none")
    original = fields.integer("rope.scaling.original_context_length", 0, MAX_CONTEXT, 0) or supported
    factor = fields.positive("rope.scaling.factor", 1.0)
    scale = fields.number("rope.scaling.attn_factor", 1.0) or 1.0
    if family.rope != "key":  # it says how the model was trained
        fields.flag("rope.scaling.finetuned", default=False)
    llama3, short, long = (_divisors(divisors, name, columns // 2) for name in DIVISORS)
    if llama3 is not None and (kind != "none" or short is not None or long is not None):
        raise UnsupportedError(f"{kind} rope scaling together with {LLAMA3} is not supported")
    if (short is None) != (long is None):
        raise FormatError(f"tensor {(SHORT if short is None else LONG)!r} is missing")
    if kind == "none" and factor != 1:
        raise FormatError(f"{fields.key('rope.scaling.factor')} is {factor}, but there is no scaling")
    if short is not None and long is not None:
        if kind not in ("none", "longrope"):
            raise UnsupportedError(f"{kind} rope scaling together with {SHORT} is not supported")
        return _longrope(base, columns, short, long, scale, original, supported, context, notes)
    if kind == "yarn":
        return _yarn(fields, family, base, columns, factor, scale, original, supported)
    if scale != 1:
        raise UnsupportedError(f"{fields.key('rope.scaling.attn_factor')} other than 1 is not supported")
    if llama3 is not None:
        return _Scaled(rope_scaling.longrope(base, columns, llama3), 1.0, supported)
    if kind == "linear":
        return _Scaled(rope_scaling.linear(base, columns, factor), 1.0, supported)
    if kind != "none":
        raise UnsupportedError(f"rope scaling of type {kind!r} is not supported")
    return _Scaled(rope_scaling.plain(base, columns), 1.0, supported)


def _divisors(divisors: Divisors, name: str, n: int) -> list[float] | None:
    found = divisors(name, n)
    if found is None:
        return None
    if not (np.isfinite(found) & (found > 0)).all():
        raise FormatError(f"{name}: a factor is not positive and finite")
    return [float(x) for x in found]


def _longrope(
    base: float,
    columns: int,
    short: list[float],
    long: list[float],
    scale: float,
    original: int,
    supported: int,
    context: int | None,
    notes: list[str],
) -> _Scaled:
    beyond = original < (supported if context is None else min(context, supported))
    if context is None and beyond and short != long:
        notes.append(
            f"the model rotates texts of more than {original} tokens otherwise than shorter ones; this "
            f"import is for at most {original} tokens; give a context of up to {supported} to import it for "
            "longer ones"
        )
        beyond = False
    freqs = rope_scaling.longrope(base, columns, long if beyond else short)
    return _Scaled(freqs, scale, supported if beyond else min(original, supported))


def _yarn(
    fields: Fields,
    family: Family,
    base: float,
    columns: int,
    factor: float,
    scale: float,
    original: int,
    supported: int,
) -> _Scaled:
    fast = fields.positive("rope.scaling.yarn_beta_fast", 32.0)
    slow = fields.positive("rope.scaling.yarn_beta_slow", 1.0)
    if slow >= fast:
        raise FormatError(
            f"{fields.key('rope.scaling.yarn_beta_slow')} is {slow}, not less than beta_fast, {fast}"
        )
    if fields.positive("rope.scaling.yarn_ext_factor", 1.0) != 1:
        raise UnsupportedError(f"{fields.key('rope.scaling.yarn_ext_factor')} other than 1 is not supported")
    whole = rope_scaling.yarn_magnitude(factor)
    own = fields.positive("rope.scaling.yarn_attn_factor", rope_scaling.binary32(whole))
    if abs(own / float(whole) - 1) > 1e-6:  # llama.cpp computes it, transformers takes the given one
        raise UnsupportedError(
            f"{fields.key('rope.scaling.yarn_attn_factor')} is {own}, but the scaling makes it {float(whole)}"
        )
    magnitude = Decimal(1)
    key = "rope.scaling.yarn_log_multiplier"
    if family.latent and fields.has(key):  # the file holds a tenth of mscale_all_dim, which is that of mscale
        all_dim = rope_scaling.binary32(10 * fields.positive(key))
        magnitude, whole = rope_scaling.yarn_magnitude(factor, all_dim), rope_scaling.yarn_magnitude(1)
    freqs = rope_scaling.yarn(base, columns, factor, original, fast, slow, family.truncate)
    return _Scaled(freqs, rope_scaling.binary32(whole * Decimal(scale)), supported, magnitude)
