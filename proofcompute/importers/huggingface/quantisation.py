"""Checks that weights that are stored quantised are so in one of the two ways that are read.

compressed-tensors W8A8 has int8 weights with a scale for each output row, scale = max|w| / 127.5, and its
activations are quantised row by row while it runs, in the same way. MXFP4, in which gpt-oss is published,
has the weights of experts in blocks of 32 numbers of four bits with a power of two for each block (OCP
Microscaling Formats, version 1.0); they are widened, which is exact. Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.huggingface.config import Config

__all__ = ["Quantisation", "read_quantisation"]


@dataclass(frozen=True)
class Quantisation:
    """How weights are stored that are not stored as floats."""

    kind: str = ""
    """``int8``, ``mxfp4``, or empty if all are floats."""


def read_quantisation(c: Config) -> Quantisation:
    """Read how weights are stored. Raises UnsupportedError, naming the key, for any other scheme."""
    if "quantization_config" in c and "compression_config" in c:
        raise UnsupportedError(f"{c.key('quantization_config')} and compression_config are both given")
    key = "compression_config" if "compression_config" in c else "quantization_config"
    q = c.section(key)
    c.ignore("quantization_config", "compression_config")
    if not q.keys():
        return Quantisation()
    method = q.text("quant_method")
    if method == "mxfp4":
        q.items("modules_to_not_convert")  # which these are, the stored names say
        q.finish()
        return Quantisation("mxfp4")
    if method != "compressed-tensors":
        raise UnsupportedError(
            f"{q.key('quant_method')} is {method[:40]!r}; weights must be stored as floats, as int8 by "
            "compressed-tensors, or as mxfp4"
        )
    q.must("format", "int-quantized")
    q.must("quantization_status", "compressed", "frozen")
    q.must("kv_cache_scheme")
    _empty(q, "sparsity_config")
    _empty(q, "transform_config")
    q.ignore("global_compression_ratio", "version")  # say how it was made
    groups = q.section("config_groups")
    if not groups.keys():
        raise FormatError(f"{q.key('config_groups')} is missing")
    for name in groups.keys():
        _group(groups.section(name))
    q.items("ignore")  # which modules are floats, the stored types say
    q.finish()
    return Quantisation("int8")


def _empty(q: Config, key: str) -> None:
    section = q.section(key)
    section.must("format", "dense")
    for name in ("config_groups", "ignore", "targets", "global_sparsity"):
        section.must(name, {}, [], 0.0)
    section.must("sparsity_structure", "dense", "unstructured")
    section.finish()


def _group(group: Config) -> None:
    targets = group.items("targets") or []
    if targets != ["Linear"]:
        raise UnsupportedError(f"{group.key('targets')} is {str(targets)[:80]}, not ['Linear']")
    group.must("output_activations")
    group.must("format", "int-quantized")
    _scheme(group.section("weights"), "channel", dynamic=False)
    _scheme(group.section("input_activations"), "token", dynamic=True)
    group.finish()


def _scheme(scheme: Config, strategy: str, *, dynamic: bool) -> None:
    if scheme.integer("num_bits") != 8:
        raise UnsupportedError(f"{scheme.key('num_bits')} is {scheme.integer('num_bits')}, not 8")
    for key, value in (("type", "int"), ("strategy", strategy), ("symmetric", True), ("dynamic", dynamic)):
        if key not in scheme:
            raise FormatError(f"{scheme.key(key)} is missing")
        scheme.must(key, value)
    for key in ("group_size", "block_structure", "actorder", "zp_dtype"):
        scheme.must(key)
    scheme.ignore("observer", "observer_kwargs", "scale_dtype")  # say how scales were found, and their type
    scheme.finish()
