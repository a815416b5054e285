"""kill -9 of a fleet's processes at random points: nothing that was said is lost or doubled.

Nodes, a gateway, an auditor and the database are processes that share one ledger. Clients ask through the
gateway all the time. Whatever is killed is started again, and after each kill the campaign looks for what
must hold then.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

import proofcompute as pc
from gateway.processes import AUDITOR, GATEWAY, NODES, Fleet, fleet
from proofcompute.auditing.working import DRAWN
from proofcompute.client import Challenger, ProofTransport
from proofcompute.client.checked import Checked
from proofcompute.client.pins import Pins
from proofcompute.commitments.log_tree import verify_consistency
from proofcompute.errors import ServiceError
from proofcompute.gateway.relaying import ANSWER_HEADER
from proofcompute.ledger import Ledger, NewJob, tables
from proofcompute.ledger.checking import leaf_of
from proofcompute.ledger.messages import AuditVerdict, TreeHead
from proofcompute.ledger.restoring import check_ledger
from proofcompute.verifier import Verified
from serving.running import SOON, chat_model
from synthetic import KERNELS

RESTART = 10.0
"""Seconds of processors that what was killed may take until it is ready again."""
PAUSE = 3.0
"""Seconds between two questions of a client, at most."""
AUDITED = ("sampled", "fully audited")


class Client(threading.Thread):
    """Asks the gateway until it is told to stop, checks each answer, and keeps what it was handed."""

    def __init__(self, url: str, pins: Pins, draw: Random) -> None:
        super().__init__(daemon=True)
        self.handed: list[Checked] = []
        """Answers whose end this client has seen."""
        self.audited: set[bytes] = set()
        """Digests of the receipts of answers of which the gateway said that an audit had found nothing."""
        self.counts: Counter[str] = Counter()
        self.wrong = ""
        self._url, self._draw, self._end = url, draw, threading.Event()
        self._new: list[Checked] = []
        self._pins = pins
        self._answers: dict[str, bytes] = {}

    def run(self) -> None:
        transport = ProofTransport(self._url, self._pins, terms=False, on_checked=self._new.append)
        try:
            with (
                httpx2.Client(transport=transport, timeout=SOON) as asking,
                httpx2.Client(timeout=SOON) as looking,
            ):
                while not self._end.wait(PAUSE * self._draw.random()):
                    try:
                        self._ask(asking)
                        self._look(looking)
                    except (httpx2.TransportError, ServiceError) as e:
                        self.counts[f"broken off: {type(e).__name__}"] += 1
        except Exception as e:
            self.wrong = f"{type(e).__name__}: {e}"
            raise

    def stop(self) -> None:
        self._end.set()
        self.join(SOON)
        assert not self.is_alive()

    def _ask(self, asking: httpx2.Client) -> None:
        draw, stream = self._draw, self._draw.random() < 0.5
        said = [{"role": "user", "content": f"{draw.getrandbits(64):x}"}]
        body = {"model": "tiny", "messages": said, "max_tokens": draw.randint(1, 24), "ignore_eos": True}
        self._new.clear()
        with asking.stream("POST", f"{self._url}/chat/completions", json={**body, "stream": stream}) as found:
            data = found.read()
        if found.status_code != 200 or b'"error"' in data:
            self.counts[f"refused: {found.status_code}"] += 1
            return
        if stream:
            assert data.endswith(b"data: [DONE]\n\n")
        (checked,) = self._new
        assert checked.claim.receipt.node in [identity.public for identity in NODES.values()]
        self._answers[found.headers[ANSWER_HEADER]] = checked.claim.receipt.digest
        self.handed.append(checked)
        self.counts["answered"] += 1

    def _look(self, looking: httpx2.Client) -> None:
        """See how far an earlier answer was checked."""
        if not self._answers:
            return
        name = self._draw.choice(list(self._answers)[-4:])
        found = looking.get(f"{self._url}/assurance/{name}")
        if found.status_code != 200:  # another gateway's answer: it was killed since
            self.counts[f"not known: {found.status_code}"] += 1
            del self._answers[name]
            return
        level = found.json()["level"]
        assert level in ("receipted", *AUDITED), found.text
        if level in AUDITED:
            self.audited.add(self._answers[name])


class Campaign:
    """What was seen of a fleet before, which must still hold."""

    def __init__(self, made: Fleet, clients: list[Client]) -> None:
        self.fleet, self.clients = made, clients
        self.operator = pc.NodeIdentity.new()
        self.made: Counter[str] = Counter()
        """Drawn audits by who made them."""
        self.again = 0
        """Drawn audits that whoever had them first did not make."""
        self.heads: list[TreeHead] = []
        self.asked_for: set[bytes] = set()
        """Receipts about which there is a job for the auditor."""
        self.labelled: set[bytes] = set()
        """Receipts whose verdict was there when the gateway had said so."""
        self.files = self._files()
        self.challengers = {
            identity.public: Challenger(made.urls[name], chat_model(), device=KERNELS, node=identity.public)
            for name, identity in NODES.items()
        }
        self.seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in made.parts}
        """Seconds by the clock, and of processors, that each start took."""

    def _files(self) -> dict[str, tuple[int, bytes]]:
        # the attempts of the gateway's key are counted in a file beside it
        found = self.fleet.place.found()
        return {path: what for path, what in found.items() if not path.startswith("work/key")}

    def kill(self, names: list[str], draw: Random) -> None:
        if "gateway" in names and draw.random() < 0.8:  # just after an answer, when its audit was drawn
            seen, until = self._answered(), time.monotonic() + 2 * PAUSE
            while self._answered() == seen and time.monotonic() < until:
                time.sleep(0.001)
        for name in names:
            self.fleet.parts[name].kill(draw.choice(("leader", "group")))
        time.sleep(0.3 * draw.random())  # the others notice that it is away
        for name in sorted(names, key=lambda name: name != "database"):  # nobody starts without it
            start = time.monotonic()
            used = self.fleet.parts[name].start()
            self.seconds[name].append((time.monotonic() - start, used))
            assert used < RESTART, f"{name} took {used} s of processors to start"

    def _answered(self) -> int:
        return sum(client.counts["answered"] for client in self.clients)

    def look(self) -> None:
        """Look for what must hold after each kill."""
        for client in self.clients:
            assert not client.wrong
        labelled = {digest for client in self.clients for digest in list(client.audited)} - self.labelled
        new = [
            checked
            for client in self.clients
            for checked in list(client.handed)
            if checked.claim.receipt.digest not in self.asked_for
        ]
        with Ledger(self.fleet.where) as ledger:
            self._log(ledger)
            assert ledger.fleet.count_nodes()["quarantined"] == 0
            for kind in ("contradicted", "silent", "refused"):
                assert ledger.verdicts.verdicts(outcome=kind) == []
            for digest in labelled:
                said = [v.verdict for v in ledger.verdicts.of_receipt(digest)]
                assert [v.outcome.kind for v in said if v.auditor == GATEWAY.public] == ["accepted"]
                self.labelled.add(digest)
            for checked in new:
                receipt = checked.claim.receipt
                assert ledger.fleet.answer(receipt.digest) == (checked.request.encode(), checked.receipt)
                job = NewJob(
                    name=receipt.digest.hex(),
                    kind="answer",
                    node=receipt.node,
                    receipt=receipt.digest,
                    body={"model": "tiny"},
                )
                ledger.jobs.add(job)
        for checked in new:
            opened = self.challengers[checked.claim.receipt.node].audit(checked, 2)
            assert isinstance(opened.found, Verified), opened.found
            self.asked_for.add(checked.claim.receipt.digest)
        assert self._files() == self.files
        assert [p for p in (self.fleet.place.root / "state").rglob("*") if p.is_file()] == []

    def _log(self, ledger: Ledger) -> None:
        """The log grew from what it was when it was looked at last."""
        head = ledger.log.sign_head(self.operator, time.time())
        if self.heads:
            last = self.heads[-1]
            proof = ledger.log.consistency(last.size, head.size)
            assert verify_consistency(last.size, head.size, last.root, head.root, proof.hashes)
        self.heads.append(head)

    def _drawn(self, ledger: Ledger, until: float) -> dict[bytes, dict[str, Any]]:
        """Wait until all audits that gateways drew are made, and return what they came to, by receipt."""
        jobs = tables.jobs
        while True:
            with ledger.database.reading() as connection:
                rows = connection.execute(select(jobs).where(jobs.c.kind == DRAWN)).all()
            waiting = [(row.name, row.owner, row.attempts) for row in rows if not row.done]
            if not waiting:
                break
            assert time.monotonic() < until, (waiting, self.fleet.command("gateway").said())
            time.sleep(0.1)
        results = {bytes(row.receipt): json.loads(row.result) for row in rows}
        assert len(results) == len(rows)
        assert all("error" not in result for result in results.values()), results
        self.again = sum(row.attempts > 1 for row in rows)
        return results

    def end(self) -> None:
        """End all in order, and look at every verdict."""
        for client in self.clients:
            client.stop()
        self.look()
        with Ledger(self.fleet.where) as ledger:
            until = time.monotonic() + 2 * SOON
            results: dict[bytes, dict[str, Any]] = {}
            while len(results) < len(self.asked_for):
                assert time.monotonic() < until, self.fleet.command("auditor").said()
                time.sleep(0.1)
                before = len(results)
                for digest in self.asked_for - results.keys():
                    if (result := ledger.jobs.result(digest.hex())) is not None:
                        results[digest] = result
                if len(results) > before:  # however many wait, the auditor goes on
                    until = time.monotonic() + 2 * SOON
            assert all(result["states"] == {"verified": 1} for result in results.values()), results
            drawn = self._drawn(ledger, time.monotonic() + 2 * SOON)
            for name in ("auditor", "gateway", *NODES):
                assert self.fleet.command(name).stop() == 0
            leaves = [leaf_of(number, data) for number, data in enumerate(ledger.log.leaves())]
            verdicts = [leaf for leaf in leaves if isinstance(leaf, AuditVerdict)]
            assert len(leaves) == len(verdicts) == len({(v.receipt_digest, v.auditor) for v in verdicts})
            by_auditor = {v.receipt_digest for v in verdicts if v.auditor == AUDITOR.public}
            assert self.asked_for <= by_auditor  # and its canaries
            by_gateway = Counter(v.receipt_digest for v in verdicts if v.auditor == GATEWAY.public)
            for receipt, result in drawn.items():  # each has one verdict, by whoever made the audit
                mine = result.get("auditor") == GATEWAY.public.hex()
                assert by_gateway.pop(receipt, 0) == int(mine)
                assert mine or receipt in by_auditor
                self.made["gateway" if mine else "auditor"] += 1
            assert not by_gateway
            audits = sum(node.trust.counts.audits for node in ledger.fleet.nodes())
            assert audits == len({v.receipt_digest for v in verdicts})
            assert ledger.verdicts.equivocations() == []
            assert check_ledger(ledger, self.heads, self.operator.public).size == len(leaves)


def victims(draw: Random, kills: int, names: list[str]) -> list[list[str]]:
    """Who is killed together: each as often as any other, in any order, now and then two at once."""
    every = [name for _ in range(0, kills, len(names)) for name in draw.sample(names, len(names))][:kills]
    found: list[list[str]] = []
    while every:
        count = 2 if len(every) > 1 and every[0] != every[1] and draw.random() < 0.2 else 1
        found.append([every.pop(0) for _ in range(count)])
    return found


# The long profile kills 200 times, in four fleets: whoever breaks it off goes on with the next one.
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(20, id="some"),
        *(pytest.param(50, id=f"many-{n}", marks=pytest.mark.slow) for n in range(1, 5)),
    ],
)
def test_a_fleet_that_is_killed_loses_and_doubles_nothing(kills: int, tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    draw = Random(seed)
    print(f"seed {seed}")
    with fleet(tmp_path / "fleet") as made, closing(Pins(chat_model().card)) as pins:
        clients = [Client(made.urls["gateway"], pins, Random(draw.random())) for _ in range(2)]
        campaign = Campaign(made, clients)
        for client in clients:
            client.start()
        try:
            for number, names in enumerate(victims(draw, kills, list(made.parts))):
                time.sleep(0.5 * draw.random())
                campaign.kill(names, draw)
                campaign.look()
                print(
                    number, names, campaign.heads[-1].size, "verdicts,", len(campaign.asked_for), "receipts"
                )
            campaign.end()
        finally:
            for client in clients:
                client.stop()
            for challenger in campaign.challengers.values():
                challenger.close()
            print(*(client.counts for client in clients))
            print(f"drawn audits: {dict(campaign.made)}, {campaign.again} of them taken again")
            for name, took in campaign.seconds.items():
                wall, used = zip(*took, strict=True) if took else ((0.0,), (0.0,))
                print(
                    f"{name}: {len(took)} starts, at most {max(wall):.2f} s, {max(used):.2f} s of processors"
                )
    assert len(campaign.asked_for) > kills // 4
