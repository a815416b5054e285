"""Collects the operators of ONNX that can be lowered."""

from __future__ import annotations

from proofcompute.importers.onnx import elements, networks, shapes
from proofcompute.importers.onnx.calls import OPERATORS

__all__ = ["OPERATORS"]

_ = (elements, networks, shapes)  # importing them fills the table
