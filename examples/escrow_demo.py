"""Pays a node by verdicts, on a development chain: `python examples/escrow_demo.py http://127.0.0.1:8545`.

The chain is anvil or another one whose accounts sign for whoever asks; `npx @foundry-rs/anvil` starts one. A
client locks the price of a request, a node its stake. The node answers, three auditors check the answer, each
with a key of its own, and sign what they found for the contract. An honest node is paid; one that computed
with other weights loses its stake. Money of a real chain is moved by the same calls, which a wallet signs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import proofcompute as pc
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.errors import VerificationError
from proofcompute.models.model import Model
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
from proofcompute.protocol.messages import Receipt
from proofcompute.testing import reweighted

PRICE, STAKE = 10**16, 5 * 10**16
WINDOW = 3600


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


def build() -> Model:
    """Build a small network."""
    rng = np.random.default_rng(0)
    b = pc.ProgramBuilder()
    h = b.relu(b.linear(b.input("x", 32), rng.standard_normal((48, 32)).astype(np.float32)))
    b.cut(h)
    b.output(b.linear(h, rng.standard_normal((10, 48)).astype(np.float32), name="y"))
    return b.model()


def cheating(model: Model) -> Model:
    """Return a model that says it is this one and has other weights."""
    name = [n for n, w in model.weights.items() if isinstance(w, Matrix)][-1]
    return reweighted(model, lambda n, w: replace(w, q=np.roll(w.q, 1, axis=1)) if n == name else w)


@dataclass
class Member:
    """An auditor: a key for the model, an identity for evidence, and a key that signs for contracts."""

    auditor: pc.Auditor
    identity: pc.NodeIdentity
    evm: EvmKey

    def verdict(self, node: pc.Node, request: Any, receipt: bytes, place: Path, domain: Domain) -> bytes:
        """Check every cell of an answer, write down what was found, and sign it for a contract."""
        challenge = self.auditor.challenge(request, receipt, "all")
        opening = node.open(request, receipt, challenge)
        found: Any
        try:
            found = self.auditor.check(request, receipt, challenge, opening, waited=1.0)
        except VerificationError as e:
            found = e
        said: dict[str, Any] = {"challenge": challenge, "opening": opening, "waited": 1.0}
        self.auditor.evidence(self.identity, request, receipt, found, **said).save(place)
        return sign(Work.of(place), self.evm, domain).data


def run(chain: Chain, model: Model, node_has: Model, members: list[Member], escrow: str, folder: Path) -> str:
    """Pay for one request, and return what became of the job."""
    _, client, payee, anybody = chain.ask("eth_accounts")[:4]
    node = pc.Node(node_has, pc.NodeIdentity.new())
    samples = np.random.default_rng(1).standard_normal((5, 32)).astype(np.float32)
    request = pc.array_request(model, samples, node=node.public)

    # 1. Client and node agree, and lock their money.
    terms = Terms(
        client=client,
        payee=payee,
        node=node.public,
        request=request.digest,
        model=model.model_id,
        price=PRICE,
        stake=STAKE,
        take_by=chain.now + 600,
        deadline=chain.now + 3600,
    )
    chain.send(simple_call("open", terms).data, client, escrow, PRICE)
    chain.send(simple_call("take", terms).data, payee, escrow, STAKE)

    # 2. The node answers, and each auditor decides for itself.
    receipt = node.answer(request).receipt
    domain = Domain(int(chain.ask("eth_chainId"), 16), escrow)
    verdicts = [
        each.verdict(node, request, receipt, folder / f"{i}", domain) for i, each in enumerate(members)
    ]

    # 3. Two verdicts are a quorum; whoever brings them.
    call = verdict_call(terms, verdicts[:2], domain)
    used = int(chain.send(call.data, anybody, escrow)["gasUsed"], 16)
    print(
        f"  receipt {Receipt.decode(receipt).digest.hex()[:16]}: {call.signature.split('(')[0]}, {used} gas"
    )

    # 4. After the time for contradictions the pay is released.
    state = STATES[int(chain.ask("eth_call", view("state", terms.job, escrow), "latest"), 16)]
    if state == "accepted":
        chain.ask("evm_mine", chain.now + WINDOW + 1)
        chain.send(simple_call("release", terms).data, anybody, escrow)
    winner = client if state == "slashed" else payee
    owed = int(chain.ask("eth_call", view("owed", winner, escrow), "latest"), 16)
    chain.send(withdraw_call().data, winner, escrow)
    print(f"  {'client' if winner == client else 'node'} withdrew {owed / 10**18} of the chain's money")
    return STATES[int(chain.ask("eth_call", view("state", terms.job, escrow), "latest"), 16)]


def view(name: str, argument: object, escrow: str) -> dict[str, str]:
    """Return the call that reads something of the contract."""
    return {"to": escrow, "data": "0x" + contract("escrow").call(name, argument).data.hex()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="JSON-RPC of a development chain")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    chain, model = Chain(given.url), build()
    kernels = pc.kernels_for(given.device)
    members = [
        Member(pc.Auditor(pc.keygen(model, kernels)), pc.NodeIdentity.new(), EvmKey(bytes([i]) * 32))
        for i in range(1, 4)
    ]
    data = deployment([each.evm.address for each in members], 2, WINDOW)
    escrow = chain.send(data, chain.ask("eth_accounts")[0], None)["contractAddress"]
    with tempfile.TemporaryDirectory() as folder:
        print("a node that computes what it is paid for:")
        if run(chain, model, model, members, escrow, Path(folder)) != "paid":
            raise SystemExit("an honest node was not paid")
        print("a node with other weights:")
        if run(chain, model, cheating(model), members, escrow, Path(folder)) != "slashed":
            raise SystemExit("a cheating node was not slashed")


if __name__ == "__main__":
    main()
