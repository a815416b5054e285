"""Lists the models and devices of the tables, and the sources of their figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proofcompute.testing.models import Shape

__all__ = ["GPUS", "LARGER", "MODELS", "Gpu"]


@dataclass(frozen=True)
class Gpu:
    """A device's published peak figures."""

    bandwidth: float
    """Bytes per second."""
    int8: float
    """Dense int8 operations per second on tensor cores; a multiply-add is two."""
    processors: int
    """Streaming multiprocessors."""
    clock: float
    """Boost clock in Hz."""
    memory: float
    """Bytes."""
    cache: float
    """Bytes of the second-level cache."""
    source: str


GPUS: Final = {
    "A100 SXM 80 GB": Gpu(
        2039e9,
        624e12,
        108,
        1.410e9,
        80e9,
        40e6,
        "NVIDIA A100 Tensor Core GPU datasheet (2021); NVIDIA A100 Tensor Core GPU Architecture, table 4",
    ),
    "H100 SXM 80 GB": Gpu(
        3350e9,
        1979e12,
        132,
        1.830e9,
        80e9,
        50e6,
        "NVIDIA H100 Tensor Core GPU datasheet (2023; its figure of 3,958 TOPS is with sparsity); "
        "NVIDIA H100 Tensor Core GPU Architecture, table 3",
    ),
    "RTX 4090": Gpu(
        1008e9, 660.6e12, 128, 2.520e9, 24e9, 72e6, "NVIDIA Ada GPU Architecture (2022), appendix A, table 2"
    ),
}


def _llama(layers: int, width: int, heads: int, kv_heads: int, ffn_width: int) -> Shape:
    """Head size 128, vocabulary 128,256, base 500,000 in all sizes."""
    return Shape(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=128,
        ffn_width=ffn_width,
        context=8192,
        vocabulary=128256,
        rope_base=500000.0,
        interleaved=True,
        tied=False,
    )


MODELS: Final = {
    # the configuration file of HuggingFaceTB/SmolLM2-135M-Instruct
    "SmolLM2-135M": Shape(
        layers=30,
        width=576,
        heads=9,
        kv_heads=3,
        head_dim=64,
        ffn_width=1536,
        context=8192,
        vocabulary=49152,
        rope_base=100000.0,
        interleaved=True,
        tied=True,
    ),
    # "The Llama 3 Herd of Models", arXiv:2407.21783, table 3
    "Llama-3.1-8B": _llama(32, 4096, 32, 8, 14336),
    "Llama-3.1-70B": _llama(80, 8192, 64, 8, 28672),
}

LARGER: Final = {
    # the same table
    "Llama-3.1-405B": _llama(126, 16384, 128, 8, 53248),
}
"""Models without an estimate, because one of the devices above cannot hold their weights."""
