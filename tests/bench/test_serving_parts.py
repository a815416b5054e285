"""The parts of benchmarks/serving on a server that generates nothing: what they ask, the rows they make."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.serving import bench as bench_module
from benchmarks.serving import delay, soak, speed
from benchmarks.serving.bench import Bench, Plan
from benchmarks.serving.load import Sender
from benchmarks.serving.opening import _rate
from benchmarks.serving.peers import LLAMA_BENCH, OURS, Peers
from benchmarks.serving.receipts import Receipts
from benchmarks.serving.servers import Kind
from benchmarks.serving.streams import Answer, Raw
from benchmarks.serving.watched import PATH, SLEEP, Watch
from proofcompute.errors import ExecutionError, VerificationError

STUB = Path(__file__).with_name("serving_stub.py")
PLAN = Plan(
    prompt=4, tokens=20, counts=(1, 3), rounds=2, each=2, alone=3, bursts=2, burst=3, prefix=8, soak=2
)


class Prompts:
    """Draws prompts of so many words, and keeps them."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self._serial = itertools.count()

    def __call__(self, tokens: int, prefix: str = "") -> str:
        words = [f"w{next(self._serial)}" for _ in range(tokens)]
        self.drawn.append(" ".join([*prefix.split(), *words]))
        return self.drawn[-1]


class Checked:
    """Counts the answers that it is given, and refuses one of them."""

    def __init__(self) -> None:
        self.count = 0
        self.refuse = 0

    def __call__(self, answer: Answer) -> None:
        assert answer.text
        if self.count + 1 == self.refuse:
            raise VerificationError(5, "response: refused")
        self.count += 1


class Subject:
    """A bench whose own server is the stub, and another system that is the stub too, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **behaviour: Any) -> None:
        self.prompts, self.checked = Prompts(), Checked()
        program = [sys.executable, str(STUB)]
        check = cast(Receipts, self.checked)
        fields = {"stub": behaviour}
        ours = Kind(OURS, lambda port: [*program, str(port)], fields, check=self.checked, sign=True)
        monkeypatch.setattr("benchmarks.serving.ours.node", lambda *_: ours)
        peers = Peers(Path(), 2, 16, (0,), None, None, None, {LLAMA_BENCH: "no program"})
        self.other = Kind("other", lambda port: [*program, str(port)], {"stub": {}}, note="a stub")
        monkeypatch.setattr(Peers, "kinds", lambda _: [self.other])
        self.bench = Bench(PLAN, Path(), Path(), cast(Any, self.prompts), check, peers)


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(bench_module, "_REST", 0.0)
    return Subject(monkeypatch)


def by_system(rows: list[dict[str, Any]], system: str) -> list[dict[str, Any]]:
    return [x for x in rows if x["system"] == system]


def test_closed_loops(subject: Subject) -> None:
    rows = speed.closed_loops(subject.bench)
    for system in (OURS, "other"):
        one, three = by_system(rows, system)
        assert (one["clients"], three["clients"]) == (1, 3)
        assert (one["answers"], three["answers"]) == (2 * 3, 2 * 3 * 2)
        assert one["over_one"] == 1.0
        assert len(three["rounds"]["tokens_per_second"]) == PLAN.rounds
        assert three["prompt_tokens"] == PLAN.prompt
    assert by_system(rows, LLAMA_BENCH) == [
        {"system": LLAMA_BENCH, "status": "missing", "reason": "no program"}
    ]
    warm = sum(PLAN.counts)
    assert subject.checked.count == warm + 6 + 12
    assert len(set(subject.prompts.drawn)) == len(subject.prompts.drawn) == 2 * (warm + 6 + 12)


def test_another_system_that_fails_has_its_reason(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Kind("other", subject.other.command, {"stub": {"status": 500}})
    monkeypatch.setattr(Peers, "kinds", lambda _: [other])
    rows = speed.bursts(subject.bench)
    (row,) = by_system(rows, "other")
    assert (row["status"], row["reason"]) == ("failed", "status 500: refused")
    assert by_system(rows, OURS)[0]["status"] == "measured"


def test_our_own_failure_ends_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExecutionError, match="status 503"):
        speed.bursts(Subject(monkeypatch, status=503).bench)


def test_a_receipt_that_fails_ends_the_part(subject: Subject) -> None:
    subject.checked.refuse = 9
    with pytest.raises(VerificationError, match="refused"):
        speed.bursts(subject.bench)


def test_bursts(subject: Subject) -> None:
    for row in (x for x in speed.bursts(subject.bench) if x["status"] == "measured"):
        rounds = row["rounds"]
        assert [len(rounds[name]) for name in ("alone", "median", "last")] == [PLAN.bursts] * 3
        assert all(last >= middle for middle, last in zip(rounds["median"], rounds["last"], strict=True))
        both = [b / a for a, b in zip(rounds["alone"], rounds["last"], strict=True)]
        assert row["last_over_alone"] == sum(both) / 2


def test_prefixes(subject: Subject) -> None:
    rows = speed.prefixes(subject.bench)
    for row in (x for x in rows if x["status"] == "measured"):
        assert len(row["rounds"]["alike"]) == len(row["rounds"]["other"]) == PLAN.rounds * PLAN.each
    long = [p.split() for p in subject.prompts.drawn if len(p.split()) == PLAN.prefix + PLAN.prompt]
    heads = [tuple(words[: PLAN.prefix]) for words in long]
    counts = sorted(heads.count(head) for head in set(heads))
    # of each system and round: a prefix that one request brings and others share, and others of that length
    assert counts == [1] * (2 * PLAN.rounds * PLAN.each) + [PLAN.each + 1] * (2 * PLAN.rounds)


class Audited:
    """Takes what is audited, and finds nothing wrong."""

    def __init__(self, _: Bench) -> None: ...

    async def left(self, send: Sender, raw: Raw) -> None:
        assert raw.nonce
        assert raw.pieces

    async def open(self, send: Sender, raw: Raw) -> None:
        assert await send.get("/none") is None


def test_a_soak_counts_what_happens(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "Audits", Audited)
    (row,) = soak.soak(subject.bench)
    assert row["errors"] == 0
    assert row["answers"] > row["opened"] > 0
    assert row["answers"] == row["verified"] == subject.checked.count > 8
    assert row["hung_up"] > 1
    assert row["memory_bytes"] > 2**20
    assert row["rounds"]["memory"]


def test_a_soak_keeps_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "_REST", 0.0)
    monkeypatch.setattr(soak, "Audits", Audited)
    subject = Subject(monkeypatch, error=2)
    (row,) = soak.soak(subject.bench)
    assert row["answers"] == row["verified"] == 0
    assert row["errors"] > 8
    assert "out of memory" in row["first_errors"][0]


def test_growth_compares_fifths() -> None:
    filling, flat = list(range(100, 120)), [200] * 80
    assert soak.growth(filling + flat) == 0.0
    assert soak.growth([*filling, *flat[:60], *([260] * 20)]) == pytest.approx(0.3)
    assert soak.growth([1, 100]) == 0.0


def test_the_watch_notes_how_long_a_loop_was_blocked() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.sleep(10 * SLEEP)

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> list[float]:
        watch = Watch(app)
        await watch({"type": "http", "path": PATH}, None, send)
        await asyncio.sleep(3 * SLEEP)
        await watch({"type": "http", "path": "/v1/completions"}, None, send)
        await asyncio.sleep(3 * SLEEP)
        return watch.late

    late = asyncio.run(run())
    assert max(late) > 8 * SLEEP
    assert sorted(late)[0] < 8 * SLEEP
    assert sent[1]["body"] == b"[]"  # the first call starts it
    assert delay._row(8, late)["worst_seconds"] == max(late)


def test_rates_count_what_arrived_meanwhile() -> None:
    assert _rate([0.5, 1.0, 1.5, 2.0, 9.0], 1.0, 2.0) == 2.0
