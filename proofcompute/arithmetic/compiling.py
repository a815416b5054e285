"""Report that kernels are compiled, because a person may wait a minute or two for it.

A command shows it (:mod:`proofcompute.cli.progress`). Where nothing watches, as in a program that uses the
library, the logger ``proofcompute`` warns of the first kernel that is compiled. It reports every kernel at
level INFO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__all__ = ["Watcher", "compiling", "watching"]

Watcher = Callable[[str, int], AbstractContextManager[None]]
"""A function of the name of a kernel, and of the number of kernels not compiled yet, with this one; not all
of them may be needed. The context that it returns is entered while the compiler works."""

_watchers: list[Watcher] = []
_said: list[str] = []
"""The first kernel that was compiled while nobody watched."""


@contextmanager
def compiling(name: str, left: int) -> Iterator[None]:
    """Report the compilation of one kernel, which is done in the block."""
    import logging  # imported here, because a process that compiles nothing need not load it

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
