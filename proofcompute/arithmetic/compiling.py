"""Who is told that machine code is being made, since a person waits for it for a minute or two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__all__ = ["Watcher", "compiling", "watching"]

Watcher = Callable[[str, int], AbstractContextManager[None]]
"""Gets the name of what is compiled, and how many kernels are not compiled yet, this one included; the least
number that will do may be smaller. What it returns is entered while the compiler works."""

_watchers: list[Watcher] = []


@contextmanager
def compiling(name: str, left: int) -> Iterator[None]:
    """Around the compilation of one kernel."""
    with ExitStack() as stack:
        for watcher in tuple(_watchers):
            stack.enter_context(watcher(name, left))
        yield


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of everything that this process compiles until the block ends."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
