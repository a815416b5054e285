"""The comparison with other systems as tables. Ratios stay within one case, so within one run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.peers.cases import CASES, SYSTEMS
from benchmarks.peers.published import PUBLISHED
from proofcompute.bench.tables import Table, size, time

__all__ = ["QUIET", "comparisons", "differ", "published"]

QUIET = 0.5
"""Cores kept busy by other processes up to which the machine counts as quiet."""
_COMMAND = "python -m benchmarks.peers -o DIR --only {}"


def comparisons(p: dict[str, Any]) -> Iterator[Table]:
    """A table for each kind of case, and one that says when and under what each was measured."""
    rows = {s: [(c, x) for c in p["cases"] if s in _parts(c) for x in c["rows"]] for s in SYSTEMS}
    yield Table(
        "Beside a zero-knowledge prover",
        "The same weights, as a hand-built program for us and as an ONNX file for EZKL. The guarantees "
        "differ: EZKL's proof convinces anybody, is zero-knowledge and needs no secret; ours convinces the "
        "holder of a secret key, hides nothing, and its size grows with the work. Set-up of EZKL leaves out "
        "its universal parameters. A rerun is the network in float32 NumPy, "
        "in turn with ours.",
        _COMMAND.format("ezkl"),
        ("network", "system", "set-up", "prove", "verify", "proof", "prover's key", "peak memory", "a rerun"),
        [(c["case"], _system(c, x), *_cells(x, _PROOF)) for c, x in rows["ezkl"]],
    )
    yield Table(
        "Beside an inference engine",
        "llama.cpp proves nothing; the comparison is of speed, with sampling and committing on our side.",
        _COMMAND.format("llama.cpp"),
        ("engine", "prefill/s", "decode/s", "prefill / llama.cpp", "decode / llama.cpp"),
        [(_system(c, x), *_cells(x, _SPEED)) for c, x in rows["llama.cpp"]],
    )
    yield Table(
        "Beside a statistical fingerprint",
        "32 tokens of a prompt to the demo model. TOPLOC's verifier recomputes the hidden states first: it "
        "needs the weights and a forward pass, given here as our engine's prefill of these tokens; its "
        "fingerprint covers them all, up to a tolerance. Ours opens cells on demand, and its "
        "verifier holds no weights.",
        _COMMAND.format("toploc"),
        ("system", "build or commit", "open", "verify", "and a forward pass", "bytes"),
        [(_system(c, x), *_cells(x, _PRINT)) for c, x in rows["toploc"]],
    )
    yield Table(
        "When the comparison was measured",
        f"{_mixed(p)} Others: cores that other processes kept busy just before or after. Code: a digest "
        "of the sources that were measured.",
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


def published() -> Table:
    """What the authors of other systems say."""
    return Table(
        "What others publish",
        "Constants, on their authors' hardware and models; not measured here. Each was found in a copy of "
        "the named source on the day given.",
        "",
        ("system", "guarantee", "prover's overhead", "verifier", "size", "source", "checked"),
        [(x.system, x.guarantee, x.prover, x.verifier, x.size, x.source, x.checked) for x in PUBLISHED],
    )


def differ(p: dict[str, Any]) -> list[str]:
    """In what the conditions of the cases differ: machine, code, or a package of one name."""
    found = [what for what in ("machine", "code") if any(c[what] != p["cases"][0][what] for c in p["cases"])]
    versions = {(name, v) for c in p["cases"] for name, v in c["packages"].items()}
    names = [name for name, _ in versions]
    return found + sorted({name for name in names if names.count(name) > 1})


def _mixed(p: dict[str, Any]) -> str:
    """Whether the cases were measured under the same conditions."""
    missing = [c.name for c in CASES if c.name not in {x["case"] for x in p["cases"]}]
    text = f"Not measured so far: {', '.join(missing)}. " if missing else ""
    different = differ(p)
    if not different:
        return f"{text}All cases ran on one machine, with the same code and versions."
    return (
        f"{text}**The cases come from runs that differ in {', '.join(different)}**: figures compare within a "
        "case, not between cases."
    )


def _parts(case: dict[str, Any]) -> tuple[str, ...]:
    return next(c.parts for c in CASES if c.name == case["case"])


def _system(case: dict[str, Any], x: dict[str, Any]) -> str:
    package = {"ours": "proofcompute", "llama.cpp": "llama-cpp-python"}.get(x["system"], x["system"])
    version = {**case["machine"]["versions"], **case["packages"]}[package]
    return " ".join((x["system"], version, x.get("what", ""))).strip()


_PROOF = (
    ("setup_seconds", time),
    ("prove_seconds", time),
    ("verify_seconds", time),
    ("proof_bytes", size),
    ("prover_key_bytes", size),
    ("peak_memory_bytes", size),
    ("native_seconds", time),
)
_SPEED = (
    ("prefill_tokens_per_second", "{:,.0f}".format),
    ("decode_tokens_per_second", "{:,.0f}".format),
    ("prefill_over_llama", "{:.2f}".format),
    ("decode_over_llama", "{:.2f}".format),
)
_PRINT = (
    ("build_seconds", time),
    ("open_seconds", time),
    ("verify_seconds", time),
    ("forward_pass_seconds", time),
    ("proof_bytes", size),
)


def _cells(x: dict[str, Any], columns: Any) -> tuple[str, ...]:
    """Figures, a dash for nothing; or why there are none."""
    if x["status"] != "measured":
        return (f"{x['status']}: {x['reason']}", *("" for _ in columns[1:]))
    return tuple(form(x[name]) if x.get(name) else "-" for name, form in columns)
