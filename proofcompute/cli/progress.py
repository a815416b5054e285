"""Progress bars, which appear on a terminal only, and lines about long work elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from proofcompute.cli.console import complain

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Advance", "progress", "tell_of_compilation", "tell_of_warnings"]


class Advance(Protocol):
    """A function that moves a progress bar."""

    def __call__(self, steps: int, total: int | None = None) -> None:
        """Move the bar by ``steps``; ``total`` is the number of all steps, once it is known."""
        ...


def _no_bar(steps: int, total: int | None = None) -> None:
    """Do nothing: without a terminal there is no bar."""


_bars: list[Progress] = []
"""The bar that is on the terminal, if any. All tasks share it, because two bars would garble each other."""


def _tenths(title: str, total: int) -> Advance:
    """Print a line for each tenth of the work."""
    done = 0

    def advance(steps: int, total: int | None = total) -> None:
        nonlocal done
        before, done = done, done + steps
        if total and before * 10 // total < (tenths := min(done * 10 // total, 10)):
            complain(f"{title}: {tenths * 10} %")

    return advance


@contextmanager
def progress(title: str, total: int | None = None, *, lines: bool = False) -> Iterator[Advance]:
    """Show a progress bar while the block runs, if standard error is a terminal.

    Elsewhere, where a bar would be noise, ``lines`` prints a line for each tenth of ``total``: for work of
    minutes, about which a log should say how far it is.
    """
    if not sys.stderr.isatty():
        yield _tenths(title, total) if lines and total else _no_bar
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        if not _bars:
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            _bars.append(stack.enter_context(bar))
            stack.callback(_bars.clear)
        bar = _bars[0]
        task = bar.add_task(title, total=total)
        stack.callback(bar.remove_task, task)

        def advance(steps: int, total: int | None = None) -> None:
            bar.update(task, advance=steps, total=total)

        yield advance


@contextmanager
def tell_of_compilation() -> Iterator[None]:
    """Report the kernels that are compiled while the block runs: in a bar on a terminal, else in one line."""
    from proofcompute.arithmetic.compiling import watching

    first = 0

    @contextmanager
    def watch(name: str, left: int) -> Iterator[None]:
        nonlocal first
        if not first and not sys.stderr.isatty():
            complain(f"compiling kernels for this machine, at most {left}; this takes a minute or two, once")
        first = first or left
        with progress(f"compiling {name}, at most {left} left") as advance:
            advance(first - left, first)
            yield

    with watching(watch):
        yield


@contextmanager
def tell_of_warnings() -> Iterator[None]:
    """Print what the library warns of while the block runs, but for what commands report themselves."""
    import logging

    from proofcompute.logs import SERVICES

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complain(record.getMessage())

    log, handler = logging.getLogger("proofcompute"), Handler(logging.WARNING)
    handler.addFilter(lambda record: record.name not in SERVICES)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
