"""Pays nodes by verdicts, on a development chain: `python examples/escrow_demo.py http://127.0.0.1:8545`.

The chain is anvil or another one whose accounts sign for whoever asks; `npx @foundry-rs/anvil` starts one.
Two nodes run, an honest one and one with weights of four bits, and `proofcompute gateway` before each, which
writes receipts into a ledger. For each a client locks the price of one request, and the node a stake. The
client asks the gateway. Three auditors then take the answer from the ledger; each has the node open all of it
and writes down what it found. As a committee they sign one verdict of a quorum, which is a leaf of the
ledger's log, and each signs its own for the contract. The honest node is paid; the other loses its stake.

Money of a real chain is moved by the same calls, which a wallet signs.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fleet_demo
import httpx2
from fleet_demo import DEVICE, NAME, QUESTION

import proofcompute as pc
from proofcompute.auditing import Committee, FleetModel
from proofcompute.auditing.turning import verdict_of
from proofcompute.bls.signatures import VerdictKey
from proofcompute.client import Challenger, Checked
from proofcompute.client.contradictions import evidence_of
from proofcompute.client.verdicts import audited_state
from proofcompute.ledger import Ledger
from proofcompute.networks.evm.contract import contract
from proofcompute.networks.evm.escrow import (
    STATES,
    Terms,
    deployment,
    simple_call,
    verdict_call,
    withdraw_call,
)
from proofcompute.networks.evm.typed import Domain, EvmKey, sign
from proofcompute.networks.work import Work
from proofcompute.openai import NONCE_HEADER, RECEIPT_ID_HEADER, call_of
from proofcompute.protocol.messages import Request
from proofcompute.verdicts import Member, QuorumPolicy
from proofcompute.verifier import check_receipt

PRICE, STAKE, FORFEIT = 10**16, 5 * 10**16, 4 * 10**16
WINDOW = 3600
ENDS = {"honest": "paid", "four-bits": "slashed"}
"""The nodes, and what becomes of the job of each."""


@dataclass
class Chain:
    """A development chain."""

    url: str

    def ask(self, method: str, *parameters: object) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        asked = urllib.request.Request(self.url, body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=60) as answered:  # noqa: S310
            said = json.loads(answered.read())
        if "error" in said:
            raise SystemExit(f"{method}: {said['error']['message']}")
        return said["result"]

    def send(self, data: bytes, sender: str, to: str | None, value: int = 0) -> dict[str, Any]:
        asked = {"from": sender, "data": "0x" + data.hex(), "value": hex(value)}
        known = self.ask("eth_sendTransaction", asked if to is None else {**asked, "to": to})
        for _ in range(600):
            if receipt := self.ask("eth_getTransactionReceipt", known):
                break
            time.sleep(0.1)
        else:
            raise SystemExit("the chain makes no blocks")
        if receipt["status"] != "0x1":
            raise SystemExit("the contract refused a call")
        found: dict[str, Any] = receipt
        return found

    @property
    def now(self) -> int:
        return int(self.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def view(self, name: str, argument: object, escrow: str) -> int:
        """Read a number of the contract."""
        data = "0x" + contract("escrow").call(name, argument).data.hex()
        return int(self.ask("eth_call", {"to": escrow, "data": data}, "latest"), 16)


@dataclass(eq=False)
class Auditor:
    """A member of the committee: an identity for evidence, a key of the quorum, and one for contracts."""

    identity: pc.NodeIdentity
    quorum: VerdictKey
    evm: EvmKey
    model: pc.Model

    @staticmethod
    def new(number: int, model: pc.Model) -> Auditor:
        return Auditor(pc.NodeIdentity.new(), VerdictKey.new(), EvmKey(bytes([number]) * 32), model)

    def audit(self, ledger: Ledger, receipt: bytes, url: str, place: Path) -> bytes:
        """Have a node open all cells of an answer that a gateway kept; return the digest of the evidence."""
        known, answer = ledger.fleet.receipt(receipt), ledger.fleet.answer(receipt)
        if known is None or answer is None:
            raise SystemExit("the gateway kept no such answer")
        request = Request.decode(answer[0])
        claim = check_receipt(self.model.card, request, answer[1], known.node)
        (terms,) = ledger.fleet.terms(known.node)
        checked = Checked(request, answer[1], claim, "client", terms, known.made, known.seconds)
        challenger = Challenger(url, self.model, device=DEVICE, node=known.node)
        try:
            audited = challenger.audit(checked, "all")
            state = audited_state(audited, challenger.auditor(terms).deadline(claim))
        finally:
            challenger.close()
        bundle, why = evidence_of(audited, self.model.card, self.identity)
        if bundle is None:
            raise SystemExit(f"an audit gave no evidence: {why}")
        place.write_bytes(bundle.encode())
        evidence = ledger.verdicts.keep_evidence(receipt, place.read_bytes())
        verdict = verdict_of(audited, state, extent=ledger.policy.extent, evidence=evidence)
        if verdict is None:
            raise SystemExit(f"an audit says nothing about the node: {state}")
        ledger.verdicts.record(verdict.signed(self.identity))
        return evidence


def committee_of(members: list[Auditor]) -> QuorumPolicy:
    """Return the policy of a quorum of two thirds."""
    return QuorumPolicy.of(
        [Member(each.quorum.public, each.quorum.possession()) for each in members],
        name="the committee of a contract",
        threshold=2,
        valid_from=0,
        valid_until=1 << 40,
        longest=86_400,
    )


def agree(ledger: Ledger, members: list[Auditor], receipt: bytes, evidence: bytes) -> str:
    """Let all members decide again about evidence and sign together; return the outcome of their quorum."""
    policy = committee_of(members)
    committees = [Committee(policy, each.quorum) for each in members]
    committees[0].call(ledger, receipt, evidence, NAME)
    for member, committee in zip(members, committees, strict=True):
        (job,) = ledger.jobs.lease(committee.owner, 60, kinds=["sign"])
        models = {NAME: FleetModel(NAME, member.model)}
        committee.sign(ledger, job, models, pc.kernels_for(DEVICE), time.time)
    (_, made), *_ = ledger.verdicts.quorums(receipt)
    return made.statement.outcome.kind


def ask(gateway: str, nonce: bytes) -> bytes:
    """Ask the gateway with a nonce of the client's own, and return the digest of the receipt."""
    found = httpx2.post(
        f"{gateway}/v1/chat/completions",
        json={"model": NAME, **QUESTION},
        headers={NONCE_HEADER: nonce.hex()},
        timeout=60,
    )
    if found.status_code != 200:
        raise SystemExit(f"the gateway gave no answer: {found.text[:1000]}")
    return bytes.fromhex(found.headers[RECEIPT_ID_HEADER])


def run(chain: Chain, members: list[Auditor], escrow: str, folder: Path, kind: str) -> str:
    """Pay a node for one request by what a committee finds, and return what became of the job."""
    _, client, payee, anybody = chain.ask("eth_accounts")[:4]
    node, model = pc.NodeIdentity.load(folder / f"{kind}.identity").public, members[0].model
    domain = Domain(int(chain.ask("eth_chainId"), 16), escrow)
    with ExitStack() as stack:
        url = stack.enter_context(
            fleet_demo.process(sys.executable, str(fleet_demo.__file__), "node", str(folder), kind)
        ).strip()
        where = folder / f"{kind}.db"
        gateway = stack.enter_context(before(folder, kind, url, node, where))

        # 1. Client and node agree about one request, whose nonce is the client's, and lock their money.
        nonce = secrets.token_bytes(32)
        with pc.Prompter(model) as prompter:
            call = call_of({"model": NAME, **QUESTION}, endpoint="chat")
            today = datetime.now(UTC).date()
            (request,) = call.requests(prompter, nonce=nonce, date=today, node=node)
        terms = Terms(
            client=client,
            payee=payee,
            node=node,
            request=request.digest,
            model=model.model_id,
            price=PRICE,
            stake=STAKE,
            forfeit=FORFEIT,
            take_by=chain.now + 600,
            deadline=chain.now + 3600,
        )
        chain.send(simple_call("open", terms).data, client, escrow, PRICE)
        chain.send(simple_call("take", terms).data, payee, escrow, STAKE)

        # 2. The node answers through the gateway, which has checked the receipt and written it down.
        receipt = ask(gateway, nonce)

        # 3. Each auditor decides for itself, and then all together.
        with Ledger(where) as ledger:
            places = [folder / f"{kind}.{i}" for i in range(len(members))]
            evidence = [
                each.audit(ledger, receipt, url, place) for each, place in zip(members, places, strict=True)
            ]
            outcome = agree(ledger, members, receipt, evidence[0])
            size = ledger.log.size
    works = [Work.of(place) for place in places]
    if {work.outcome.kind for work in works} != {outcome}:
        raise SystemExit("the quorum says something else than its members")
    print(f"  the quorum of the ledger says {outcome}; its log has {size} leaves")

    # 4. Two verdicts are a quorum for the contract too; whoever brings them.
    signed = [sign(work, each.evm, domain).data for work, each in zip(works, members, strict=True)]
    brought = verdict_call(terms, signed[:2], domain)
    used = int(chain.send(brought.data, anybody, escrow)["gasUsed"], 16)
    print(f"  receipt {receipt.hex()[:16]}: {brought.signature.split('(')[0]}, {used} gas")

    # 5. After the time for contradictions the pay is released.
    state = STATES[chain.view("state", terms.job, escrow)]
    if state == "accepted":
        chain.ask("evm_mine", chain.now + WINDOW + 1)
        chain.send(simple_call("release", terms).data, anybody, escrow)
    winner = client if state == "slashed" else payee
    owed = chain.view("owed", winner, escrow)
    chain.send(withdraw_call().data, winner, escrow)
    print(f"  {'client' if winner == client else 'node'} withdrew {owed / 10**18} of the chain's money")
    return STATES[chain.view("state", terms.job, escrow)]


@contextmanager
def before(folder: Path, kind: str, url: str, node: bytes, ledger: Path) -> Iterator[str]:
    """Run a gateway before a node, and yield its address."""
    entry = {"name": kind, "url": url, "key": node.hex(), "models": [NAME]}
    model = {"name": NAME, "card": "card"}
    files = {"nodes": {"version": 1, "nodes": [entry]}, "models": {"version": 1, "models": [model]}}
    words: list[str] = []
    for name, value in files.items():
        place = folder / f"{kind}.{name}.json"
        place.write_text(json.dumps(value))
        words += [f"--{name}", str(place)]
    words += ["--identity", str(folder / "gateway.identity"), "--ledger", str(ledger), "--port", "0"]
    words += ["--device", DEVICE, "--log-level", "error"]
    with fleet_demo.process(sys.executable, "-m", "proofcompute", "gateway", *words) as said:
        yield said.split()[2].removesuffix(",").removesuffix("/v1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="JSON-RPC of a development chain")
    chain = Chain(parser.parse_args().url)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fleet_demo.files(folder)
        model = pc.Model.load(folder / "model")
        members = [Auditor.new(number, model) for number in range(1, 4)]
        data = deployment([each.evm.address for each in members], 2, WINDOW)
        escrow = chain.send(data, chain.ask("eth_accounts")[0], None)["contractAddress"]
        for kind, ends in ENDS.items():
            print(f"the node {kind}:", flush=True)
            became = run(chain, members, escrow, folder, kind)
            if became != ends:
                raise SystemExit(f"the job of the node {kind} is {became}, and not {ends}")


if __name__ == "__main__":
    main()
