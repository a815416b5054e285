"""Modules of PyTorch whose calls can be audited (docs/guides/pytorch.md; extra ``torch``)."""

from proofcompute.modules.calls import attach, openings, wrap
from proofcompute.modules.reporting import ModuleReport

__all__ = ["ModuleReport", "attach", "openings", "wrap"]
