"""Hold what a gateway works with: nodes, models, answers, audits and books."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, final

import httpx2
from prometheus_client import Counter

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.client.challenger import Audited
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction, evidence_of
from proofcompute.client.entries import State
from proofcompute.client.pins import Pins
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.files import read_limited
from proofcompute.errors import InputError, ProofcomputeError, ServiceError, VerificationError
from proofcompute.gateway.auditing import Auditing, Drawn, Held
from proofcompute.gateway.federation import ModelEntry, ModelsFile, NodesFile
from proofcompute.gateway.fleet import Fleet, Member
from proofcompute.gateway.journal import Books, Journal, Known, Quarantine
from proofcompute.gateway.records import Audit, Record, Records
from proofcompute.gateway.recovering import described, recover
from proofcompute.gateway.settings import Patience
from proofcompute.gateway.watching import Broadcast
from proofcompute.limits import KIB, MAX_CARD
from proofcompute.logs import service_log
from proofcompute.models.card import ModelCard
from proofcompute.openai import CARD_PATH
from proofcompute.public.openings import ByPublicProof
from proofcompute.serving.clients import ApiKeys, addresses_of
from proofcompute.serving.metrics import Responses
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.settings import ServiceLimits
from proofcompute.serving.waste import Waste

__all__ = ["Gateway", "Numbers"]

_log = service_log(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")

_SMALL: Final = 64 * KIB
"""Bytes of a body that the event loop reads itself; larger ones have a thread."""
_FOLLOW: Final = 2.0
"""Seconds between two looks at what other gateways and auditors found."""
_AGAIN: Final = 10.0
"""Seconds after which a client may ask again while the gateway stops."""


@final
class Numbers(Responses):
    """All numbers of one gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: Counter = self.counter("gateway_attempts", "Questions passed on", "node", "outcome")
        self.audits: Counter = self.counter("gateway_audits", "Verdicts of audits", "node", "level")
        self.left_out: Counter = self.counter("gateway_audits_left_out", "Audits drawn and not made", "why")
        self.contradictions: Counter = self.counter("gateway_contradictions", "Contradictions", "node")


@final
class Gateway:
    """A gateway; :func:`proofcompute.gateway.application` makes its application.

    Args:
        nodes: the nodes that may be asked.
        models: the models that may be asked for.
        identity: the key pair that signs evidence; None: a new one.
        books: where receipts, verdicts and evidence are written; None: nowhere but in memory.
        kernels: the backend that audits compute with; None: the fastest of the CPU.
        apart: name of the device on which a process for each model computes audits, in place of this one with
            ``kernels``. Answers wait less for audits so.
        patience: how long nodes are waited for.
        limits: how much is taken from clients, and how long they are waited for.
        keys: the keys that clients must show; None: anybody may ask.
        proxies: addresses of proxies whose header X-Forwarded-For names the client.
        disclose: whether evidence holds the question that was asked, without which others can only check
            signatures.
        inner: makes the transport to a node; None: the library's own.

    Raises InputError for files that cannot be used, or a node of a model that is not there.
    """

    def __init__(
        self,
        nodes: NodesFile,
        models: ModelsFile,
        *,
        identity: NodeIdentity | None = None,
        books: Books | None = None,
        kernels: Kernels | None = None,
        apart: str | None = None,
        patience: Patience | None = None,
        limits: ServiceLimits | None = None,
        keys: ApiKeys | None = None,
        proxies: frozenset[str] = frozenset(),
        disclose: bool = False,
        inner: Callable[[str], Any] | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self.limits = limits or ServiceLimits()
        self.keys, self.proxies = keys, addresses_of(proxies)
        self.waste = Waste(
            max(self.limits.waste, 2 * max(self.limits.body, self.limits.proof_body)), self.limits.waste_rate
        )
        self.metrics = Numbers()
        self.active = self.body_bytes = 0
        self.draining = False
        self.created = int(time.time())
        self.identity = identity or NodeIdentity.new()
        self.disclose = disclose
        self.books = books or Journal(None)
        self.records = Records()
        self.models: Mapping[str, ModelEntry] = {m.name: m for m in models.models}
        pinned = {name: _pinned(entry) for name, entry in self.models.items()}
        self._ids = {n: p.model_id if isinstance(p, ModelCard) else p for n, p in pinned.items()}
        for entry in nodes.nodes:
            if missing := set(entry.models) - set(self.models):
                raise InputError(f"node {entry.name} serves {min(missing)!r}, which the models do not have")
        self.pins = Pins(pinned)
        self.fleet = Fleet(
            Member(entry, self.pins, self.patience, None if inner is None else inner(entry.url))
            for entry in nodes.nodes
        )
        waits = self.patience.opening
        held = {n: made for n, e in self.models.items() if (made := Held.of(e, apart, waits)) is not None}
        for name, one in held.items():
            if one.holds.card.model_id != self._ids[name]:
                raise InputError(f"what is held to audit {name} belongs to another model than its card")
        self.auditing = Auditing(
            held, kernels or kernels_for("cpu"), waits, self.books, self._audited, self.left_out
        )
        for member in self.fleet.members.values():
            member.behind = partial(self.auditing.full, member.name)
            checked = (held[n].holds for n in member.entry.models if n in held)
            member.proofs = frozenset(h.asked.public_id for h in checked if isinstance(h, ByPublicProof))
        self.watchers = Broadcast()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: asyncio.Task[None] | None = None
        self._learn(self.books.known([m.entry.public for m in self.fleet.members.values()]))
        self._reading = ThreadPoolExecutor(1, "gateway-read")
        self._looking = ThreadPoolExecutor(1, "gateway-books")

    # -- life ------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin; the loop that runs is the one that nodes and answers belong to."""
        await asyncio.to_thread(self.pins.ready)
        self.auditing.start()
        self._loop = asyncio.get_running_loop()
        self._following = self._loop.create_task(self._follow())

    async def drain(self) -> bool:
        """Refuse new requests, wait until the others are answered, and return whether they were in time."""
        self.draining = True
        self.watchers.end()
        end = time.monotonic() + self.limits.drain_seconds
        while self.active and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return not self.active

    async def close(self) -> None:
        """Close all connections, and finish the audits that run within the patience ``closing``."""
        if self._loop is None:
            return
        self.draining, self._loop = True, None
        self.watchers.end()
        if self._following is not None:
            self._following.cancel()
        await self.fleet.close()
        await asyncio.to_thread(self.auditing.close, self.patience.closing)
        for threads in (self._reading, self._looking):
            threads.shutdown(wait=False, cancel_futures=True)

    @property
    def failed(self) -> bool:
        """Whether nothing can be served any more: never, since nodes come back."""
        return False

    def require_open(self) -> None:
        """Raise Refusal (503) if no new requests are taken."""
        if self.draining:
            raise Refusal.of(
                503, "the gateway is about to stop", "draining", kind="server_error", wait=_AGAIN
            )

    # -- what requests need ----------------------------------------------------------------------------------
    def model_id(self, name: str) -> bytes:
        """Return the id of a model."""
        return self._ids[name]

    def _named(self, name: str) -> str | None:
        """Return the name of a model, given its name or its id in hexadecimal; None if there is none."""
        return name if name in self._ids else next((n for n, i in self._ids.items() if i.hex() == name), None)

    def has(self, name: str) -> bool:
        """Whether there is a model with this name or this id in hexadecimal."""
        return self._named(name) is not None

    def card(self, name: str) -> ModelCard | None:
        """Return the card of a model by its name or its id in hexadecimal; None if it is not known here."""
        named = self._named(name)
        served = None if named is None else self.pins.served(self._ids[named])
        return None if served is None else served.card

    async def fetch_card(self, name: str) -> ModelCard | None:
        """Fetch the card of a model from a node; None if none gives it. It must hash to the pinned id."""
        if (named := self._named(name)) is None:
            return None
        for member in self.fleet.order(named):
            url = f"{member.entry.url}{CARD_PATH}/{self._ids[named].hex()}"
            try:
                async with asyncio.timeout(self.patience.first):
                    found = await member.client.get(url)
                if found.status_code == 200:
                    served = await asyncio.to_thread(self.pins.learn, self._ids[named], found.content)
                    return served.card
            except VerificationError as e:
                self._quarantine(member, str(e))
            except (httpx2.TransportError, ServiceError, TimeoutError) as e:
                member.failed(f"it cannot be reached: {e or type(e).__name__}")
        return None

    async def prepare(self, nbytes: int, call: Callable[_P, _R], *args: _P.args, **named: _P.kwargs) -> _R:
        """Call a function that reads a body of so many bytes."""
        if nbytes <= _SMALL:
            return call(*args, **named)
        return await asyncio.get_running_loop().run_in_executor(self._reading, lambda: call(*args, **named))

    def publish(self, kind: str, value: dict[str, Any]) -> None:
        """Tell watchers; any thread may."""
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self.watchers.publish, kind, value)

    def _later(self, function: Callable[[], None]) -> None:
        """Call a function in the event loop, to which all nodes' numbers belong."""
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(function)

    # -- what others found -----------------------------------------------------------------------------------
    async def _follow(self) -> None:
        """Learn from the books what other gateways and auditors found, and hold and take over audits, until
        the gateway is closed.
        """
        keys = [m.entry.public for m in self.fleet.members.values()]
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_FOLLOW, self.books.often))
            try:
                self._learn(await loop.run_in_executor(self._looking, self.books.known, keys))
                await loop.run_in_executor(self._looking, recover, self)
            except ProofcomputeError as e:  # what is known stays known
                _log.error("the books cannot be read", extra={"error": str(e)})

    def _learn(self, known: Mapping[bytes, Known]) -> None:
        """Take what the books say of nodes; who undoes a quarantine there undoes it here."""
        for member in self.fleet.members.values():
            if (found := known.get(member.entry.public)) is None:
                continue
            before = member.quarantined, member.trust.counts
            if found.quarantine is None:
                member.quarantined = ""
            else:
                member.quarantined = found.quarantine.why
                member.evidence = found.quarantine.evidence or member.evidence
            if found.counts is not None:
                member.trust.take(found.counts)
            if (member.quarantined, member.trust.counts) != before:
                self.publish("node", member.describe())

    # -- what answers come to --------------------------------------------------------------------------------
    def receipt(self, member: Member, record: Record, checked: Checked) -> Drawn | None:
        """Write a receipt before the end of its answer is passed on, and whether it is audited.

        Any thread may. Returns what has to be audited once the answer has ended.
        """
        drawn = described(record) if self.auditing.draws(record.model) else None
        job = self.books.receipt(member.entry.public, checked, drawn)
        return None if job is None else Drawn(member, record, checked, job)

    def answered(self, member: Member, record: Record, first: float, checked: list[Checked]) -> None:
        """Note an answer that holds."""
        member.succeeded(first, checked[0].claim.receipt.rows, checked[0].terms)
        self.metrics.attempts.labels(member.name, "receipted").inc()
        self.publish("answer", record.describe())
        self.publish("node", member.describe())

    def contradicted(self, member: Member, record: Record, found: Contradiction) -> None:
        """Note a contradiction of an answer: the node is not asked any more. In the event loop."""
        error = found.error
        record.contradiction, record.failed = str(error), error.cell
        member.trust.contradicts()
        self._quarantine(member, str(error))
        self.auditing.call(member.name, partial(self._accuse, member, record, found))

    def _audited(self, drawn: Drawn, audit: Audit, audited: Audited, state: State) -> None:
        """Note a verdict, in the audits' thread."""
        record, member = drawn.record, drawn.member
        receipt = drawn.checked.claim.receipt.digest
        evidence = b""
        if audit.level == "contradicted":
            record.attach(receipt, audit)  # at once: what is kept of it may take a while
            self._later(lambda: self._caught(member, audit.error))
            card = self.card(record.model)
            bundle = None
            if card is not None:
                bundle = evidence_of(audited, card, self.identity, disclose=self.disclose)[0]
            if bundle is not None:
                name = self._keep(member, record, bundle.encode(), "evidence", audited.checked)
                evidence = bytes.fromhex(name.partition(".")[0])
        mine = self.books.verdict(drawn.job, audited, state, evidence)
        if not mine and state == "verified":  # whoever has the job says what it finds
            _log.warning("an audit took longer than its lease", extra={"job": drawn.job.name})
            return
        self.metrics.audits.labels(member.name, audit.level).inc()
        if audit.level != "contradicted":
            self._later(lambda: member.trust.passes(audit.detects_one))
        # an answer is said to be checked once the books say so too, and a contradicted one already is
        record.attach(receipt, audit)
        told = {**audit.describe(), "answer": record.id, "choice": record.place(receipt), "node": member.name}
        self.publish("verdict", told)
        self.publish("answer", record.describe())
        self._later(lambda: self.publish("node", member.describe()))

    def _caught(self, member: Member, why: str) -> None:
        member.trust.contradicts()
        self._quarantine(member, why)

    def left_out(self, why: str) -> None:
        """Count an audit that was drawn and that nobody makes any more; any thread may."""
        self.metrics.left_out.labels(why).inc()

    def _quarantine(self, member: Member, why: str) -> None:
        if member.quarantined:
            return
        member.quarantined = why
        self.metrics.contradictions.labels(member.name).inc()
        self.books.quarantine(member.entry.public, Quarantine(why, member.evidence))
        _log.warning("a node is quarantined", extra={"node": member.name, "why": why})
        self.publish("node", member.describe())

    def _accuse(self, member: Member, record: Record, found: Contradiction) -> None:
        """Keep what shows a contradiction that a receipt gave, or what was seen if nobody signed it."""
        bundle = found.evidence(self.identity, disclose=self.disclose)
        if bundle is not None:
            self._keep(member, record, bundle.encode(), "evidence", None)
        else:
            self._keep(member, record, _seen(member, found), "json", None)

    def _keep(self, member: Member, record: Record, data: bytes, suffix: str, checked: Checked | None) -> str:
        """Keep evidence, and name it where the node and the answer are shown."""
        public = member.entry.public
        digest = None if checked is None else checked.claim.receipt.digest
        name = self.books.keep(public, digest, data, suffix)
        if record.contradiction:
            record.evidence = name

        def note() -> None:
            if not member.evidence.endswith(".evidence"):  # the first that others can judge stays
                member.evidence = name
                self.books.quarantine(public, Quarantine(member.quarantined, name))
            self.publish("node", member.describe())
            self.publish("answer", record.describe())

        self._later(note)
        return name


def _pinned(entry: ModelEntry) -> ModelCard | bytes:
    if entry.card is None:
        return bytes.fromhex(entry.model_id or "")
    return ModelCard.decode(read_limited(Path(entry.card), MAX_CARD, "model card"))


def _seen(member: Member, found: Contradiction) -> bytes:
    """Return what was sent and received, for the operator: nobody signed what is wrong with it."""
    made = {
        "node": member.entry.key,
        "step": found.error.step,
        "error": str(found.error),
        "question": b64encode(found.question).decode(),
        "response": b64encode(found.response).decode(),
        "when": found.when,
    }
    return json.dumps(made, indent=1).encode()
