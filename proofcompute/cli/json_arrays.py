"""Reads arrays from a file of JSON: an object of nested lists, by the name of the input.

A number is what the input's type says, and nothing is guessed: integers are written without a point and lie
in the type's range, ``true`` and ``false`` are for ``bool`` only, and a float is rounded to the nearest
float32, which must be finite.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np

from proofcompute.arrays import Array
from proofcompute.encoding.files import read_limited
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.limits import MAX_TEXT
from proofcompute.program.types import Spec
from proofcompute.protocol.requests import check_rows

__all__ = ["read_json_arrays"]

_KINDS: dict[str, tuple[type, ...]] = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,)}


def read_json_arrays(path: Path, specs: Mapping[str, Spec]) -> dict[str, Array]:
    """Return the arrays in a file, of at most 16 MiB and 2^20 numbers, for the inputs ``specs``.

    Raises InputError (FormatError, LimitError) if it is no strict JSON, lacks the only input asked for, names
    another one, or a list is no array of the input's type and shape.
    """
    data = read_limited(path, MAX_TEXT, "JSON")
    try:
        top = read_json(data, MAX_TEXT)
    except (FormatError, LimitError) as e:
        raise type(e)(f"{path}: {e}") from e
    known = ", ".join(specs)
    if unknown := [name for name in top if name not in specs]:
        raise InputError(f"{path} names an input {unknown[0][:64]!r}, where the inputs are {known}")
    if len(specs) == 1 and not top:
        raise InputError(f"{path} has no list for input {known}")
    return {name: _array(path, name, specs[name], value) for name, value in top.items()}


def _array(path: Path, name: str, spec: Spec, value: Json) -> Array:
    """Return the array that nested lists are."""
    shape: list[int] = []
    level: list[Json] = [value]
    while any(isinstance(part, list) for part in level):
        lists = [part for part in level if isinstance(part, list)]
        if len(lists) != len(level) or len({len(part) for part in lists}) != 1:
            raise FormatError(f"{path}: the lists of {name} are no array: some are shorter than others")
        shape.append(len(lists[0]))
        level = list(chain.from_iterable(lists))
    check_rows(spec, spec.numpy, tuple(shape), f"{path}: {name}")
    kind = spec.numpy.kind
    wrong = [x for x in level if type(x) not in _KINDS[kind]]
    if not wrong and kind in "iu":
        least, most = np.iinfo(spec.numpy).min, np.iinfo(spec.numpy).max
        wrong = [x for x in level if not least <= cast(int, x) <= most]
    if wrong:
        raise FormatError(f"{path}: {name} holds {json.dumps(wrong[0])[:40]}, which is no {spec.dtype}")
    if kind != "f":
        return np.array(level, spec.numpy).reshape(shape)
    with np.errstate(over="ignore"):
        rounded = np.array(level, np.float64).astype(spec.numpy)
    if not np.isfinite(rounded).all():
        at = int(np.flatnonzero(~np.isfinite(rounded))[0])
        raise FormatError(f"{path}: {name} holds {json.dumps(level[at])}, which is beyond {spec.dtype}")
    return rounded.reshape(shape)
