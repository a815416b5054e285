"""Writes docs/scale.md from the JSON of `python -m benchmarks.scale`: `python -m benchmarks.scale.page`.

All figures of the page are in the file, except the goals beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import entry, file, read_json, say
from proofcompute.bench.tables import Table
from proofcompute.encoding.files import write_atomic

__all__ = ["DATA", "PAGE", "PARTS", "page"]

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "docs" / "benchmarks" / "scale.json"
PAGE = ROOT / "docs" / "scale.md"
PARTS = ("key", "bandwidths", "layers", "audits w8a8", "audits w8a16", "commits")
"""Names of the parts, in the order of measurement."""
GOALS = {"product checks of 1 row": 200, "one cell": 50, "all cells": 40}
"""The factor by which checking should be cheaper than computing."""
OF_SUM = {"int32 hints": 0.8, "int8 rows": 0.5, "int8 weights (key)": 0.5}
PER_TOKEN = {1: 8.0, 16: 2.0}
"""Goals in milliseconds, by the number of tokens checked together."""
COMMIT = 0.01
KEY_SECONDS, KEY_MEMORY = 30.0, 2e9
AUDITS = """\
Computing is this package's engine, or the same products in float32 BLAS, in exact chunks of
1,024, where that is faster. Checking a cell includes decoding and hashing its opening.

Product checks of *one* block are timed with cold caches, each right after the products, which an
audit never makes: it goes from one check to the next. That is the row of all *blocks one after the
other*: each block has a key of its own, and the products are those of as many blocks, over weights
of three that are larger than any cache together. With activations of two limbs, a product's hint
has one set of integers where its rows have a few large numbers, as all those audited of the demo
model had, and *two sets* where all numbers are of one size
([0016](adr/0016-limbs-together-in-hints.md))."""


def page(r: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    parts = (_head(r), _key(r["key"]), _bandwidths(r), _layers(r), _audits(r), _commits(r), _again(r))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(r: dict[str, Any]) -> Iterator[str]:
    m = r["machine"]
    note = f" {r['note']}." if r["note"] else ""
    yield from (
        "# Auditing large models",
        "",
        "`python -m benchmarks.scale.page` made this page from [scale.json](benchmarks/scale.json); do not",
        "edit it. Weights are random int8 of the published shapes.",
        "",
        f"Machine: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB; {m['threads']} threads; BLAS",
        f"{m['blas']}. Cores kept busy by others just before or after: {m['load']}.{note} Two columns.",
        f"Both sides of a ratio ran in one process, in turn; medians of {r['rounds']} rounds or more.",
        "",
    )


def _goal(text: str, met: bool) -> str:
    return f"{text}: {'met' if met else '**missed**'}"


def _key(k: dict[str, Any]) -> Iterator[str]:
    seconds, memory = k["seconds"], k["peak_memory_bytes"]
    yield from Table(
        "A key",
        f"{k['model']}, {k['weight_bytes'] / 1e9:.2f} GB of int8 weights, made one tensor at a time, hashed\n"
        "against the model id and folded:",
        "",
        ("key", "time", "of it, making the weights", "peak memory of the process", "goal"),
        [
            (
                f"{k['key_bytes'] / 1e6:.1f} MB",
                f"{seconds:.1f} s",
                f"{k['seconds_of_making_weights']:.1f} s",
                f"{memory / 1e9:.2f} GB",
                _goal("30 s, 2 GB", seconds <= KEY_SECONDS and memory <= KEY_MEMORY),
            )
        ],
    ).markdown()
    yield from (
        f"Interrupted in the middle and taken up again, {k['made_twice_after_interruption']} tensors were",
        "read twice, and the key has the same bytes.",
        "",
    )


def _bandwidths(r: dict[str, Any]) -> Iterator[str]:
    yield from Table(
        "Reading speed of the product checks",
        "A plain parallel Numba sum over the same array is the yardstick.",
        "",
        ("array", "GB/s", "sum, GB/s", "of the sum", "goal", "G elements/s", "best"),
        [
            (
                x["what"],
                f"{x['gigabytes_per_second']:.1f}",
                f"{x['sum_gigabytes_per_second']:.1f}",
                f"{x['of_sum']:.2f}",
                _goal(f"{OF_SUM[x['what']]}", x["of_sum"] >= OF_SUM[x["what"]]),
                f"{x['giga_elements_per_second']:.1f}",
                f"{x['best_giga_elements_per_second']:.1f}",
            )
            for x in r["bandwidths"]
        ],
    ).markdown()


def _layers(r: dict[str, Any]) -> Iterator[str]:
    rows = []
    for x in r["layers"]:
        tokens = int(x["what"].split()[3])
        spent = x["milliseconds_per_token"]
        rows.append(
            (
                x["model"],
                x["what"],
                f"{spent:.2f} ms",
                f"{x['reading_milliseconds_per_token']:.2f} ms",
                _goal(f"{PER_TOKEN[tokens]:.0f} ms", spent <= PER_TOKEN[tokens]),
            )
        )
    yield from Table(
        "Product checks of a whole model",
        "All blocks one after the other, each with columns of its own.",
        "",
        ("model", "what", "a token", "summing the same arrays, one thread", "goal"),
        rows,
    ).markdown()


def _audits(r: dict[str, Any]) -> Iterator[str]:
    rows = []
    for x in (*r["audits w8a8"], *r["audits w8a16"]):
        goal = next((g for name, g in GOALS.items() if x["what"].startswith(name)), None)
        blas = "-" if x["blas_seconds"] is None else _time(x["blas_seconds"])
        rows.append(
            (
                x["model"],
                x["what"],
                _time(x["computing_seconds"]),
                blas,
                _time(x["checking_seconds"]),
                f"1/{1 / x['ratio']:.0f}",
                "-" if goal is None else _goal(f"1/{goal}", x["ratio"] <= 1 / goal),
            )
        )
    yield from Table(
        "One block: checking against computing",
        AUDITS,
        "",
        ("model", "what", "computing", "its products in BLAS", "checking", "ratio", "goal"),
        rows,
    ).markdown()


def _commits(r: dict[str, Any]) -> Iterator[str]:
    yield from Table(
        "What committing adds",
        "On a program of four blocks: hashing the trace and signing, over running it.",
        "",
        ("model", "of", "suite", "running", "committing adds", "goal"),
        [
            (
                x["model"],
                x["of"],
                x["suite"],
                _time(x["seconds"]),
                f"{100 * x['overhead']:.2f} %",
                _goal("1 %", x["overhead"] <= COMMIT) if x["suite"] == "sha256" else "-",
            )
            for x in r["commits"]
        ],
    ).markdown()


def _again(r: dict[str, Any]) -> Iterator[str]:
    yield from (
        "## Make this page again",
        "",
        "```console",
        f"$ {r['command'].replace('DIR', 'docs/benchmarks')}",
        "$ python -m benchmarks.scale.page",
        "```",
        "",
        "The file is written after each part; started again, the command goes on where it was interrupted.",
        "`--part NAME` measures one part anew. `make bench PYTEST_ARGS=benchmarks/test_scale.py` runs all.",
    )


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale.page",
        description="Write the page about large models from what `python -m benchmarks.scale` measured.",
    )
    parser.add_argument("--data", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="the page; default: %(default)s")
    options = parser.parse_args(argv)
    file(parser, options.output)
    found = read_json(parser, options.data, ("machine", *PARTS))
    write_atomic(options.output, page(found).encode())
    say(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
