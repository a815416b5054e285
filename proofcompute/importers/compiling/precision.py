"""Lists the precisions of compiled models, and writes one that was chosen as a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.limits import MAX_WEIGHTS

__all__ = [
    "AUTO",
    "COMPENSATED",
    "NEAREST",
    "PRECISIONS",
    "ROUNDINGS",
    "Precision",
    "check_precision",
]

AUTO: Final = "auto"
"""The name of precisions that are chosen for each matrix."""
NEAREST: Final = "nearest"
COMPENSATED: Final = "compensated"
"""With the errors of other columns in mind (:mod:`.rounding`)."""
ROUNDINGS: Final = (NEAREST, COMPENSATED)


@dataclass(frozen=True)
class Precision:
    """Numbers of limbs of weights and activations.

    The head's activations always have two limbs: the head runs once per generated token, and one limb loses
    more accuracy there than in a whole block.
    """

    name: str
    """The name, such as w8a16."""
    w_limbs: int
    """Limbs of the weights."""
    x_limbs: int
    """Limbs of the activations in the blocks."""
    head_limbs: int = 2
    """Limbs of the head's activations."""
    kv_limbs: int = 1
    """Limbs of queries, keys and values in attention."""
    exact: frozenset[str] = frozenset()
    """Matrices of the program that have two limbs, whatever ``w_limbs`` says."""
    rounding: str = NEAREST
    """How weights of one limb are rounded: one of :data:`ROUNDINGS`. If it is not to the nearest, the head is
    a matrix of its own, since it is rounded for its own inputs."""

    def limbs(self, weight: str) -> int:
        """Return the limbs of a matrix of the program."""
        return 2 if weight in self.exact else self.w_limbs

    def recipe(self) -> str:
        """Return the precision as JSON; :meth:`from_recipe` reads it."""
        fields: dict[str, object] = {key: getattr(self, key) for key in ("name", *_LIMBS)}
        if self.rounding != NEAREST:
            fields["rounding"] = self.rounding
        return json.dumps({**fields, "exact": sorted(self.exact)}, sort_keys=True)

    @staticmethod
    def from_recipe(text: str) -> Precision:
        """Invert :meth:`recipe`; FormatError if ``text`` is none. Names of matrices are not checked here."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise FormatError("the recipe is not JSON") from e
        if not isinstance(fields, dict) or fields.keys() - {"rounding"} != {"name", "exact", *_LIMBS}:
            raise FormatError(
                f"a recipe has exactly the keys name, exact, {', '.join(_LIMBS)}, perhaps rounding"
            )
        rounding = fields.get("rounding", NEAREST)
        if rounding not in ROUNDINGS:
            raise FormatError(f"recipe: rounding is {str(rounding)[:20]}, none of {', '.join(ROUNDINGS)}")
        exact = fields["exact"]
        if not isinstance(exact, list) or len(exact) > MAX_WEIGHTS:
            raise FormatError("recipe: exact is not a list of names of matrices")
        if not all(isinstance(x, str) for x in (fields["name"], *exact)):
            raise FormatError("recipe: name, and each of exact, is a text")
        for key in _LIMBS:
            if type(fields[key]) is not int or fields[key] not in (1, 2):
                raise FormatError(f"recipe: {key} is {str(fields[key])[:20]}, not 1 or 2")
        limbs = {key: int(fields[key]) for key in _LIMBS}
        return Precision(name=fields["name"], exact=frozenset(exact), rounding=rounding, **limbs)


_LIMBS = ("w_limbs", "x_limbs", "head_limbs", "kv_limbs")

PRECISIONS: Mapping[str, Precision] = {
    p.name: p
    for p in (Precision("w8a8", 1, 1), Precision("w8a16", 1, 2), Precision("w16a16", 2, 2, kv_limbs=2))
}
"""Uniform precisions by name."""


def check_precision(precision: str | Precision) -> None:
    """Raise UnsupportedError for a text that is neither ``auto`` nor one of :data:`PRECISIONS`."""
    if isinstance(precision, str) and precision != AUTO and precision not in PRECISIONS:
        raise UnsupportedError(f"precision {precision!r} is none of {AUTO}, {', '.join(PRECISIONS)}")
