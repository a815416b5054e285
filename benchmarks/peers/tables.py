"""Shows the comparison with other systems as tables. Ratios stay within one case, so within one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.cases import CASES
from benchmarks.peers.field import FIELD, FieldTable
from benchmarks.peers.published import PUBLISHED
from proofcompute.bench.busy import QUIET
from proofcompute.bench.tables import Table, size, time

__all__ = ["FORMS", "comparisons", "differ", "published"]

_COMMAND = "python -m benchmarks.peers -o DIR --only {}"
_PACKAGES = {"ours": "proofcompute", "llama.cpp": "llama-cpp-python"}
"""Packages of systems whose package has another name."""


@dataclass(frozen=True)
class Form:
    """The layout of the cases of one kind."""

    title: str
    text: str
    system: str
    """The system of these cases, which `--only` takes."""
    head: tuple[str, ...]
    columns: tuple[tuple[str, Callable[[Any], str]], ...]
    """Names of figures and how they are written, for the columns after those that name a row."""


FORMS = {
    "proof": Form(
        "Beside a zero-knowledge prover",
        "The same weights, as a hand-built program for us and as an ONNX file for EZKL. The guarantees "
        "differ: EZKL's proof convinces anybody, is zero-knowledge and needs no secret; ours convinces the "
        "holder of a secret key, hides nothing, and its size grows with the work. Set-up of EZKL leaves out "
        "its universal parameters. A rerun is the network in float32 NumPy, "
        "in turn with ours.",
        "ezkl",
        ("network", "system", "set-up", "prove", "verify", "proof", "prover's key", "peak memory", "a rerun"),
        (
            ("setup_seconds", time),
            ("prove_seconds", time),
            ("verify_seconds", time),
            ("proof_bytes", size),
            ("prover_key_bytes", size),
            ("peak_memory_bytes", size),
            ("native_seconds", time),
        ),
    ),
    "engine": Form(
        "Beside an inference engine",
        "llama.cpp proves nothing; the comparison is of speed, with sampling and committing on our side.",
        "llama.cpp",
        ("engine", "prefill/s", "decode/s", "prefill / llama.cpp", "decode / llama.cpp"),
        (
            ("prefill_tokens_per_second", "{:,.0f}".format),
            ("decode_tokens_per_second", "{:,.0f}".format),
            ("prefill_over_llama", "{:.2f}".format),
            ("decode_over_llama", "{:.2f}".format),
        ),
    ),
    "fingerprint": Form(
        "Beside a statistical fingerprint",
        "32 tokens of a prompt to the demo model. TOPLOC's verifier recomputes the hidden states first: it "
        "needs the weights and a forward pass, given here as our engine's prefill of these tokens; its "
        "fingerprint covers them all, up to a tolerance. Ours opens cells on demand, and its "
        "verifier holds no weights.",
        "toploc",
        ("system", "build or commit", "open", "verify", "and a forward pass", "bytes"),
        (
            ("build_seconds", time),
            ("open_seconds", time),
            ("verify_seconds", time),
            ("forward_pass_seconds", time),
            ("proof_bytes", size),
        ),
    ),
}
"""Kinds of cases in which systems were measured together, by the names that cases give them."""


def comparisons(p: dict[str, Any]) -> Iterator[Table]:
    """Yield a table for each kind of case, and one of the dates and conditions of measurement."""
    for kind, form in FORMS.items():
        named = kind == "proof"  # the others have one case each
        yield Table(
            form.title,
            form.text,
            _COMMAND.format(form.system),
            form.head,
            [((c["case"],) * named + (_system(c, x), *_cells(x, form.columns))) for c, x in _rows(p, kind)],
        )
    for kind, table in FIELD.items():
        yield _beside(table, _rows(p, kind))
    yield Table(
        "When the comparison was measured",
        f"{_mixed(p)} Others: cores that other processes kept busy meanwhile, or just before or after. "
        "Code: a digest of the sources that were measured.",
        "",
        ("case", "when", "machine", "others", "code", "packages", "note"),
        [
            (
                c["case"],
                c["date"],
                f"{c['machine']['cpu']}, {c['machine']['threads']} threads",
                f"{c['load']}" + ("" if c["load"] <= QUIET else ", **not quiet**"),
                c["code"],
                ", ".join(f"{name} {v}" for name, v in c["packages"].items()),
                c["note"],
            )
            for c in p["cases"]
        ],
    )


def _beside(table: FieldTable, rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> Table:
    """Return rows that others published, followed by our measurements."""
    theirs = [(f.system, f.machine, *f.figures, f.source) for f in table.published]
    ours = [
        (
            f"**{_system(c, x)}**",
            f"{c['machine']['cpu']}, {c['machine']['threads']} threads"
            + ("" if c["load"] <= QUIET else f" (**not quiet**: others used {c['load']} cores)"),
            *_cells(x, table.columns),
            "measured here",
        )
        for c, x in rows
    ]
    head = ("system", "machine", *table.head, "source")
    return Table(table.title, table.text, _COMMAND.format(table.system), head, [*theirs, *ours])


def published() -> Table:
    """Yield what the authors of other systems state."""
    return Table(
        "What others publish",
        "Constants, on their authors' hardware and models; not measured here. Each was found in a copy of "
        "the named source on the day given.",
        "",
        ("system", "guarantee", "prover's overhead", "verifier", "size", "source", "checked"),
        [(x.system, x.guarantee, x.prover, x.verifier, x.size, x.source, x.checked) for x in PUBLISHED],
    )


def differ(p: dict[str, Any]) -> list[str]:
    """Return in what the conditions of the cases differ: machine, code, or the version of a package."""
    found = [what for what in ("machine", "code") if any(c[what] != p["cases"][0][what] for c in p["cases"])]
    versions = {(name, v) for c in p["cases"] for name, v in c["packages"].items()}
    names = [name for name, _ in versions]
    return found + sorted({name for name in names if names.count(name) > 1})


def _mixed(p: dict[str, Any]) -> str:
    """Return whether the cases were measured under the same conditions."""
    missing = [c.name for c in CASES if c.name not in {x["case"] for x in p["cases"]}]
    text = f"Not measured so far: {', '.join(missing)}. " if missing else ""
    different = differ(p)
    if not different:
        return f"{text}All cases ran on one machine, with the same code and versions."
    return (
        f"{text}**The cases come from runs that differ in {', '.join(different)}**: figures compare within a "
        "case, not between cases."
    )


def _rows(p: dict[str, Any], kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(c, x) for c in p["cases"] if c["table"] == kind for x in c["rows"]]


def _system(case: dict[str, Any], x: dict[str, Any]) -> str:
    package = _PACKAGES.get(x["system"], x["system"])
    version = {**case["machine"]["versions"], **case["packages"]}.get(package, "")
    return " ".join(filter(None, (x["system"], version, x.get("what", ""))))


def _cells(x: dict[str, Any], columns: tuple[tuple[str, Callable[[Any], str]], ...]) -> tuple[str, ...]:
    """Return figures, with a dash for a missing one; or the reason why there are none."""
    if x["status"] != "measured":
        return (f"{x['status']}: {x['reason']}", *("" for _ in columns[1:]))
    return tuple(form(x[name]) if x.get(name) else "-" for name, form in columns)
