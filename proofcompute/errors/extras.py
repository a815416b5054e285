"""What a base install leaves out: packages that verifying does not need, and what to install for the rest."""

from __future__ import annotations

from typing import Final

from proofcompute.errors import UnsupportedError

__all__ = ["EXTRA_OF", "install", "lacking"]

EXTRA_OF: Final = {"gguf": "models", "jinja2": "models", "numba": "jit", "tokenizers": "models"}
"""The extra that brings a package."""


def install(package: str) -> str:
    """What to type to get a package."""
    return f"pip install 'proofcompute[{EXTRA_OF[package]}]'"


def lacking(error: ModuleNotFoundError, what: str) -> Exception:
    """What to raise when an import failed: an UnsupportedError that says what to install for ``what``.

    An import that failed for another reason stays what it is.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return error
    return UnsupportedError(f"{what} takes {package}, which is not installed: {install(package)}")
