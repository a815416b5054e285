"""Make loggers for services, which stay silent unless a program sets logging up.

What a person must know while waiting, such as that kernels are compiled, is a warning of another logger below
``proofcompute``; Python prints it even in a program that sets nothing up.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["SERVICES", "service_log", "short"]

SERVICES: Final[set[str]] = set()
"""The names of these loggers, which a command leaves silent, because it prints the same in its own words."""


def service_log(name: str) -> logging.Logger:
    """Return the logger of a module whose records are for services."""
    logger = logging.getLogger(name)
    if name not in SERVICES:
        SERVICES.add(name)
        logger.addHandler(logging.NullHandler())
    return logger


def short(digest: bytes | None) -> str:
    """Return the first 8 bytes of a digest or a public key in hexadecimal, as records show them."""
    return digest[:8].hex() if digest else "unknown"
