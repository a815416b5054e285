"""Write the calls of the escrow contract, which pays a node by verdicts of a committee.

The contract (``contracts/escrow.vy``) stores no terms: a job's identifier is the Keccak-256 of its terms,
which every call gives again. What a call costs to send and who signs transactions is the wallet's part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from proofcompute.encoding.strict_json import read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.networks.adapter import Document
from proofcompute.networks.evm.contract import contract
from proofcompute.networks.evm.signed import Signed, read_signed
from proofcompute.networks.evm.typed import WORD, Domain, address_of, keccak, mixed
from proofcompute.networks.evm.validation import Call, abi

__all__ = ["SIMPLE", "STATES", "Terms", "deployment", "simple_call", "verdict_call", "withdraw_call"]

STATES: Final = (
    "unknown",
    "open",
    "taken",
    "accepted",
    "paid",
    "slashed",
    "expired",
    "cancelled",
    "silent",
    "forfeited",
)
"""What the contract's ``state`` of a job means."""
SIMPLE: Final = ("open", "take", "cancel", "release", "forfeit", "expire")
"""The calls that need nothing but the terms."""
MAX_MEMBERS: Final = 32
LONGEST: Final = 366 * 86400
"""Seconds: the contract locks nothing for longer."""
MAX_TERMS: Final = 4096
"""The most bytes of a file of terms that is read."""
_MAX_AMOUNT: Final = (1 << 128) - 1
_VERDICTS: Final = {1: "accept", 2: "contradict", 3: "silence", 4: "silence"}
"""What is called with which outcomes: whoever refuses shows no more than who is silent."""
_DIGESTS: Final = ("node", "request", "model")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What client and node agree on. Raises InputError for what the contract would refuse or never settle."""

    client: str
    """The address that pays, and gets the stake of a node that is contradicted."""
    payee: str
    """The node's address: it takes the job and is paid."""
    node: bytes
    """The node's Ed25519 key, which receipts name, 32 bytes."""
    request: bytes
    """Digest of the request, 32 bytes."""
    model: bytes
    """Identifier of the model, 32 bytes."""
    price: int
    """What the client pays, in the smallest unit of the chain's own money."""
    stake: int
    """What the node loses if it is contradicted, in the same unit."""
    forfeit: int
    """What of the stake it loses if a quorum says that it does not show its work, in the same unit."""
    take_by: int
    """The node takes the job until then, in seconds since the Unix epoch."""
    deadline: int
    """Verdicts count until then, in seconds since the Unix epoch."""

    def __post_init__(self) -> None:
        for address in (self.client, self.payee):
            if not any(address_of(address)):
                raise InputError("an address of the terms is zero, which nobody owns")
        for name in _DIGESTS:
            if len(getattr(self, name)) != WORD:
                raise InputError(f"the {name} of the terms is 32 bytes")
        if not (0 < self.price <= _MAX_AMOUNT and 0 <= self.stake <= _MAX_AMOUNT):
            raise InputError("a price is above zero, and price and stake are below 2^128")
        if not 0 <= self.forfeit <= self.stake:
            raise InputError("what a node forfeits by silence is a part of its stake")
        if not 0 < self.take_by < self.deadline < 1 << 63:
            raise InputError("a job is taken before its deadline")

    def words(self) -> tuple[object, ...]:
        """Return the terms as the contract takes them."""
        found = (getattr(self, each.name) for each in fields(self))
        return tuple("0x" + address_of(v).hex() if isinstance(v, str) else v for v in found)

    @property
    def job(self) -> bytes:
        """The job's identifier, 32 bytes."""
        return keccak(bytes(abi().encode(contract("escrow").kinds("job_of"), (self.words(),))))

    def document(self) -> Document:
        """Return the terms as a file, which client and node keep."""
        value: dict[str, object] = {"kind": "proofcompute escrow terms", "version": 1}
        for each in fields(self):
            field = getattr(self, each.name)
            if isinstance(field, str):
                value[each.name] = mixed(address_of(field))
            else:
                value[each.name] = "0x" + field.hex() if isinstance(field, bytes) else str(field)
        return Document(
            "application/json", json.dumps(value, indent=2).encode() + b"\n", ".terms.json", "ours"
        )

    @staticmethod
    def decode(data: bytes) -> Terms:
        """Read the terms from a file. Raises EnvelopeError if they are malformed or no terms."""
        try:
            top = read_json(data, MAX_TERMS)
        except (FormatError, LimitError) as e:
            raise EnvelopeError(f"the terms are not JSON as it is read here: {e}") from e
        names = {each.name for each in fields(Terms)}
        if set(top) != {"kind", "version", *names} or not all(isinstance(top[n], str) for n in names):
            raise EnvelopeError(f"terms have kind, version, {', '.join(sorted(names))}, all as text")
        if top["kind"] != "proofcompute escrow terms" or top["version"] != 1:
            raise EnvelopeError("the file holds no terms of version 1")
        text = {name: str(top[name]) for name in names}
        try:
            found = Terms(
                client=text["client"],
                payee=text["payee"],
                node=_hexadecimal(text["node"]),
                request=_hexadecimal(text["request"]),
                model=_hexadecimal(text["model"]),
                price=_number(text["price"]),
                stake=_number(text["stake"]),
                forfeit=_number(text["forfeit"]),
                take_by=_number(text["take_by"]),
                deadline=_number(text["deadline"]),
            )
        except (InputError, ValueError) as e:
            raise EnvelopeError(f"the terms are malformed: {e}") from e
        if found.document().data != Document("", json.dumps(top, indent=2).encode() + b"\n", "", "ours").data:
            raise EnvelopeError("the terms are not in the form in which they are written")
        return found


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 40:
        raise ValueError(f"{text[:40]!r} is no number")
    return int(text)


def deployment(members: Sequence[str], threshold: int, window: int) -> bytes:
    """Return the input of the transaction that deploys the contract.

    Args:
        members: the addresses of the auditors.
        threshold: how many of them make a quorum, more than half.
        window: seconds for contradictions after an acceptance, and for showing the work after silence.

    Raises InputError for a committee that the contract refuses.
    """
    known = {address_of(member) for member in members}
    if len(known) != len(members) or bytes(20) in known or len(members) > MAX_MEMBERS:
        raise InputError(f"a committee has up to {MAX_MEMBERS} members, each with an address of its own")
    if not len(members) < 2 * threshold <= 2 * len(members):
        raise InputError(f"a quorum of {len(members)} is more than half of them")
    if not 0 <= window <= LONGEST:
        raise InputError(f"the time for contradictions is at most {LONGEST} s")
    return contract("escrow").deployment(["0x" + address_of(m).hex() for m in members], threshold, window)


def simple_call(name: str, terms: Terms) -> Call:
    """Return a call that needs nothing but the terms: one of ``SIMPLE``.

    ``open`` is sent with the price, by the client, and ``take`` with the stake, by the node.
    """
    if name not in SIMPLE:
        raise InputError(f"{name!r} is none of {', '.join(SIMPLE)}")
    return contract("escrow").call(name, terms.words())


def withdraw_call() -> Call:
    """Return the call by which somebody is sent all that the contract owes it."""
    return contract("escrow").call("withdraw")


def verdict_call(terms: Terms, documents: Sequence[bytes], domain: Domain) -> Call:
    """Return the call that brings a quorum's verdicts to the contract.

    They are acceptances, or contradictions, or say that the node was silent or refused.

    Args:
        terms: the job's.
        documents: signed verdicts of the members (:func:`.typed.sign`), in any order.
        domain: the chain and the escrow contract, for which they were signed.

    Raises EnvelopeError if one is malformed, for another contract, about another job, or does not say what
    the others say. Who the members are only the contract knows.
    """
    if not 0 < len(documents) <= MAX_MEMBERS:
        raise InputError(f"a quorum has 1 to {MAX_MEMBERS} verdicts, not {len(documents)}")
    found = [read_signed(each, domain) for each in documents]
    if len({each.signer for each in found}) != len(found):
        raise EnvelopeError("two of the verdicts have one signer, which counts once")
    about = {name: "0x" + getattr(terms, name).hex() for name in _DIGESTS}
    common = {name: found[0].verdict[name] for name in ("receipt", "rows")}
    function = _function(found[0])
    for each in found:
        for name, value in {**about, **common}.items():
            if each.verdict[name] != value:
                whose = "the terms say" if name in about else "another member says"
                raise EnvelopeError(f"{mixed(each.signer)} signed another {name} than {whose}")
        if _function(each) != function:
            raise EnvelopeError(f"{mixed(each.signer)} signed another outcome than another member says")
    votes = [_vote(each) for each in sorted(found, key=lambda each: each.signer)]
    return contract("escrow").call(
        function, terms.words(), _hexadecimal(common["receipt"]), common["rows"], votes
    )


def _function(signed: Signed) -> str:
    """Return the function that takes such a verdict."""
    outcome = signed.verdict["outcome"]
    found = _VERDICTS.get(outcome) if isinstance(outcome, int) else None
    if found is None:
        raise EnvelopeError(f"a verdict has the outcome {outcome}, which settles nothing")
    return found


def _hexadecimal(value: object) -> bytes:
    return bytes.fromhex(str(value).removeprefix("0x"))


def _vote(signed: Signed) -> tuple[object, ...]:
    verdict, raw = signed.verdict, signed.signature
    return (
        _hexadecimal(verdict["auditor"]),
        _hexadecimal(verdict["evidence"]),
        verdict["step"],
        verdict["made"],
        raw[64],
        raw[:WORD],
        int.from_bytes(raw[WORD:64]),
        verdict["outcome"],
    )
