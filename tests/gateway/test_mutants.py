"""Every check of a gateway matters: without it, a named node gets through."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from client.lies import STREAMED, _replayed, _without_proof
from client.standin import NAME, NODE, Service
from gateway import test_books_away as away
from gateway.standing import CHAT, STREAM, asked, gateway, honest, standing
from gateway.test_auditing import test_a_node_behind_with_its_audits_is_not_asked
from gateway.test_federation import nodes
from gateway.test_hostile_nodes import Stalling, required_true, tracked
from gateway.test_passing import leaves_challenges
from proofcompute.errors import InputError
from proofcompute.gateway import Patience, read_nodes
from proofcompute.gateway.federation import Required
from proofcompute.protocol.messages import Terms


def lying(name: str, body: dict[str, Any]) -> None:
    """A lie of the table reaches nobody."""
    made = gateway({"north": STREAMED[name][0]()})
    (said,) = asked(made, body)
    required_true(said, made)


def asked_again() -> None:
    """A node that lied is not asked again."""
    north = _replayed()
    made = gateway({"north": north})
    asked(made, CHAT, {**CHAT, "seed": 9}, {**CHAT, "seed": 10})
    assert len([m for m, *_ in north.asked if m == "POST"]) == 2


def own_nonce() -> None:
    """Two questions have two nonces of the gateway."""
    north = honest("north")
    asked(gateway({"north": north}), CHAT, CHAT)
    nonces = [h["proofcompute-nonce"] for m, _, h, _ in north.asked if m == "POST"]
    assert len(set(nonces)) == 2


def unchecked() -> None:
    """An answer without a receipt, where the check below does not require one."""
    made = gateway({"north": honest("north", change=_without_proof)})
    rules = made.fleet.members["north"].transport._rules
    object.__setattr__(rules, "require", False)
    try:
        (said,) = asked(made, CHAT)
    except IndexError:
        raise AssertionError("an answer without receipts was taken") from None
    assert said.status == 503


def error_first() -> None:
    """An error before any text is no beginning of an answer."""
    error = b'data: {"error": {"message": "no"}}\n\n'
    north = honest("north", rewrite=lambda d: [error, d[-1]])
    made = gateway({"north": north, "south": honest("south")}, first="north")
    (said,) = asked(made, STREAM)
    assert said.text


def trickling() -> None:
    """A first text that does not come in time."""
    north = Stalling(honest("north"), silent=True)
    patience = Patience(first=2, idle=2, whole=4)
    made = gateway({"north": north, "south": honest("south")}, first="north", patience=patience)

    async def ask() -> None:
        async with standing(made) as asking, asyncio.timeout(7):
            assert (await asking(STREAM)).text

    try:
        asyncio.run(ask())
    except TimeoutError:
        raise AssertionError("the gateway waits for ever") from None


def stalling() -> None:
    """A text that does not come in time, after the first."""
    north = Stalling(honest("north"), silent=False, events=1, pause=1.0)
    made = gateway({"north": north}, patience=Patience(first=20, idle=1, whole=60))

    async def ask() -> None:
        async with standing(made) as asking, asyncio.timeout(5):
            assert b"broken_answer" in (await asking(STREAM)).body

    try:
        asyncio.run(ask())
    except TimeoutError:
        raise AssertionError("the gateway waits for ever") from None


def slow_terms() -> None:
    made = gateway({"north": honest("north")}, entries={"north": {"terms": Required(seconds=5.0)}})
    asked(made, CHAT)
    assert made.fleet.order(NAME) == []


def short_retention() -> None:
    north = honest("north", terms=Terms.of(NODE, base=30, rate=1000, retention=60))
    made = gateway({"north": north}, entries={"north": {"terms": Required(retention=3600)}})
    (said,) = asked(made, CHAT)
    assert said.status == 503


def another_nodes_key() -> None:
    made = gateway({"north": Service(identity=honest("south").identity, terms=None)})
    (said,) = asked(made, CHAT)
    assert said.status == 503


def takes_over() -> None:
    """What the node names as its answer's id changes no other record."""
    north = honest("north")
    made = gateway({"north": north})

    async def ask() -> None:
        async with standing(made) as asking:
            first = await asking({**CHAT, "seed": 5}, **{"Proofcompute-Nonce": "ab" * 32})
            again = await asking({**CHAT, "seed": 5}, **{"Proofcompute-Nonce": "ab" * 32})
            assert again.status == 200
            found = await asking(None, f"/v1/assurance/{first.json['id']}")
            assert found.json["answer"] == first.headers["proofcompute-answer"]

    asyncio.run(ask())


def in_folder(attack: Callable[[Path], None]) -> Callable[[], None]:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                attack(Path(folder))
            except pytest.fail.Exception as e:
                raise AssertionError(str(e)) from None

    return run


def refused(value: Any, file: str = "nodes.json") -> None:
    """A file is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        try:
            read_nodes(path)
        except InputError:
            return
    raise AssertionError("a wrong file was read")


@dataclass(frozen=True)
class Mutant:
    """A check that is removed, and what gets through then: an AssertionError."""

    module: str
    old: str
    new: str
    attack: Callable[[], None]


MUTANTS = {
    "clients leave challenges to auditors": Mutant(
        "gateway.app", "passed.take(asked.digest, wanted)", "True", leaves_challenges
    ),
    "a node that lied is quarantined": Mutant(
        "gateway.fleet", "        if self.quarantined:\n", "        if False:\n", asked_again
    ),
    "nonces are drawn": Mutant("gateway.relaying", "secrets.token_bytes(32) if", "bytes(32) if", own_nonce),
    "an answer has all its receipts": Mutant(
        "gateway.relaying", "if len(self.checked) != self.asked.record.n:", "if False:", unchecked
    ),
    "an error is no first text": Mutant(
        "gateway.relaying", "if not event or event.startswith(_ERROR):", "if not event:", error_first
    ),
    "the end waits for the end mark": Mutant(
        "gateway.relaying",
        "                if attempt.checked:",
        "                if False:",
        lambda: lying("no end mark", STREAM),
    ),
    "the first text has a deadline": Mutant(
        "gateway.relaying", "asyncio.timeout(patience.first if", "asyncio.timeout(None if", trickling
    ),
    "each text has a deadline": Mutant("gateway.relaying", "with waiting:", "if True:", stalling),
    "a deadline ends a wait": Mutant("serving.waiting", "self._timeout.reschedule(now)", "pass", stalling),
    "terms that allow too much time": Mutant("gateway.fleet", "> required.seconds:", "> 1e9:", slow_terms),
    "terms that promise too little": Mutant(
        "gateway.fleet", "retention=entry.terms.retention,", "retention=0,", short_retention
    ),
    "the node of the federation": Mutant(
        "gateway.fleet", "node=entry.public,", "node=None,", another_nodes_key
    ),
    "the first answer of a request stays": Mutant(
        "gateway.records",
        "self._digests.setdefault(choice.request_digest, record.id)",
        "self._digests[choice.request_digest] = record.id",
        takes_over,
    ),
    "cookies of nodes": Mutant("gateway.fleet", "cookies=no_cookies(),", "cookies=None,", tracked),
    "audits that wait": Mutant(
        "gateway.fleet", " and not self.behind()", "", test_a_node_behind_with_its_audits_is_not_asked
    ),
    "a receipt is written before its answer ends": Mutant(
        "gateway.relaying",
        "drawn = self.gateway.receipt(self.member, record, checked)",
        "drawn = None",
        in_folder(lambda folder: away.unwritten(folder, STREAM)),
    ),
    "a verdict is written before its label": Mutant(
        "gateway.gateway",
        '        evidence = b""\n        if audit',
        '        evidence, _ = b"", record.attach(receipt, audit)\n        if audit',
        in_folder(away.unrecorded),
    ),
    "a quarantine is owed until it is written": Mutant(
        "gateway.shared",
        "        self._pay()  # else",
        "        pass  # else",
        in_folder(away.owed),
    ),
    "what is owed is paid at the start": Mutant(
        "gateway.shared", "        self._pay()\n\n", "        pass\n\n", in_folder(away.paid_later)
    ),
    "aliases": Mutant(
        "gateway.federation", "if self.check_event(yaml.AliasEvent):", "if False:", lambda: alias()
    ),
    "keys that stand twice": Mutant(
        "gateway.federation",
        "if not isinstance(key, str) or key in made:",
        "if not isinstance(key, str):",
        lambda: twice(),
    ),
    "nodes of one key": Mutant(
        "gateway.federation",
        '_require_unique("key", [n.key for n in self.nodes])',
        "pass",
        lambda: refused({"version": 1, "nodes": [*nodes()["nodes"], *nodes(name="south")["nodes"]]}),
    ),
}


def alias() -> None:
    node = json.dumps(nodes()["nodes"][0])[1:-1]
    first = f"version: 1\nnodes:\n  - &a {{{node}, terms: &t {{retention: 1}}}}\n"
    refused(first.encode() + SECOND, "n.yaml")


SECOND = b"  - {name: south, url: http://s.example/v1, key: '%s', models: [small], terms: *t}\n" % (
    b"cd" * 32
)


def twice() -> None:
    node = json.dumps(nodes()["nodes"][0])
    refused(f"version: 1\nversion: 1\nnodes: [{node}]\n".encode(), "n.yaml")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_hostile_node_gets_through_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    mutant.attack()
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, (Edit(mutant.module, mutant.old, mutant.new),))
        with pytest.raises(AssertionError):
            mutant.attack()
