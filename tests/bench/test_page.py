"""docs/benchmarks.md is what the generator makes of the committed JSON, and what it says follows from it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from benchmarks.losses import losses
from benchmarks.page import DATA, PAGE, page

LARGEST = 64 * 1024


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


@pytest.fixture
def data() -> tuple[dict[str, Any], dict[str, Any]]:
    return load("results.json"), load("peers.json")


def test_the_page_is_made_from_the_committed_json(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert PAGE.read_text("utf-8") == page(*data)


def test_the_committed_json_is_small_and_whole() -> None:
    for name in ("results.json", "peers.json"):
        assert (DATA / name).stat().st_size < LARGEST
        assert load(name)["schema"] == 1
    results = load("results.json")
    assert not results["quick"]
    assert all(results[s] for s in ("sizes", "suites", "columns", "budgets", "scaling"))


def test_every_peer_is_accounted_for(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, peers = data
    assert {r["system"] for r in peers["rows"]} == {"ours", "ezkl", "llama.cpp", "toploc"}
    for row in peers["rows"]:
        assert row["status"] == "measured" or row["reason"]


def test_a_peer_that_failed_is_on_the_page(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    results, peers = data
    for row in peers["rows"]:
        if row["system"] != "ours":
            row.update(status="failed", reason="a | reason")
    text = page(results, peers)
    assert text.count("failed: a \\| reason") == sum(r["system"] != "ours" for r in peers["rows"])


def test_a_busy_machine_is_named(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    results, peers = copy.deepcopy(data)
    for part, busy in ((results, 0.1), (peers, 3.0)):
        part["machine"]["load"] = busy
    text = page(results, peers)
    assert "0.1, quiet then" in text
    assert "3.0, **not quiet" in text


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
    engine = {"engine": "ours", "prefill_over_llama": 0.5, "decode_over_llama": 1.5}
    llama = {"case": "m", "system": "llama.cpp", "status": "measured", "rows": [{}, engine]}
    peers["rows"] = [r for r in peers["rows"] if r["system"] != "llama.cpp"] + [llama]
    slower = [t for t in losses(results, peers) if "llama.cpp" in t]
    assert slower == ["ours: prefill at 0.50 times llama.cpp's speed."]
