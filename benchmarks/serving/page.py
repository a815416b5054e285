"""Writes docs/serving.md from the JSON of `python -m benchmarks.serving`.

Run `python -m benchmarks.serving.page`.

All figures of the page are in the file, except the goals beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import entry, file, read_json, say
from benchmarks.serving.record import FILE, PARTS, SCHEMA
from benchmarks.serving.tables import tables
from proofcompute.bench.busy import QUIET
from proofcompute.encoding.files import write_atomic

__all__ = ["DATA", "PAGE", "page"]

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "docs" / "benchmarks" / FILE
PAGE = ROOT / "docs" / "serving.md"


def page(found: dict[str, Any]) -> str:
    """Return the page as Markdown."""
    parts = found["parts"]
    body = (line for table in tables(parts) for line in table.markdown())
    return "\n".join((*_head(parts), *body, *_tail(found))) + "\n"


def _head(parts: dict[str, Any]) -> Iterator[str]:
    missing = [name for name in PARTS if name not in parts]
    machines = [p["machine"] for p in parts.values()]
    m = machines[0]
    yield from (
        "# Serving",
        "",
        f"`python -m benchmarks.serving.page` made this page from [{FILE}](benchmarks/{FILE}); do not edit",
        "it.",
        "",
        "A node as a service: the demo model at w8a16, prompts of 64 tokens and answers of 128, greedy, with",
        "no two prompts that begin alike unless a table says so. Load and server share the cores; the load",
        "takes a few percent of one. Every answer of ours carries a signed receipt, and each of them was",
        "verified, with text and usage, by what a client does that holds the model's card.",
        "",
        f"Machine: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']};",
        f"{m['threads']} threads. Both sides of a ratio ran in turn in one run of the command, and the file",
        "keeps every round. Times on a shared machine move by a factor of two, so read ratios.",
        "",
    )
    if any(other != m for other in machines) or len({p["code"] for p in parts.values()}) > 1:
        yield from ("**Parts differ in machine, versions or code**: compare within a table only.", "")
    if missing:
        yield from (f"Not measured so far: {', '.join(missing)}.", "")
    yield from ("| part | measured | cores that others kept busy | note |", "|---|---|---|---|")
    for name, part in parts.items():
        quiet = f"{part['load']}" + ("" if part["load"] <= QUIET else ", **not quiet**")
        yield f"| {name} | {part['date']} | {quiet} | {part['note']} |"
    yield ""


def _tail(found: dict[str, Any]) -> Iterator[str]:
    yield from (
        "## Make this page again",
        "",
        "```console",
        "$ pip install 'proofcompute[peers]'",
        f"$ {found['command'].replace('DIR', 'docs/benchmarks')}",
        "$ python -m benchmarks.serving.page",
        "```",
        "",
        "The file is written after each part; started again, the command goes on where it was interrupted.",
        "`--only PART` measures one part. Programs of llama.cpp are looked for on `PATH`; `--llama-server`,",
        "`--llama-batched-bench` and `--llama-python` name others.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.page",
        description="Write the page about serving from what `python -m benchmarks.serving` measured.",
    )
    parser.add_argument("--data", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="the page; default: %(default)s")
    options = parser.parse_args(argv)
    file(parser, options.output)
    found = read_json(parser, options.data, ("schema", "parts", "command"))
    if found["schema"] != SCHEMA:
        parser.error(f"{options.data} is of version {found['schema']}, not {SCHEMA}; measure again")
    if not found["parts"]:
        parser.error(f"{options.data} holds no part")
    write_atomic(options.output, page(found).encode())
    say(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(entry(main))
