"""The error tree, checks of callers' arguments, missing packages, and secrets kept out of errors."""

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
