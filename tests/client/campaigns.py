"""An audit of a stand-in without a network: the parts that the command ``audit`` puts together."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from client.standin import BASE, KERNELS, NAME, Service, model
from proofcompute.client.asking import Asker
from proofcompute.client.budget import Budget, Meter
from proofcompute.client.campaign import Campaign, Plan
from proofcompute.client.canaries import Traffic
from proofcompute.client.challenger import Challenger
from proofcompute.client.entries import Begun, Entry, Verdict
from proofcompute.client.line import Line
from proofcompute.client.pins import Pins
from proofcompute.client.record import Record
from proofcompute.client.tally import Tally
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.verifier import Key, keygen

BEGUN = Begun(BASE, model().model_id.hex())


@cache
def _key() -> Key:
    return keygen(model(), KERNELS, seed=bytes([7] * 32))


def key() -> Key:
    """A key whose log knows no nonce of another test."""
    return replace(_key(), log=MemoryLog())


class Clock:
    """A clock that moves when somebody sleeps, or when a test moves it."""

    def __init__(self, now: float | None = None) -> None:
        self.start = self.now = time.time() if now is None else now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Run:
    """One run of an audit, and what it left."""

    campaign: Campaign
    tally: Tally
    entries: list[Entry]
    told: list[tuple[Verdict, Any]]
    meter: Meter
    clock: Clock

    @property
    def states(self) -> dict[str, int]:
        return {str(state): n for state, n in self.tally.states.items()}


@dataclass
class Auditing:
    """What an auditor sets."""

    service: Service = field(default_factory=Service)
    count: int = 2
    cells: Any = 1
    holds: str = "key"
    replay: bool = False
    budget: Budget = field(default_factory=Budget)
    patience: float = 600.0
    max_tokens: int | None = 4
    traffic: Mapping[str, Any] = field(default_factory=dict)
    record: Path | None = None
    clock: Clock = field(default_factory=Clock)
    wrap: Callable[[Any], Any] = lambda inner: inner
    """Changes what requests travel over."""

    def run(self) -> Run:
        """Run it to its end; whatever it raises leaves what was written."""
        tally, entries, told = Tally(), [], []
        if self.service.draw() == self.service.draw():  # a node that repeats its nonces is contradicted
            self.service.draw = lambda: secrets.token_bytes(32)
        meter = Meter(self.budget, self.clock, self.clock.sleep)
        inner = self.wrap(self.service.transport(httpx2))
        kept = None if self.record is None else Record(self.record, BEGUN, tally)
        put = tally.take if kept is None else kept.write

        def write(entry: Entry) -> None:
            put(entry)
            entries.append(entry)

        if kept is None:
            write(BEGUN)
        pins = Pins(model().card)
        served = pins.served(model().model_id)
        assert served is not None
        asker = Asker(
            BASE,
            pins,
            library=httpx2,
            line=Line(httpx2, meter, patience=self.patience, inner=inner),
            meter=meter,
        )
        holds: Key | Model | None = None
        if self.holds != "card":
            holds = key() if self.holds == "key" else model()
        challenger = None
        if holds is not None:
            challenger = Challenger(
                BASE,
                holds,
                device=KERNELS,
                patience=self.patience,
                inner=Line(httpx2, meter, inner=inner),
                library=httpx2,
            )
        options = {"chat": True, "max_tokens": self.max_tokens, **self.traffic}
        options.setdefault("sent", {s.asked.name for s in tally.sent.values()})

        def tell(verdict: Verdict, about: Any) -> Mapping[str, Any]:
            told.append((verdict, about))
            return {}

        campaign = Campaign(
            asker,
            Traffic(NAME, **options),
            Plan(self.count, self.cells if holds is not None else None, self.replay),
            served=served,
            tally=tally,
            meter=meter,
            write=write,
            tell=tell,
            challenger=challenger,
            clock=self.clock,
        )
        try:
            campaign.run()
        finally:
            asker.close()
            if kept is not None:
                kept.close()
        return Run(campaign, tally, entries, told, meter, self.clock)


def audited(**options: Any) -> Run:
    """Run an audit."""
    return Auditing(**options).run()
