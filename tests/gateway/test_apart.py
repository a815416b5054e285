"""Audits that a process of a lower priority computes: the same verdicts, and none if it died."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from client.standin import KERNELS, model
from gateway.standing import CHAT, asked, gateway, honest, standing
from gateway.test_auditing import audited, cheating, files, proved
from proofcompute.gateway import Gateway
from proofcompute.protocol.bundle import Bundle
from proofcompute.scaling import Standing
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence

__all__ = ["files"]


def process_of(made: Gateway) -> Standing[Any, Any]:
    (held,) = made.auditing._held.values()
    assert held.process is not None
    return held.process


@pytest.mark.parametrize(
    ("by", "cells", "level"),
    [("replay", 16, "fully audited"), ("opening", 16, "sampled"), ("public", 16, "sampled")],
)
def test_a_process_finds_what_threads_find(
    by: str, cells: Any, level: str, files: Path, synchronous: None
) -> None:
    if by == "public":
        nodes = {"north": proved("north"), "south": proved("south", "other weights")}
    else:
        nodes = {"north": honest("north"), "south": cheating("south", "other weights")}
    made = gateway(nodes, models=audited(files, by, cells=cells), apart="numpy", disclose=True)

    async def ask_both() -> None:
        usual = made.fleet.order
        async with standing(made) as ask:
            for name in nodes:
                made.fleet.order = lambda model, n=name: [  # type: ignore[method-assign, misc]
                    m for m in usual(model) if m.name == n
                ]
                assert (await ask(CHAT)).status == 200

    asyncio.run(ask_both())
    cheated, held = made.records.newest(2)
    assert (held.level, cheated.level) == (level, "contradicted")
    north, south = made.fleet.members["north"], made.fleet.members["south"]
    assert (north.state, south.state) == ("asked", "quarantined")
    data = made.books.evidence(south.evidence)
    assert data is not None
    judged = verify_evidence(Bundle.decode(data), model(), kernels=KERNELS)
    assert judged.finding is Finding.CONTRADICTED


def test_a_process_that_dies_gives_no_verdict_and_the_next_one_goes_on(
    files: Path, synchronous: None
) -> None:
    made = gateway({"north": honest("north")}, models=audited(files, "replay"), apart="numpy")
    process = process_of(made)
    left: list[str] = []
    made.auditing._left_out = left.append

    async def ask() -> None:
        async with standing(made) as asking:
            await asking(CHAT)
            before, _ = process._started()
            assert before.pid is not None
            os.kill(before.pid, signal.SIGKILL)
            before.join()
            await asking(CHAT)  # another process does what the first cannot
            after, _ = process._started()
            assert after.pid != before.pid
            process.stop()
            await asking(CHAT)

    asyncio.run(ask())
    assert [record.level for record in made.records.newest(3)] == [
        "receipted",
        "fully audited",
        "fully audited",
    ]
    assert left == ["fault"]


def test_weights_that_cannot_be_read_give_no_verdict(files: Path, tmp_path: Path, synchronous: None) -> None:
    made = gateway({"north": honest("north")}, models=audited(files, "replay"), apart="no such device")
    left: list[str] = []
    made.auditing._left_out = left.append
    (said,) = asked(made, CHAT)
    assert said.status == 200
    assert made.records.newest(1)[0].level == "receipted"
    assert left == ["fault"]
