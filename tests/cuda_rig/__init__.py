"""Implements the rig: ``.cu`` files that g++ compiles and the CPU runs, and a device made of them."""

from cuda_rig.build import ROOT, build, sources, why_not
from cuda_rig.device import EmulatedDevice

__all__ = ["ROOT", "EmulatedDevice", "build", "sources", "why_not"]
