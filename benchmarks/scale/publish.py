"""Publishes a large model: time, memory, and continuing after an interruption.

Run ``python -m benchmarks.scale.publish``, a process of its own, because peak memory is that of a whole
process. With ``--weights`` only the first so many weights are processed (an embedding comes first, which is
read and not coded, then the blocks). The codes are those of the whole model, so their digests take the memory
that those of all weights take, and the time grows with the weights that are coded.
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
from benchmarks.scale.key import Interrupted, Reader
from benchmarks.scale.models import Synthetic
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.public.layout import Layout
from proofcompute.public.publishing import RHO, write_published
from proofcompute.public.store import codes_head, codes_path

__all__ = ["publishing_of"]


def publishing_of(model: str, weights: int | None = None, keep: Path | None = None) -> dict[str, object]:
    """Publish a model, with an interruption in the middle; or its first weights only.

    The files are written to the directory ``keep``, which must have none of them, or to a temporary one.
    """
    kernels = kernels_for("cpu")
    start = time.perf_counter()
    synthetic = Synthetic(MODELS[model], "w8a16", kernels)
    specs = synthetic.program.weights
    _ = synthetic.card
    identifying = time.perf_counter() - start
    count = len(specs) if weights is None else min(weights, len(specs))
    middle = specs[count // 2].name
    end = None if count == len(specs) else specs[count].name
    with tempfile.TemporaryDirectory() as directory:
        at = (keep or Path(directory)) / "public"
        assert not codes_path(at).exists()
        before = time.process_time()
        start = time.perf_counter()
        readers = [Reader(synthetic, middle), Reader(synthetic, end)]
        for reader in readers:
            with suppress(Interrupted):
                write_published(reader, kernels, at)
        taken, worked = time.perf_counter() - start, time.process_time() - before
        coded = codes_head(codes_path(at))[2]
        assert coded == count == sum(reader.asked for reader in readers)
        digests = codes_path(at).stat().st_size
    made = sum(reader.seconds for reader in readers)
    planes = Layout.of(synthetic.program, RHO).planes
    done = {s.name for s in specs[:count]}
    part = sum(p.m * p.d for p in planes if p.weight in done)
    whole = sum(p.m * p.d for p in planes)
    return {
        "model": model,
        "weights": count,
        "coded_bytes": part,
        "coded_bytes_of_all": whole,
        "digest_bytes": digests,
        "seconds": taken - made,
        "process_seconds": worked,
        "seconds_of_making_weights": made,
        "seconds_of_hashing_the_model": identifying,
        "seconds_for_all": (taken - made) * whole / part,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "read_twice_after_interruption": sum(reader.asked for reader in readers) - count,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="Llama-3.1-8B", choices=[*MODELS])
    parser.add_argument("--weights", type=int, help="code only so many weights, the first ones")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files in this directory")
    args = parser.parse_args()
    print(json.dumps(publishing_of(args.model, args.weights, args.keep)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
