"""Define the errors about a parameter of a body."""

from __future__ import annotations

from proofcompute.errors import InputError

__all__ = ["ParameterError", "UnsupportedParameterError"]


class ParameterError(InputError):
    """A parameter has a value of the wrong type or outside its range, or a required one is missing."""

    def __init__(self, param: str, reason: str) -> None:
        self.param = param
        """Where it stands in the body, such as ``messages[0].content``."""
        super().__init__(f"{param}: {reason}")


class UnsupportedParameterError(ParameterError):
    """A parameter asks for something that this version does not do, or it is unknown.

    It is refused, since a receipt would say that the answer was computed as asked.
    """
