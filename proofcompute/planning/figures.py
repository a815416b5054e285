"""Hold what audits cost on a machine: seconds and bytes for each counted quantity, fitted to measurements.

An audit takes a weighted sum of the counts of :class:`proofcompute.planning.work.Audit`, with weights that
are not negative. They are fitted by least squares of the relative errors, so that small audits count as much
as large ones. Of counts that grow together one weight may come out as 0; the sum is what has a meaning.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import numpy as np

from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MIB
from proofcompute.planning.work import Audit

__all__ = ["Figures", "Weights", "fitted"]

_KIND: Final = "proofcompute figures"
_VERSION: Final = 1
_MOST: Final = MIB


@dataclass(frozen=True)
class Weights:
    """What one unit of each count costs, in seconds or bytes."""

    audits: float = 0.0
    cells: float = 0.0
    rows: float = 0.0
    hints: float = 0.0
    products: float = 0.0
    checks: float = 0.0
    besides: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) not in (int, float) or not (value >= 0 and math.isfinite(value)):
                raise InputError(f"figures: {name} is a number of 0 or more, not {value!r}")

    def of(self, audit: Audit) -> float:
        """Return what an audit costs."""
        return float(sum(getattr(self, name) * count for name, count in audit._asdict().items()))


@dataclass(frozen=True)
class Figures:
    """What running and auditing cost on a machine."""

    source: str
    """Where they are from: ``measured`` or ``documented``, and what was measured."""
    running: float
    """Seconds of running for each unit of :func:`proofcompute.planning.work.running`."""
    committing: float
    """What committing adds to the time of running, as a share of it."""
    again: float
    """Time of computing a trace again, as a share of that of running."""
    opening: Weights
    """Seconds of a node that opens cells of a trace that it has kept."""
    verifying: Weights
    """Seconds of a verifier with a key."""
    nbytes: Weights
    """Bytes of an opening."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the machine."""
    fit: float = 0.0
    """The largest relative error of the fit among the audits that were measured."""

    def __post_init__(self) -> None:
        for name in ("running", "committing", "again", "fit"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not (value >= 0 and math.isfinite(value)):
                raise InputError(f"figures: {name} is a number of 0 or more, not {value!r}")
        if not self.running:
            raise InputError("figures: running takes time")

    def save(self, path: StrPath) -> None:
        """Write the figures as JSON."""
        text = json.dumps({"kind": _KIND, "version": _VERSION, **asdict(self)}, indent=1)
        write_atomic(path_of(path), f"{text}\n".encode())

    @staticmethod
    def load(path: StrPath) -> Figures:
        """Read figures from a file. Raises FormatError if it holds none."""
        data = read_limited(path_of(path), _MOST, "figures")
        try:
            found = json.loads(data)
        except (UnicodeDecodeError, ValueError, RecursionError) as e:
            raise FormatError(f"{path} holds no figures, and no JSON: {e}") from e
        if not isinstance(found, dict):
            raise FormatError(f"{path} holds no figures")
        if (found.pop("kind", ""), found.pop("version", 0)) != (_KIND, _VERSION):
            raise FormatError(f"{path} holds no figures of version {_VERSION}")
        if found.keys() != {f.name for f in fields(Figures)}:
            raise FormatError(f"{path}: figures are {', '.join(f.name for f in fields(Figures))}")
        if not isinstance(found["source"], str) or not isinstance(found["machine"], dict):
            raise FormatError(f"{path}: the source is a text, and the machine an object")
        try:
            for name in ("opening", "verifying", "nbytes"):
                value = found[name]
                if not isinstance(value, dict) or value.keys() != {f.name for f in fields(Weights)}:
                    raise FormatError(f"{path}: {name} are {', '.join(f.name for f in fields(Weights))}")
                found[name] = Weights(**value)
            return Figures(**found)
        except InputError as e:
            raise FormatError(str(e)) from e


def fitted(audits: Sequence[Audit], costs: Sequence[float], names: Sequence[str]) -> tuple[Weights, float]:
    """Fit the weights of some counts to what audits cost.

    Args:
        audits: what was measured, as counted.
        costs: seconds or bytes of each, above 0.
        names: counts that may have a weight, at most eight.

    Returns the weights and the largest relative error. Raises InputError if there is nothing to fit.
    """
    if not audits or not all(c > 0 for c in costs) or len(names) > 8:
        raise InputError("figures are fitted to audits that cost something, for at most eight counts")
    counts = np.array([[getattr(a, name) for name in names] for a in audits], np.float64)
    scale = np.where(counts.max(axis=0) > 0, counts.max(axis=0), 1.0)
    relative = counts / scale / np.asarray(costs, np.float64)[:, None]
    ones = np.ones(len(audits))
    best, least = np.zeros(len(names)), float("inf")
    for n in range(1, len(names) + 1):  # the least squares without negative weights are those of some subset
        for chosen in itertools.combinations(range(len(names)), n):
            found = np.linalg.lstsq(relative[:, chosen], ones, rcond=None)[0]
            error = float(((relative[:, chosen] @ found - ones) ** 2).sum())
            if (found >= 0).all() and error < least - 1e-12:
                best, least = np.zeros(len(names)), error
                best[list(chosen)] = found
    weights = Weights(**{name: float(w) for name, w in zip(names, best / scale, strict=True)})
    errors = [abs(weights.of(a) / c - 1) for a, c in zip(audits, costs, strict=True)]
    return weights, max(errors)
