"""Modules of PyTorch whose calls can be audited (docs/guides/pytorch.md; extra ``torch``)."""

from proofcompute.modules.calls import wrap
from proofcompute.modules.reporting import ModuleReport

__all__ = ["ModuleReport", "wrap"]
