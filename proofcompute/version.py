"""The version of this library, in a module of its own so that every layer can read it."""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
