"""Publishes a large model: time, memory, and continuing after an interruption.

Run ``python -m benchmarks.scale.publish``, a process of its own, because peak memory is that of a whole
process. With ``--weights`` only the first so many weights are processed (an embedding comes first, which is
read and not coded, then the blocks). The codes are those of the whole model, so their digests take the memory
that those of all weights take, and the time grows with the weights that are coded.

With ``--keep DIR`` the files stay, and the next call goes on from them: a large model is published in pieces,
whenever there is time for one, and the figures of all pieces are summed up in ``DIR/pieces.jsonl``.
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
from typing import Any

from benchmarks.cost.shapes import MODELS
from benchmarks.scale.key import Interrupted, Reader
from benchmarks.scale.models import Synthetic
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.commitments.hashing import DIGEST
from proofcompute.models.card import ModelCard
from proofcompute.public.layout import Layout
from proofcompute.public.publishing import RHO, write_published
from proofcompute.public.store import codes_head, codes_path

__all__ = ["publishing_of"]


def publishing_of(model: str, weights: int | None = None, keep: Path | None = None) -> dict[str, object]:
    """Publish a model, or its first weights only, with an interruption in the middle of what is left to do.

    The files are in the directory ``keep``, which may have those of an earlier call, or in a temporary one.
    """
    with tempfile.TemporaryDirectory() as directory:
        return _publishing_of(model, weights, keep or Path(directory))


def _publishing_of(model: str, weights: int | None, directory: Path) -> dict[str, object]:
    kernels = kernels_for("cpu")
    start = time.perf_counter()
    synthetic = Synthetic(MODELS[model], "w8a16", kernels)
    specs = synthetic.program.weights
    _identify(synthetic, directory / "roots")
    identifying = time.perf_counter() - start
    at, log = directory / "public", directory / "pieces.jsonl"
    known = codes_head(codes_path(at))[2] if codes_path(at).exists() else 0
    count = len(specs) if weights is None else min(weights, len(specs))
    if known >= count:
        raise SystemExit(f"{at}: {known} weights are coded already")
    middle = specs[(known + count) // 2].name
    end = None if count == len(specs) else specs[count].name
    before, start = time.process_time(), time.perf_counter()
    readers = [Reader(synthetic, middle), Reader(synthetic, end)]
    for reader in readers:
        with suppress(Interrupted):
            write_published(reader, kernels, at)
    taken, worked = time.perf_counter() - start, time.process_time() - before
    coded = codes_head(codes_path(at))[2]
    assert coded == count == known + sum(reader.asked for reader in readers)
    made = sum(reader.seconds for reader in readers)
    layout = Layout.of(synthetic.program, RHO)
    sizes = {s.name: sum(p.m * p.d for p in layout.of_weight(s.name)) for s in specs}
    piece = {
        "weights": [known, count],
        "coded_bytes": sum(sizes[s.name] for s in specs[known:count]),
        "seconds": taken - made,
        "process_seconds": worked,
        "seconds_of_making_weights": made,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    with log.open("a") as stream:
        stream.write(json.dumps(piece) + "\n")
    return {
        "model": model,
        "of_weights": len(specs),
        **_summed([json.loads(line) for line in log.read_text().splitlines()], sum(sizes.values())),
        "digest_bytes": codes_path(at).stat().st_size,
        "seconds_of_hashing_the_model": identifying,
        "read_twice_after_interruption": known + sum(reader.asked for reader in readers) - count,
    }


def _identify(synthetic: Synthetic, path: Path) -> None:
    """Hash all weights, which takes a while, or read what an earlier call has found."""
    specs = synthetic.program.weights
    if path.exists():
        data = path.read_bytes()
        assert len(data) == DIGEST * len(specs)
        roots = tuple(data[i : i + DIGEST] for i in range(0, len(data), DIGEST))
        synthetic.card = ModelCard(synthetic.program, b"", "", roots)
    path.write_bytes(b"".join(synthetic.card.root_of[s.name] for s in specs))


def _summed(pieces: list[dict[str, Any]], whole: int) -> dict[str, object]:
    """Return the figures of all pieces together."""
    seconds, part = sum(p["seconds"] for p in pieces), sum(p["coded_bytes"] for p in pieces)
    return {
        "weights": pieces[-1]["weights"][1],
        "pieces": len(pieces),
        "coded_bytes": part,
        "coded_bytes_of_all": whole,
        "seconds": seconds,
        "process_seconds": sum(p["process_seconds"] for p in pieces),
        "seconds_of_making_weights": sum(p["seconds_of_making_weights"] for p in pieces),
        "seconds_for_all": seconds * whole / part if part else None,
        "peak_memory_bytes": max(p["peak_memory_bytes"] for p in pieces),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="Llama-3.1-8B", choices=[*MODELS])
    parser.add_argument("--weights", type=int, help="code only so many weights, the first ones")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="go on from the files in this directory")
    args = parser.parse_args()
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    print(json.dumps(publishing_of(args.model, args.weights, args.keep)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
