"""Errors: the tree of them, what callers give, missing packages, and secrets that errors must not show."""

from __future__ import annotations

from proofcompute.errors.tree import (
    Cell,
    DeviceError,
    EmptyRowError,
    ExecutionError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
    ProofcomputeError,
    StorageError,
    UnsupportedError,
    VerificationError,
    about,
)

__all__ = [
    "Cell",
    "DeviceError",
    "EmptyRowError",
    "ExecutionError",
    "FormatError",
    "InputError",
    "LimitError",
    "MismatchError",
    "NonFiniteError",
    "ProofcomputeError",
    "StorageError",
    "UnsupportedError",
    "VerificationError",
    "about",
]
