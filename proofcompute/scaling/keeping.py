"""Do work that has no result yet, and keep what comes of each piece once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from proofcompute.scaling.executor import Executor, Failed, Make
from proofcompute.scaling.storage import Store

__all__ = ["kept"]

_T = TypeVar("_T")
_R = TypeVar("_R")


def kept(
    executor: Executor,
    make: Make[_T, _R],
    items: Mapping[str, _T],
    store: Store,
    data: Callable[[_T, _R], bytes],
    devices: Sequence[str],
) -> Iterator[tuple[str, bool | Failed]]:
    """Yield the name of each item that was done, with whether its result was new, or why there is none.

    An item whose name is in the store already is not done. ``data`` makes of an item and its result what is
    kept, in this process.
    """
    left = {name: one for name, one in items.items() if not store.has(name)}
    for name, found in executor.run_on(devices, make, left):
        yield name, found if isinstance(found, Failed) else store.create(name, data(left[name], found))
