"""docs/benchmarks.md is what the generator makes of the committed JSON, and what it says follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.losses import losses
from benchmarks.page import DATA, PAGE, page
from benchmarks.peers.cases import CASES
from benchmarks.peers.tables import FORMS, differ
from proofcompute.bench.busy import QUIET

LARGEST = 64 * 1024


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


@pytest.fixture
def data() -> tuple[dict[str, Any], dict[str, Any]]:
    return load("results.json"), load("peers.json")


def test_the_page_is_made_from_the_committed_json(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert PAGE.read_text("utf-8") == page(*data)


def test_the_committed_json_is_small_and_whole() -> None:
    for name, schema in (("results.json", 2), ("peers.json", 3)):
        assert (DATA / name).stat().st_size < LARGEST
        assert load(name)["schema"] == schema
    results = load("results.json")
    assert results["complete"]
    assert not results["settings"]["quick"]
    assert all(results[s] for s in ("sizes", "suites", "columns", "budgets", "scaling"))


def test_every_peer_is_accounted_for(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, peers = data
    assert [c["case"] for c in peers["cases"]] == [c.name for c in CASES]
    for case in peers["cases"]:
        for row in case["rows"]:
            assert row["status"] == "measured" or row["reason"]


def test_the_committed_comparison_is_quiet(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Where systems were measured side by side; ours alone, beside what others publish, says if not."""
    _, peers = data
    assert all(case["load"] <= QUIET for case in peers["cases"] if case["table"] in FORMS)
    busy = [case for case in peers["cases"] if case["load"] > QUIET]
    assert all("busy" in case["note"] for case in busy)


def test_a_peer_that_failed_is_on_the_page(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    results, peers = data
    failed = 0
    for case in peers["cases"]:
        for row in case["rows"]:
            if row["system"] != "ours":
                row.update(status="failed", reason="a | reason")
                failed += 1
    assert page(results, peers).count("failed: a \\| reason") == failed > 0


def test_a_busy_machine_is_named(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    results, peers = data
    results["load"] = {"around": 0.1, "during": 0.2, "stolen": 0.0}
    for case in peers["cases"]:
        case["load"] = 0.0
    peers["cases"][1]["load"] = 3.0
    text = page(results, peers)
    assert "steps: 0.1; during one:\n0.2 at most; taken by the host: 0.0; quiet then" in text
    assert text.count("3.0, **not quiet**") == 1
    for name in ("around", "during", "stolen"):
        results["load"] = {"around": 0.1, "during": 0.2, "stolen": 0.0, name: 3.0}
        assert "**not quiet: others took part of the cores**" in page(results, peers)


def test_other_conditions_are_named(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, peers = data
    for case in peers["cases"]:
        case.update(code="one", machine=peers["cases"][0]["machine"])
    assert differ(peers) == []
    peers["cases"][1]["code"] = "two"
    peers["cases"][2]["packages"] = {**peers["cases"][2]["packages"], "ezkl": "0"}
    assert differ(peers) == ["code", "ezkl"]
    peers["cases"][-1]["machine"] = {**peers["cases"][-1]["machine"], "cores": 64}
    assert differ(peers) == ["machine", "code", "ezkl"]


def test_losses_follow_from_the_figures(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    results, peers = data
    for row in results["sizes"]:
        row.update(verify_over_execute=0.1, commit_overhead=0.001, commit_overhead_prefill=0.001)
    before = list(losses(results, peers))
    results["sizes"][0].update(verify_over_execute=2.0, commit_overhead=0.5)
    added = [t for t in losses(results, peers) if t not in before]
    assert len(added) == 2
    assert "longer than running" in added[0]
    assert "50.0 %" in added[1]


def test_an_audit_that_costs_more_than_the_whole(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    results, peers = data
    few, *more, every = results["budgets"]
    for row in (few, *more):
        row["verify_over_execute"] = 0.5 * every["verify_over_execute"]
    before = list(losses(results, peers))
    more[0]["verify_over_execute"] = 2 * every["verify_over_execute"]
    (added,) = [t for t in losses(results, peers) if t not in before]
    assert f"{more[0]['cells']} uniform cells" in added
    results["budgets"] = []
    assert added not in list(losses(results, peers))


def lost(data: tuple[dict[str, Any], dict[str, Any]], *rows: dict[str, Any]) -> list[str]:
    """Sentences that follow from one case with these rows, and from no other."""
    results, peers = data
    nothing = list(losses(results, {"cases": []}))
    peers["cases"] = [
        {"case": "c", "table": "proof", "rows": [{"status": "measured", **row} for row in rows]}
    ]
    return [t for t in losses(results, peers) if t not in nothing]


def test_losses_to_an_engine(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    theirs = {"system": "llama.cpp", "what": "q", "prefill_over_llama": 1.0, "decode_over_llama": 1.0}
    ours = {"system": "ours", "what": "w", "prefill_over_llama": 0.5, "decode_over_llama": 1.5}
    assert lost(data, theirs, ours) == ["Ours w: prefill at 0.50 times llama.cpp's speed."]
    assert lost(data, ours) == []  # no ratio without the peer of the same run


def test_losses_to_a_proof(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours = {
        "system": "ours",
        "proof_bytes": 9_000,
        "prove_seconds": 6.0,
        "verify_seconds": 3.0,
        "native_seconds": 1.0,
    }
    theirs = {"system": "ezkl", "proof_bytes": 3_000, "prove_seconds": 9.0, "verify_seconds": 2.0}
    larger, slower, native = lost(data, ours, theirs)
    assert "c (9,000 against 3,000 bytes)" in larger
    assert slower == "EZKL verifies faster: c."
    assert "c 6 and 3 times" in native
    assert lost(data, ours, {**theirs, "status": "failed"}) == []


def test_losses_to_a_fingerprint(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    def row(system: str, what: str, seconds: float, forward: float) -> dict[str, Any]:
        times = dict.fromkeys(("build_seconds", "open_seconds", "verify_seconds"), seconds)
        return {
            "system": system,
            "what": what,
            **times,
            "forward_pass_seconds": forward,
            "proof_bytes": 10**6,
        }

    found = lost(
        data, row("toploc", "t", 1.0, 9.0), row("ours", "some", 1.0, 0.0), row("ours", "all", 20.0, 0.0)
    )
    assert len(found) == 2
    assert found[1].startswith("Opening and verifying all takes 4.0 times")
