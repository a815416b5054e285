"""A committee on a chain: the escrow contract, who signs for it, and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from networks.chain import Chain
from proofcompute.networks.evm.contract import contract
from proofcompute.networks.evm.escrow import (
    STATES,
    Terms,
    deployment,
    simple_call,
    verdict_call,
    withdraw_call,
)
from proofcompute.networks.evm.typed import Domain, EvmKey, mixed, sign
from proofcompute.networks.work import Work
from proofcompute.protocol.messages import Outcome

KEYS = [EvmKey(bytes([i]) * 32) for i in range(1, 5)]
"""Three members and somebody who is none."""
MEMBERS = [key.address for key in KEYS[:3]]
OUTCOMES = {1: "accepted", 2: "contradicted", 3: "silent", 4: "refused"}
WINDOW = 1000
PRICE, STAKE, FORFEIT = 10**15, 3 * 10**15, 2 * 10**15


def digest(*what: object) -> bytes:
    """32 bytes that stand for something."""
    return repr(what).encode().ljust(32, b".")[:32]


def work(terms: Terms, receipt: bytes, outcome: int, auditor: int = 0) -> Work:
    """What an auditor found about a receipt of a job."""
    return Work(
        bundle_sha256=digest("evidence", auditor),
        bundle_size=1000,
        request_digest=terms.request,
        receipt_digest=receipt,
        model_id=terms.model,
        node=terms.node,
        rows=7,
        tokens=3,
        outcome=Outcome(OUTCOMES[outcome], step=3 if outcome == 2 else 0),
        auditor=digest("auditor", auditor),
        made=1_800_000_000_000 + auditor,
    )


@cache
def _signed(found: Work, signer: int, domain: Domain) -> bytes:
    return sign(found, KEYS[signer], domain).data


@dataclass
class Committee:
    """The contract on a chain."""

    chain: Chain
    address: str
    domain: Domain = field(init=False)

    def __post_init__(self) -> None:
        self.domain = Domain(int(self.chain.ask("eth_chainId"), 16), self.address)

    @staticmethod
    def deploy(
        chain: Chain, *, bytecode: bytes | None = None, raw: tuple[Sequence[str], int, int] | None = None
    ) -> Committee:
        """Deploy the contract, or another one in its stead; ``raw`` is what its constructor is given."""
        data = deployment(MEMBERS, 2, WINDOW) if raw is None else contract("escrow").deployment(*raw)
        if bytecode is not None:
            data = bytecode + data[len(contract("escrow").bytecode) :]
        made = chain.send("deploy", data, chain.accounts[9])
        return Committee(chain, mixed(bytes.fromhex(made["contractAddress"][2:])))

    def terms(self, **changes: Any) -> Terms:
        """Terms of a job that starts now."""
        now = self.chain.now
        usual = Terms(
            client=mixed(bytes.fromhex(self.chain.accounts[0][2:])),
            payee=mixed(bytes.fromhex(self.chain.accounts[1][2:])),
            node=digest("node"),
            request=digest("request"),
            model=digest("model"),
            price=PRICE,
            stake=STAKE,
            forfeit=FORFEIT,
            take_by=now + 100,
            deadline=now + 500,
        )
        return replace(usual, **changes)

    def do(
        self, name: str, terms: Terms, sender: str | None = None, value: int | None = None
    ) -> dict[str, Any]:
        """Make one of the calls that need the terms only, as whoever may make it unless told otherwise."""
        who = terms.payee if name == "take" else terms.client
        usual = {"open": terms.price, "take": terms.stake}.get(name, 0)
        call = simple_call(name, terms)
        sent = usual if value is None else value
        return self.chain.send(name, call.data, sender or who, self.address, sent)

    def documents(
        self, terms: Terms, receipt: bytes, outcome: int, signers: Sequence[int] = (0, 1)
    ) -> list[bytes]:
        """Verdicts that members signed."""
        return [_signed(work(terms, receipt, outcome, s), s, self.domain) for s in signers]

    def bring(
        self, terms: Terms, receipt: bytes, outcome: int, signers: Sequence[int] = (0, 1)
    ) -> dict[str, Any]:
        """Bring a quorum's verdicts to the contract, as somebody who has no part in it."""
        call = verdict_call(terms, self.documents(terms, receipt, outcome, signers), self.domain)
        return self.chain.send(
            call.signature.partition("(")[0], call.data, self.chain.accounts[8], self.address
        )

    def bring_raw(self, name: str, terms: Terms, receipt: bytes, rows: int, votes: Sequence[object]) -> None:
        """Bring votes as they are."""
        call = contract("escrow").call(name, terms.words(), receipt, rows, list(votes))
        self.chain.send(name, call.data, self.chain.accounts[8], self.address)

    def state(self, terms: Terms) -> str:
        """What became of a job."""
        return STATES[
            int.from_bytes(self.chain.read(contract("escrow").call("state", terms.job).data, self.address))
        ]

    def owed(self, address: str) -> int:
        """What the contract owes somebody."""
        return int.from_bytes(self.chain.read(contract("escrow").call("owed", address).data, self.address))

    def withdraw(self, address: str) -> int:
        """Withdraw, and return how much the address has more, its fee for the transaction not counted."""
        before = self.chain.balance(address)
        made = self.chain.send("withdraw", withdraw_call().data, address, self.address)
        fee = int(made["gasUsed"], 16) * int(made["effectiveGasPrice"], 16)
        return self.chain.balance(address) - before + fee
