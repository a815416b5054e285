"""Holds what is known of a GGUF file while its network is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofcompute.importers.architecture import Norm
from proofcompute.importers.gguf_families import Family
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_rope import Divisors
from proofcompute.importers.gguf_scan import GgufTensor, Value

__all__ = ["Header", "Reader"]


@dataclass(frozen=True)
class Header:
    """What a file says about its network."""

    architecture: str
    metadata: Mapping[str, Value]
    tensors: Mapping[str, GgufTensor]
    """Name -> tensor."""
    divisors: Divisors
    """The reader of tensors that divide rotary frequencies."""


@dataclass(frozen=True)
class Reader:
    """A file that is being read."""

    header: Header
    fields: Fields
    family: Family
    width: int
    layers: int
    heads: int
    kv_heads: int

    def has(self, name: str, layer: int = 0) -> bool:
        """Return whether a layer has a tensor."""
        return f"blk.{layer}.{name}" in self.header.tensors

    def norm(self, tensor: str) -> Norm:
        """Return the kind of a norm with the tensor's name, whole."""
        layer = self.family.norm == "layer"
        eps = "attention.layer_norm_epsilon" if layer else "attention.layer_norm_rms_epsilon"
        bias = layer and f"{tensor}.bias" in self.header.tensors
        return Norm(self.family.norm, self.fields.positive(eps), bias=bias)
