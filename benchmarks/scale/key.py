"""Makes the key of a large model: time, memory, and continuing after an interruption.

Run ``python -m benchmarks.scale.key``, a process of its own, because peak memory is that of a whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.cost.shapes import MODELS
from benchmarks.scale.models import Synthetic
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.models.card import ModelCard, Weight
from proofcompute.verifier import Key, write_key

__all__ = ["Interrupted", "Reader", "key_of"]

SEED = bytes([7] * 32)


class Interrupted(Exception):
    """The process was stopped."""


class Reader:
    """Counts the seconds of making weights, and stops before one of them."""

    def __init__(self, model: Synthetic, stop: str | None = None) -> None:
        self.model, self.stop, self.seconds, self.asked = model, stop, 0.0, 0

    @property
    def card(self) -> ModelCard:
        return self.model.card

    def weight(self, name: str) -> Weight:
        if name == self.stop:
            raise Interrupted
        start = time.perf_counter()
        weight = self.model.weight(name)
        self.seconds += time.perf_counter() - start
        self.asked += 1
        return weight


def key_of(model: str, columns: int = 2) -> dict[str, object]:
    """Make a model's key at once, and once more with an interruption in the middle."""
    kernels = kernels_for("cpu")
    start = time.perf_counter()
    synthetic = Synthetic(MODELS[model], "w8a16", kernels)
    specs = synthetic.program.weights
    _ = synthetic.card
    identifying = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as directory:
        with suppress(Interrupted):  # compile what has to be
            write_key(
                Reader(synthetic, specs[2].name), kernels, Path(directory) / "compiled", columns=columns
            )
        whole = Reader(synthetic)
        at = Path(directory) / "key"
        start = time.perf_counter()
        write_key(whole, kernels, at, columns=columns, seed=SEED)
        making = time.perf_counter() - start
        nbytes = at.stat().st_size
        other = Path(directory) / "interrupted"
        stopped = Reader(synthetic, specs[len(specs) // 2].name)
        with suppress(Interrupted):
            write_key(stopped, kernels, other, columns=columns, seed=SEED)
        rest = Reader(synthetic)
        write_key(rest, kernels, other, columns=columns, seed=SEED)
        assert stopped.asked + rest.asked == whole.asked == len(specs)
        assert other.read_bytes() == at.read_bytes()
        assert Key.load(at).model_id == synthetic.card.model_id
    return {
        "model": model,
        "columns": columns,
        "weight_bytes": sum(s.rows * s.row_bytes for s in specs),
        "key_bytes": nbytes,
        "seconds": making,
        "seconds_of_making_weights": whole.seconds,
        "seconds_of_hashing_the_model": identifying,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "made_twice_after_interruption": stopped.asked + rest.asked - whole.asked,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="Llama-3.1-8B", choices=[*MODELS])
    parser.add_argument("--columns", type=int, default=2)
    args = parser.parse_args()
    print(json.dumps(key_of(args.model, args.columns)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
