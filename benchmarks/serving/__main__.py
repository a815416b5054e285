"""Measure a node as a service beside other servers: `python -m benchmarks.serving -o DIR`.

It measures in parts, writes serving.json after each, and takes about ten minutes and the time of the soak.
Started again, it keeps the parts that were measured on this machine with the same code and settings, and
measures the others. A server that is not installed is reported as missing. A part holds all systems that are
compared in it, and is measured as a whole, so that its ratios belong to one run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import UNUSABLE, directory, entry, positive, say, warn
from benchmarks.serving import speed
from benchmarks.serving.bench import Bench, Plan
from benchmarks.serving.client import client
from benchmarks.serving.delay import delay
from benchmarks.serving.flood import flood
from benchmarks.serving.opening import opening
from benchmarks.serving.peers import Wanted
from benchmarks.serving.prepare import prepare
from benchmarks.serving.record import FILE, PARTS, Record, conditions
from benchmarks.serving.soak import soak
from benchmarks.serving.whole import whole
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench.busy import Watch, load
from proofcompute.errors import InputError, ProofcomputeError

Measure = Callable[[Bench], list[dict[str, Any]]]

MEASURES: dict[str, Measure] = {
    "engine": lambda bench: bench.engines().speeds(bench.plan.counts, bench.plan.rounds),
    "receipts": lambda bench: bench.engines().receipts(2 * bench.plan.rounds),
    "loops": speed.closed_loops,
    "bursts": speed.bursts,
    "prefixes": speed.prefixes,
    "delay": delay,
    "opening": opening,
    "whole": lambda bench: whole(bench.load(), kernels_for("cpu"), bench.plan.rounds),
    "client": client,
    "flood": flood,
    "soak": soak,
}
"""Functions by the names of :data:`PARTS`."""


def _options(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help=f"directory of {FILE}")
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="a part; may be repeated; the others stay as they are"
    )
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument("--rounds", type=positive, default=3, help="of each part (default %(default)s)")
    parser.add_argument(
        "--seconds", type=positive, default=600, help="length of the soak (default %(default)s)"
    )
    parser.add_argument("--llama-server", metavar="PATH", help="llama.cpp's server; default: on PATH")
    parser.add_argument(
        "--llama-batched-bench", metavar="PATH", help="llama.cpp's benchmark of batches; default: on PATH"
    )
    parser.add_argument(
        "--llama-python", metavar="PATH", help="an interpreter with llama-cpp-python[server]; default: this"
    )
    parser.add_argument("--note", default="", help="a remark about the machine, kept in the results")
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    parser, options = _options(argv)
    try:
        record = Record(directory(parser, options.output) / FILE)
    except InputError as e:
        parser.error(str(e))
    kernels, plan = kernels_for("cpu"), Plan(rounds=options.rounds, soak=options.seconds)
    asked = [part for part in PARTS if not options.only or part in options.only]
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        bench: Bench | None = None
        for number, part in enumerate(asked, 1):
            under, at = conditions(kernels, plan.settings(part)), f"{number}/{len(asked)} {part}"
            if record.has(part, under) and not options.again:
                say(f"{at}: measured already, kept (--again measures it anew)")
                continue
            if bench is None:
                wanted = Wanted(options.llama_server, options.llama_batched_bench, options.llama_python)
                bench = prepare(Path(folder), plan, wanted)
            say(f"{at} ...")
            before, watch = load(), Watch()
            warn(before, f"before {part}")
            try:
                rows = MEASURES[part](bench)
            except ProofcomputeError as e:
                say(f"  failed: {type(e).__name__}: {e}")
                failed.append(part)
                continue
            during, after = watch.busy(), load()
            others = max(x.others for x in (before, during, after) if x is not None)
            record.put(part, rows, under, others, options.note)
            for row in rows:
                if row.get("status", "measured") != "measured":
                    say(f"  {row['system']}: {row['status']}: {row['reason']}")
    if failed:
        say(f"not measured: {', '.join(failed)}; run the command again")
    else:
        say(f"wrote {record.path}")
    return UNUSABLE if failed else 0


if __name__ == "__main__":
    sys.exit(entry(main))
