"""Writes docs/benchmarks.md from the JSON of `proofcompute bench` and `python -m benchmarks.peers`.

Run `python -m benchmarks.page`; `--help` lists its files. All figures of the page are in the two files,
except those that others publish.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import entry, file, read_json, say
from benchmarks.losses import losses
from benchmarks.peers.record import SCHEMA as PEERS_SCHEMA
from benchmarks.peers.tables import comparisons, published
from proofcompute.bench.busy import QUIET, STOLEN
from proofcompute.bench.results import SCHEMA as RESULTS_SCHEMA
from proofcompute.bench.results import SECTIONS
from proofcompute.bench.tables import tables
from proofcompute.encoding.files import write_atomic

__all__ = ["DATA", "PAGE", "page"]

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"


def page(results: dict[str, Any], peers: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    parts = (_head(results), _sweeps(results), _peers(peers), _tail(results, peers))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(results: dict[str, Any]) -> Iterator[str]:
    m = results["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in m["versions"].items())
    cpu = f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}"
    ran = f"{m['backend']} backend, {m['threads']} threads"
    load = results["load"]
    busy = max(load["around"], load["during"]) > QUIET or load["stolen"] > STOLEN
    quiet = "**not quiet: others took part of the cores**" if busy else "quiet then"
    note = f" ({results['note']})" if results["note"] else ""
    yield from (
        "# Benchmarks",
        "",
        "`python -m benchmarks.page` made this page from [results.json](benchmarks/results.json) and",
        "[peers.json](benchmarks/peers.json); do not edit it. Larger models have [a page](scale.md).",
        "",
        f"Machine of the sweeps: {cpu}; {ran}; BLAS {m['blas']}; {versions}.",
        f"Cores kept busy by others just before or after all steps: {load['around']}; during one:",
        f"{load['during']} at most; taken by the host: {load['stolen']}; {quiet}{note}.",
        "",
        f"Figures of the sweeps are medians of {results['settings']['rounds']} rounds; the file keeps every",
        "round. Both sides of a ratio ran in turn in one process, or are phases of one and the same run;",
        "compilation is excluded. Times on a shared machine move by a factor of two, so read ratios. No",
        "figure for a GPU is given.",
        "",
    )


def _sweeps(results: dict[str, Any]) -> Iterator[str]:
    for table in tables(results):
        yield from table.markdown()
    if results["scaling"]:
        yield from (*(f"- {x['name']}: {x['formula']}." for x in results["scaling"]), "")
    if results["left_out"]:
        yield from (*(f"Left out: {text}." for text in results["left_out"]), "")


def _peers(peers: dict[str, Any]) -> Iterator[str]:
    for table in (*comparisons(peers), published()):
        yield from table.markdown()


def _tail(results: dict[str, Any], peers: dict[str, Any]) -> Iterator[str]:
    yield from ("## Where we lose", "")
    yield from (f"- {text}" for text in losses(results, peers))
    yield from (
        "",
        "## Make this page again",
        "",
        "```console",
        "$ pip install 'proofcompute[bench,peers]'",
        f"$ {results['command'].replace('DIR', 'docs/benchmarks')}",
        f"$ {peers['command'].replace('DIR', 'docs/benchmarks')}",
        "$ python -m benchmarks.page",
        "```",
        "",
        f"The sweeps took {results['seconds']:.0f} s. `proofcompute bench --quick` takes under 20 s once the",
        "kernels are compiled. The comparison is written after each case; started again, it goes on where it",
        "was interrupted.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page",
        description="Write the page of benchmarks from what `proofcompute bench` and "
        "`python -m benchmarks.peers` measured.",
    )
    parser.add_argument("--results", type=Path, default=DATA / "results.json", help="default: %(default)s")
    parser.add_argument("--peers", type=Path, default=DATA / "peers.json", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="the page; default: %(default)s")
    options = parser.parse_args(argv)
    file(parser, options.output)
    results = read_json(parser, options.results, ("settings", "machine", "load", *SECTIONS))
    for path, found, schema in (
        (options.results, results, RESULTS_SCHEMA),
        (options.peers, peers := read_json(parser, options.peers, ("cases",)), PEERS_SCHEMA),
    ):
        if found.get("schema") != schema:
            parser.error(f"{path} is of version {found.get('schema')}, not {schema}; measure again")
    if not results["complete"]:
        parser.error(f"{options.results} is of a run that was interrupted; go on with it first")
    write_atomic(options.output, page(results, peers).encode())
    say(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
