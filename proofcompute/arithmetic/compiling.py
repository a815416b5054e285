"""Who is told that machine code is being made, since a person waits for it for a minute or two.

A command shows it (:mod:`proofcompute.cli.progress`). Where nobody watches, as in a program that uses the
library, the first kernel that is compiled is a warning of the logger ``proofcompute``; each one is an
information.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__all__ = ["Watcher", "compiling", "watching"]

Watcher = Callable[[str, int], AbstractContextManager[None]]
"""Gets the name of what is compiled, and how many kernels are not compiled yet, this one included; the least
number that will do may be smaller. What it returns is entered while the compiler works."""

_watchers: list[Watcher] = []
_said: list[str] = []
"""The first kernel that was compiled while nobody watched."""


@contextmanager
def compiling(name: str, left: int) -> Iterator[None]:
    """Around the compilation of one kernel."""
    import logging  # only here: a process that compiles nothing need not load it

    log = logging.getLogger("proofcompute")
    if not _watchers and not _said:
        _said.append(name)
        log.warning(
            "compiling kernels for this machine, at most %d; this takes a minute or two, once "
            "(proofcompute.warm_up() does it ahead)",
            left,
        )
    log.info("compiling %s, at most %d left", name, left)
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
