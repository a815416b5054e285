"""Times a transformer block of PyTorch beside its wrapped program: ``python -m benchmarks.modules``.

The block runs in float32 and, where PyTorch can, with int8 products (dynamic quantisation); the wrapped
program runs in ``auto``, committing and signing included. All take turns in one process, and the least time
of each counts. ``--processor`` measures the processor time of one thread instead, which says more on a
machine that others use. Needs PyTorch (`make .venv/torch`).
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import proofcompute as pc

__all__ = ["Block", "main"]


class Block(nn.Module):  # type: ignore[misc] # PyTorch has no types here
    """A transformer block: attention and a product of four times the width, with norms in front."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the block makes of tokens [samples, tokens, width]."""
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def _int8(block: nn.Module) -> nn.Module | None:
    """Return the block with int8 products; None if this build of PyTorch has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.ao.quantization.quantize_dynamic(block, {nn.Linear}, dtype=torch.qint8)
        except (AttributeError, RuntimeError, NotImplementedError):
            return None


def main() -> None:
    """Measure, and print the times and their ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", default="auto", help="as for pc.wrap, or a recipe")
    parser.add_argument("--processor", action="store_true", help="processor time of one thread")
    asked = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1 if asked.processor else os.cpu_count() or 1)
    if asked.processor:
        os.environ["NUMBA_NUM_THREADS"] = "1"
    clock = time.process_time if asked.processor else time.perf_counter
    block = Block(asked.width, asked.heads).eval()
    x = torch.randn(asked.batch, asked.tokens, asked.width)
    start = time.perf_counter()
    net = pc.wrap(block, x[:2], precision=asked.precision)
    wrapping = time.perf_counter() - start
    short = _int8(block)
    request = net.request(x)
    runs: dict[str, Callable[[], Any]] = {
        "float32": lambda: block(x),
        "proved": lambda: net.node.answer(request),
        "running": lambda: net.node.run(request),
    }
    if short is not None:
        runs["int8"] = lambda: short(x)
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad():
        for _ in range(asked.rounds):
            for name, run in runs.items():
                start = clock()
                run()
                times[name].append(clock() - start)
    least = {name: min(found) for name, found in times.items()}
    best = min(least["float32"], least.get("int8", float("inf")))
    report = net.report()
    found = {
        "seconds": least,
        "proved_by_float32": least["proved"] / least["float32"],
        "proved_by_faster": least["proved"] / best,
        "wrapping_seconds": wrapping,
        "error": report.error,
        "recipe": net.model.manifest["recipe"],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
