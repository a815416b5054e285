"""Writes the precision of a model's products as text, so that another import can be given it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from proofcompute.errors import FormatError, InputError
from proofcompute.importers.lowering.graph import Limbs
from proofcompute.limits import MAX_WEIGHTS

__all__ = ["PRECISIONS", "Recipe"]

PRECISIONS: Final = {"w8a8": (1, 1), "w8a16": (2, 1), "w16a16": (2, 2)}
"""Limbs of activations and of weights by the name that says their bits."""
_NAMES: Final = {limbs: word for word, limbs in PRECISIONS.items()}


@dataclass(frozen=True)
class Recipe:
    """How many limbs the activations and the weights of each product have."""

    name: str
    """The precision that was asked for."""
    others: tuple[int, int] = (2, 2)
    """Limbs of the products that are not named."""
    products: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def uniform(precision: str) -> Recipe:
        """Return the recipe of a precision that all products have. Raises InputError if there is none."""
        if precision not in PRECISIONS:
            raise InputError(f"precision {precision!r} is none of {', '.join(PRECISIONS)} and auto")
        return Recipe(precision, PRECISIONS[precision])

    @staticmethod
    def of(name: str, chosen: Mapping[str, tuple[int, int]]) -> Recipe:
        """Return the recipe of what was chosen."""
        return Recipe(name, products={n: limbs for n, limbs in chosen.items() if limbs != (2, 2)})

    @property
    def limbs(self) -> Limbs:
        """The limbs of a product by its name."""
        return lambda name: self.products.get(name, self.others)

    def check(self, products: Iterable[str]) -> None:
        """Raise InputError if the recipe names a product that is none of these."""
        if odd := sorted(set(self.products) - set(products)):
            raise InputError(f"the recipe names {odd[0][:80]!r}, which is no product of this network")

    def text(self) -> str:
        """Return the recipe as JSON; :meth:`from_text` reads it."""
        words = {name: _NAMES[limbs] for name, limbs in self.products.items()}
        fields = {"name": self.name, "others": _NAMES[self.others], "products": words}
        return json.dumps(fields, sort_keys=True)

    @staticmethod
    def from_text(text: str) -> Recipe:
        """Invert :meth:`text`; FormatError if ``text`` is none."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise FormatError("the recipe is not JSON") from e
        if not isinstance(fields, dict) or fields.keys() != {"name", "others", "products"}:
            raise FormatError("a network's recipe has exactly the keys name, others, products")
        name, products = fields["name"], fields["products"]
        if not isinstance(name, str) or not isinstance(products, dict) or len(products) > MAX_WEIGHTS:
            raise FormatError("recipe: name is a text, and products an object")
        found = {key: _limbs(value) for key, value in products.items()}
        return Recipe(name, _limbs(fields["others"]), found)


def _limbs(word: object) -> tuple[int, int]:
    if not isinstance(word, str) or word not in PRECISIONS:
        raise FormatError(f"recipe: {str(word)[:20]!r} is none of {', '.join(PRECISIONS)}")
    return PRECISIONS[word]
