"""Pairs the members of two stacks of matrices as NumPy's ``matmul`` does: leading axes broadcast.

A stack [*lead, r, w] is committed to, opened and hashed as one matrix of all its rows, [prod(lead) r, w]; the
last leading axis runs fastest. Row i n + j of a product of stacks is row j of its member i, [n, m]. That
member is the product of one member of A, [n, d], and one of B, [d, m].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, LimitError
from proofcompute.limits import MAX_RANK, MAX_WIDTH

__all__ = ["MAX_LEAD", "PLAIN", "Stacks"]

MAX_LEAD: Final = MAX_RANK - 2
"""The most leading axes of a stack."""


@final
@dataclass(frozen=True)
class Stacks:
    """The leading axes of A and of B; none where there is one matrix."""

    a: tuple[int, ...] = ()
    b: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for what, lead in (("A", self.a), ("B", self.b)):
            if len(lead) > MAX_LEAD or not all(1 <= size <= MAX_WIDTH for size in lead):
                raise FormatError(
                    f"{what} has leading axes {list(lead)}; there are at most {MAX_LEAD}, of 1 to {MAX_WIDTH}"
                )
        if self.members > MAX_WIDTH:
            raise LimitError(f"a stack of {self.members} products; at most {MAX_WIDTH}")

    @cached_property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the product. Raises FormatError if those of A and B do not broadcast."""
        sizes: list[int] = []
        for i in range(-max(len(self.a), len(self.b)), 0):
            x = self.a[i] if -i <= len(self.a) else 1
            y = self.b[i] if -i <= len(self.b) else 1
            if x != y and 1 not in (x, y):
                raise FormatError(f"leading axes {list(self.a)} and {list(self.b)} do not broadcast")
            sizes.append(max(x, y))
        return tuple(sizes)

    @cached_property
    def members(self) -> int:
        """The number of products."""
        return math.prod(self.lead)

    @property
    def plain(self) -> bool:
        """Whether A and B are single matrices."""
        return not self.a and not self.b

    def pair(self, member: int) -> tuple[int, int]:
        """Return the numbers of the members of A and of B whose product member ``member`` is."""
        index: list[int] = []
        for size in reversed(self.lead):
            member, at = divmod(member, size)
            index.insert(0, at)
        return _number(index, self.a), _number(index, self.b)

    def value(self) -> tuple[wire.Value, ...]:
        """Return the value to encode."""
        return (self.a, self.b)

    @staticmethod
    def from_value(value: wire.Value) -> Stacks:
        """Return the axes in a decoded value; FormatError or LimitError if they are malformed."""
        a, b = (_lead(axes) for axes in wire.as_list(value, "stacks", n=2))
        return Stacks(a, b)


def _number(index: list[int], lead: tuple[int, ...]) -> int:
    """Return the number of the member that an index of the product reads in a stack with axes ``lead``."""
    number = 0
    for at, size in zip(index[len(index) - len(lead) :], lead, strict=True):
        number = number * size + (at if size > 1 else 0)
    return number


def _lead(value: wire.Value) -> tuple[int, ...]:
    axes = wire.as_list(value, "leading axes", max_n=MAX_LEAD)
    return tuple(wire.as_int(size, "leading axis", 1, MAX_WIDTH) for size in axes)


PLAIN: Final = Stacks()
"""Two single matrices."""
