"""Puts kernels that were compiled ahead into a wheel, and says in its name which systems it is for.

``make wheel`` compiles them and names their directory in PROOFCOMPUTE_WHEEL_KERNELS. Without that a wheel
holds Python alone and is for every system, as is what pip builds from a source archive or a checkout.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "PROOFCOMPUTE_WHEEL_KERNELS"
PLACE = "proofcompute/arithmetic/backends/numba/ahead"
TAG = "py3-none-manylinux_2_17_x86_64"
"""The kernels use the C library's functions as of glibc 2.17 at most (``make release`` checks it), and of
Python only functions and structures that all versions in ``requires-python`` share."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's hook of this project."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the kernels to a wheel; to an editable one nothing, as that finds what a checkout has."""
        directory = os.environ.get(VARIABLE)
        if self.target_name != "wheel" or version == "editable" or not directory:
            return
        files = sorted(Path(directory).glob("*.so"))
        if not files:
            raise FileNotFoundError(f"{VARIABLE} is {directory}, where there are no kernels")
        build_data["force_include"].update({str(file): f"{PLACE}/{file.name}" for file in files})
        build_data["pure_python"] = False
        build_data["tag"] = TAG
