"""Shows results as tables, the same on a terminal and, through ``benchmarks.page``, in the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from proofcompute.bench.timing import ratios, spread
from proofcompute.freivalds.soundness import shown

__all__ = ["Table", "between", "percent", "size", "tables", "time"]


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading."""

    title: str
    text: str
    """An explanation of the columns."""
    command: str
    """The command that measures it again; may be empty."""
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> Iterator[str]:
        """Yield the lines of a section of a page; none without rows."""
        if not self.rows:
            return
        yield from (f"## {self.title}", "", self.text, "")
        yield from (f"| {' | '.join(self.head)} |", "|---" * len(self.head) + "|")
        for row in self.rows:
            cells = [cell.replace("|", "\\|") for cell in row]
            yield f"| {' | '.join(cells)} |"
        yield from ("", *([f"`{self.command}`", ""] if self.command else []))

    def plain(self) -> Iterator[str]:
        """Yield aligned lines for a terminal; none without rows."""
        if not self.rows:
            return
        yield from ("", f"{self.title}:")
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        for first, *others in (self.head, *self.rows):
            cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
            yield "  ".join((f"{first:<{widths[0]}}", *cells))


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """Yield a table for each sweep of ``results.json``; the table of a sweep that was not run has no rows."""
    for section, form in _FORMS.items():
        rows = results[section]
        on = f"Model: {rows[0]['model']}. " if rows and section in ("suites", "columns", "budgets") else ""
        yield Table(
            form.title,
            (on + form.text).strip(),
            f"proofcompute bench --sections {section} -o DIR",
            form.head,
            [form.cells(x) for x in rows],
        )


def between(below: Sequence[float], above: Sequence[float]) -> str:
    """Return the quartiles of a ratio over its rounds, in brackets."""
    found = spread(ratios(below, above))
    return f" ({percent(found['q1'], unit=False)}-{percent(found['q3'], unit=False)})"


def percent(share: float, *, unit: bool = True) -> str:
    """Return a share of one as a percentage."""
    return (f"{100 * share:.1f}" if share < 1 else f"{100 * share:.0f}") + " %" * unit


def size(n: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KB", "MB"):
        if n < 1_000:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1_000
    return f"{n:.1f} GB"


def time(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _slope(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _costs(x: dict[str, Any]) -> tuple[str, str, str]:
    r = x["rounds"]
    return (
        percent(x["commit_overhead"]) + between(r["run"], r["commit"]),
        percent(x["commit_overhead_prefill"]) + between(r["prefill"], r["commit prefill"]),
        _verify(x),
    )


def _verify(x: dict[str, Any]) -> str:
    return percent(x["verify_over_execute"]) + between(x["rounds"]["run beside"], x["rounds"]["verify"])


@dataclass(frozen=True)
class _Form:
    """The layout of a sweep's table."""

    title: str
    text: str
    head: tuple[str, ...]
    cells: Callable[[dict[str, Any]], tuple[str, ...]]


_COSTS = ("commit", "commit, prefill", "verify all")
_FORMS = {
    "sizes": _Form(
        "Models and precisions",
        "Requests on decoders with random int8 weights, on the demo model or on a model of the caller's own, "
        "with a key of two columns. Tokens: of the prompt, and generated. Committing: hashing the trace and "
        "signing, over running the same request. Verifying: all cells, over running. In brackets, the "
        "quartiles of the rounds.",
        ("model", "weights", "tokens", "prefill/s", "decode/s", *_COSTS, "opening of all", "key"),
        lambda x: (
            f"{x['model']} {x['precision']}",
            f"{x['weights'] / 1e6:,.1f} M",
            f"{x['prompt']}+{x['tokens']}",
            f"{x['prefill_tokens_per_second']:,.0f}",
            f"{x['decode_tokens_per_second']:,.0f}",
            *_costs(x),
            size(x["opening_bytes"]),
            size(x["key_bytes"]),
        ),
    ),
    "suites": _Form("Hash suites", "", ("suite", *_COSTS), lambda x: (x["suite"], *_costs(x))),
    "columns": _Form(
        "Freivalds columns",
        "Soundness of the product checks of a first verification; that nobody finds a collision of the "
        "hash is assumed besides.",
        ("k", "soundness", "key", "key made in", "verify all"),
        lambda x: (
            f"{x['columns']}",
            shown(x["soundness_bits"]),
            size(x["key_bytes"]),
            time(x["keygen_seconds"]),
            _verify(x),
        ),
    ),
    "budgets": _Form(
        "Audit budgets: detection against cost",
        "Uniform cells of one row: a draw of few may hold cells that are far smaller than the mean. The last "
        "line asks for every cell, in ranges.",
        (
            "cells",
            "of",
            "opening",
            "a cell",
            "cost / running",
            "finds one",
            *(f"{n} % altered" for n in (1, 10, 50)),
        ),
        lambda x: (
            f"{x['cells']}",
            f"{x['total']}",
            size(x["opening_bytes"]),
            size(x["opening_bytes"] / x["cells"]),
            _verify(x),
            *(f"{x[f'detects_{what}']:.3f}" for what in ("one", "1_percent", "10_percent", "50_percent")),
        ),
    ),
    "scaling": _Form(
        "How verification grows",
        "Slopes of log time over log size (least squares); beside each the slope of the multiplications that "
        "the design's formula counts at the same sizes. The formula leaves out hashing, decoding and the "
        "fixed cost of a call, so small sizes pull the measured slope down; *at the end* is the slope "
        "between the two largest sizes.",
        ("size", "from .. to", "verify", "formula", "at the end", "formula", "running", "formula"),
        lambda x: (
            x["name"],
            f"{x['sizes'][0]:,} .. {x['sizes'][-1]:,} ({len(x['sizes'])})",
            _slope(x["verify_exponent"]),
            _slope(x["formula_exponent"]),
            _slope(x["tail_exponent"]),
            _slope(x["formula_tail_exponent"]),
            _slope(x["execute_exponent"]),
            _slope(x["execute_formula_exponent"]),
        ),
    ),
}
