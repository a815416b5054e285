"""The version of this library: a module of its own, so that any layer may read it."""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
