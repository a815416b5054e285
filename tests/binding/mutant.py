"""What a mutant of the checks of responses is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adversary.mutation import Edit

SAME = "openai/checking:check_same: step: response: {} does not follow from the receipt"


@dataclass(frozen=True)
class Mutant:
    """One check."""

    site: str
    """Where it raises."""
    edit: Edit
    """What removes it."""
    attack: Callable[[], object]
    """What then passes, or makes an error that is no rejection."""
    setup: tuple[Edit, ...] = ()
    """Other checks that also find the attack, and are removed first."""
    escapes: type[Exception] | None = None
    """The error that the attack makes without the check: nobody would blame the node for it."""


def never(module: str, condition: str) -> Edit:
    """``if condition:`` is never true."""
    return Edit(module, f"if {condition}:", "if False:")


def left_out(module: str, call: str) -> Edit:
    """A call that checks is not made."""
    return Edit(module, call, "None")
