"""Reads rotary position embedding from a configuration.

Newer files have an object ``rope_parameters``; older ones have ``rope_theta``, ``partial_rotary_factor`` and
an object ``rope_scaling``. Both say the same, and both are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.architecture import Rope
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.rope_scaling import (
    Real,
    binary32,
    linear,
    llama3,
    logarithm,
    longrope,
    plain,
    root,
    yarn,
    yarn_magnitude,
)

__all__ = ["Rotary", "read_rope", "score_factor"]


@dataclass(frozen=True)
class Rotary:
    """A rotary embedding, and for how many positions it is meant."""

    rope: Rope
    context: int
    """Positions that the model supports with it."""


def read_rope(
    c: Config,
    columns: int,
    theta: float = 10_000.0,
    *,
    partial: float | None = None,
    interleaved: bool = False,
    keys: tuple[str, str] = ("rope_theta", "partial_rotary_factor"),
    kind: Config | None = None,
) -> Rotary:
    """Return the rotary embedding of heads of ``columns`` columns.

    Args:
        c: the configuration.
        columns: columns of a head that may be rotated.
        theta: the family's default base.
        partial: the family's default share of columns that are rotated; None if it always rotates all.
        interleaved: see :class:`Rope`.
        keys: the names of base and share outside ``rope_parameters``; the usual names may be there too, with
            the same values.
        kind: the object that holds the parameters, where a family has several; else it is looked for.

    Raises FormatError and UnsupportedError, which name the key.
    """
    p = _parameters(c) if kind is None else kind
    c.ignore(*keys, "original_max_position_embeddings")  # it is read where a scaling needs it
    p.ignore("rope_theta", "partial_rotary_factor")
    base = _agreed(p, c, "rope_theta", keys[0], theta) if kind is None else p.positive("rope_theta")
    if base <= 1:
        raise FormatError(f"{c.key(keys[0])} is {base}, not above 1")
    share = _agreed(p, c, "partial_rotary_factor", keys[1], partial or 1.0) if kind is None else 1.0
    if (share != 1 and partial is None) or share > 1:
        raise UnsupportedError(f"{c.key(keys[1])} is {share}, which is not supported")
    for key, used in (("rope_theta", base), ("partial_rotary_factor", share)) if kind is None else ():
        if key in c and (given := c.positive(key)) != used:  # transformers reads the family's own key
            raise UnsupportedError(f"{c.key(key)} is {given}, but the model's is {used}")
    rotated = int(columns * share)
    if rotated % 2 or not rotated:
        raise UnsupportedError(f"{c.key(keys[1])}: {rotated} of {columns} columns would be rotated")
    freqs, scale, context = _scaled(c, p, base, rotated)
    p.finish()
    return Rotary(Rope(freqs, interleaved, scale), context)


def score_factor(c: Config) -> Real:
    """Return by what DeepSeek's models multiply the scale of scores: the square of a magnitude of YaRN."""
    p = _parameters(c)
    if _kind(p) == "default" or not p.optional_positive("mscale_all_dim"):
        return 1
    return yarn_magnitude(p.positive("factor"), p.positive("mscale_all_dim")) ** 2


def _parameters(c: Config) -> Config:
    scaling, parameters = c.section("rope_scaling"), c.section("rope_parameters")
    if not scaling.keys():
        return parameters
    if "rope_parameters" in c and parameters.keys():
        raise UnsupportedError(f"{c.key('rope_scaling')} and rope_parameters are both given")
    return scaling


def _agreed(p: Config, c: Config, inner: str, outer: str, default: float) -> float:
    """Return the number at ``inner`` of the parameters or ``outer`` of the file; they must not differ."""
    found = [config.positive(key) for config, key in ((p, inner), (c, outer)) if key in config]
    if len(found) == 2 and found[0] != found[1]:
        raise UnsupportedError(f"{c.key(outer)} is {found[1]}, but {p.key(inner)} is {found[0]}")
    return found[0] if found else default


def _kind(p: Config) -> str:
    p.ignore("type", "rope_type")
    kind = next((p.text(key) for key in ("rope_type", "type") if key in p), "default")
    return "longrope" if kind == "su" else kind  # its name in the first Phi-3 models


def _scaled(c: Config, p: Config, base: float, columns: int) -> tuple[tuple[int, ...], float, int]:
    """Return frequencies, the factor on cosines and sines, and the positions that they are meant for."""
    supported = c.integer("max_position_embeddings")
    kind = _kind(p)
    if kind == "default":
        return plain(base, columns), 1.0, supported
    if kind == "linear":
        return linear(base, columns, p.positive("factor")), 1.0, supported
    if kind not in ("llama3", "yarn", "longrope"):
        raise UnsupportedError(
            f"{p.key('rope_type')} is {kind!r}; supported are default, linear, llama3, yarn and longrope"
        )
    original = _original(c, p, supported)
    if kind == "llama3":
        low, high = p.positive("low_freq_factor"), p.positive("high_freq_factor")
        if low >= high:
            raise FormatError(f"{p.key('low_freq_factor')} is {low}, not less than high_freq_factor, {high}")
        return llama3(base, columns, p.positive("factor"), low, high, original), 1.0, supported
    factor: Real = p.positive("factor") if "factor" in p else Fraction(supported, original)
    p.ignore("factor", "attention_factor")
    if kind == "yarn":
        return (*_yarn(p, base, columns, factor, original), supported)
    return _longrope(c, p, base, columns, factor, original, supported)


def _original(c: Config, p: Config, supported: int) -> int:
    key = "original_max_position_embeddings"
    inner = p.integer(key) if key in p else None
    outer = c.optional_integer(key) or None
    if inner is not None and outer is not None and inner != outer:
        raise UnsupportedError(f"{c.key(key)} is {outer}, but {p.key(key)} is {inner}")
    return outer or inner or supported


def _yarn(p: Config, base: float, columns: int, factor: Real, original: int) -> tuple[tuple[int, ...], float]:
    fast = p.positive("beta_fast") if "beta_fast" in p else 32.0
    slow = p.positive("beta_slow") if "beta_slow" in p else 1.0
    if slow >= fast:
        raise FormatError(f"{p.key('beta_slow')} is {slow}, not less than beta_fast, {fast}")
    truncate = p.flag("truncate") if "truncate" in p.keys() else True  # null is false
    p.ignore("beta_fast", "beta_slow", "truncate", "finetuned", "mscale", "mscale_all_dim")
    scale, all_dim = p.optional_positive("mscale"), p.optional_positive("mscale_all_dim")
    magnitude: Real
    if "attention_factor" in p:
        magnitude = p.positive("attention_factor")
    elif scale and all_dim:
        magnitude = yarn_magnitude(factor, scale) / yarn_magnitude(factor, all_dim)
    else:
        magnitude = yarn_magnitude(factor)
    return yarn(base, columns, factor, original, fast, slow, truncate), binary32(magnitude)


def _longrope(
    c: Config, p: Config, base: float, columns: int, factor: Real, original: int, supported: int
) -> tuple[tuple[int, ...], float, int]:
    """Long texts have other divisors than short ones, so the context that is asked for decides which."""
    short, long = (p.numbers(key, columns // 2) for key in ("short_factor", "long_factor"))
    if short is None or long is None:
        missing = "short_factor" if short is None else "long_factor"
        raise FormatError(f"{p.key(missing)} is missing")
    magnitude: Real
    if "attention_factor" in p:
        magnitude = p.positive("attention_factor")
    elif factor <= 1:
        magnitude = 1
    else:
        if original < 2:
            raise FormatError(f"{p.key('original_max_position_embeddings')} is {original}")
        magnitude = Decimal(root(1 + logarithm(factor) / logarithm(original)))
    beyond = original < supported if c.context is None else original < min(c.context, supported)
    if c.context is None and beyond and short != long:
        c.notes.append(
            f"the model rotates texts of more than {original} tokens otherwise than shorter ones; this "
            f"import is for at most {original}; give a context of up to {supported} for longer texts"
        )
        return longrope(base, columns, short), binary32(magnitude), original
    factors = long if beyond else short
    return longrope(base, columns, factors), binary32(magnitude), supported if beyond else original
