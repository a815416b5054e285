"""Collects the operators of ONNX that can be lowered."""

from __future__ import annotations

from proofcompute.importers.onnx import control, elements, networks, quantised, reductions, shapes, trees
from proofcompute.importers.onnx.calls import OPERATORS

__all__ = ["OPERATORS"]

_ = (control, elements, networks, quantised, reductions, shapes, trees)  # importing them fills the table
