"""Counts the steps of a compilation, for whoever shows its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Steps"]


@dataclass
class Steps:
    """Steps that are done, and those that are expected."""

    report: Callable[[int, int], None] = lambda done, total: None
    """Called with (steps done, all steps) after each step."""
    done: int = 0
    total: int = 0

    def expect(self, steps: int) -> None:
        """Note that there will be so many steps more."""
        self.total += steps

    def advance(self) -> None:
        """Report that a step is done."""
        self.done += 1
        self.total = max(self.total, self.done)
        self.report(self.done, self.total)
