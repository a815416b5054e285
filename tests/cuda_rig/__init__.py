"""The rig: the ``.cu`` files compiled by g++ and run on the CPU, and a device made of them."""

from cuda_rig.build import ROOT, build, sources, why_not
from cuda_rig.device import EmulatedDevice

__all__ = ["ROOT", "EmulatedDevice", "build", "sources", "why_not"]
