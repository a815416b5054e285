"""kill -9 at random points of a node's work: no receipt is lost, none is false, and no file is left."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from proofcompute.arithmetic.backends import filecache
from proofcompute.arithmetic.backends.numba.codegen.library import library
from proofcompute.arithmetic.backends.numba.runtime.cache import KERNELS
from serving.killing import KEYS, TERMED, Client, Life, Place, Purse, life, new_purse
from serving.mortal import PHASES

POINTS = 20
"""Points in one run."""
MOST = 12
"""Things that each client does in one life of a node."""


@dataclass(frozen=True)
class Point:
    """Where a node is killed."""

    kind: str
    """A phase, or "any" for any moment."""
    nth: int
    part: float
    whom: str


def drawn(draw: Random) -> list[Point]:
    """Two points in each phase, the first as it begins, and others at any moment, in any order."""
    points = []
    for number, kind in enumerate([*PHASES, *PHASES, *["any"] * (POINTS - 2 * len(PHASES))]):
        first = number < len(PHASES)
        nth = 1 if first else draw.randint(1, 12 if kind in ("prefill", "decode", "respond") else 3)
        whom = draw.choice(("group", "leader"))
        points.append(Point(kind, nth, 0.0 if first else draw.random(), whom))
    draw.shuffle(points)
    return points


def options(point: Point, number: int) -> list[str]:
    """Traces are kept in each second life, and not where one is to be computed again."""
    kept = 0 if point.kind == "recompute" else number % 2
    return ["--prefix-memory", "8", "--trace-memory", str(kept)]


def prove(url: str, purse: Purse, draw: Random) -> None:
    """A node that was started again opens all receipts, and answers what broke off."""
    with ExitStack() as stack:
        clients = {name: Client(url, name, purse, draw) for name in KEYS}
        for client in clients.values():
            stack.enter_context(client.http)
        for question, text in purse.broken:
            assert clients[question.client].asked_again(question).startswith(text)
        purse.broken.clear()
        for handed in purse.unproven:
            assert clients[handed.question.client].opened(handed)
        purse.proven += purse.unproven
        purse.unproven.clear()


def work(node: Life, url: str, purse: Purse, point: Point, draw: Random) -> None:
    """Let clients ask until the node is dead."""
    clients = [Client(url, name, purse, Random(draw.random())) for name in KEYS]
    with ThreadPoolExecutor(len(clients)) as pool:
        done = [pool.submit(client.run, MOST) for client in clients]
        if point.kind == "any":
            time.sleep(point.part)
            node.kill(point.whom)
        else:
            time.sleep(0.2 * draw.random())
            node.arm(point.kind, point.nth, point.part, point.whom)
        for future in done:
            future.result()
    if node.process.poll() is None:
        node.kill(point.whom)  # the phase came less often


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 10))])
def test_a_node_that_is_killed_loses_no_receipt_and_leaves_nothing(seed: int, tmp_path: Path) -> None:
    draw, place, purse = Random(seed), Place(tmp_path / "place"), new_purse()
    before, killed_in, start = place.found(), dict.fromkeys(PHASES, 0), 1.0
    with purse.prompter:
        for number, point in enumerate(drawn(draw)):
            with life(place, *TERMED, *options(point, number), mortal=point.kind != "any") as node:
                if point.kind == "start":
                    node.begun()
                    time.sleep(point.part * start)
                    node.kill(point.whom)
                else:
                    url = node.url()
                    start = time.monotonic() - node.started
                    prove(url, purse, draw)
                    work(node, url, purse, point, draw)
                died_in = node.ended()
            for phase in died_in:
                killed_in[phase] += 1
            print(f"seed {seed}, {number}: {point} died in {died_in}; {len(purse.unproven)} new receipts")
            assert not purse.wrong
            assert place.found() == before
            assert "WRITES" not in node.said()
        with life(place, *TERMED) as node:
            prove(node.url(), purse, draw)
        print(purse.counts, killed_in)
        assert min(killed_in.values()) > 0
        # a replica with other terms, which never saw these receipts
        with life(place, "--rate", "9", "--base", "7", "--retention", "1") as other:
            purse.unproven = draw.sample(purse.proven, 5)
            prove(other.url(), purse, draw)
        assert place.found() == before


@pytest.mark.slow
@pytest.mark.skipif(library() is not None, reason="kernels are compiled ahead")
def test_a_node_that_is_killed_while_it_compiles(tmp_path: Path) -> None:
    draw, place, purse = Random(0), Place(tmp_path / "place"), new_purse()
    before = place.found()

    def compiled() -> list[Path]:
        return list((place.root / "home").rglob("*.kernel"))

    with purse.prompter:
        for goal in (1, 8, 20, 35):
            with life(place, *TERMED, "--device", "cpu") as node:
                while len(compiled()) < goal:
                    assert node.process.poll() is None, node.said()
                    time.sleep(0.002)
                time.sleep(0.2 * draw.random())
                node.kill("group")
                assert node.ended() == ["start"]
            made = {path for path in place.found() if path not in before}
            assert all((place.root / path).is_dir() or filecache.load(place.root / path) for path in made)
            assert {Path(path).suffix for path in made} == {"", ".kernel"}
        with life(place, *TERMED, "--device", "cpu") as node:
            client = Client(node.url(), KEYS[0], purse, draw)
            client.run(MOST)
            assert not purse.wrong
            prove(str(client.http.base_url), purse, draw)
        assert purse.proven
        assert len(compiled()) == KERNELS
