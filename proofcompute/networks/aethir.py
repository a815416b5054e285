"""Sign reports of checker nodes (EIP-191), and find what the majority of them says.

Aethir's checkers vote, 2 N + 1 of them about one container; how they speak is not published. So the form is
our own: a report is text, one line of JSON in one form, which says what an auditor found; a checker's wallet
signs it as a personal message. A roster names the 2 N + 1 checkers, and N + 1 reports that say the same are
the majority. A checker that signed two different reports about one receipt is counted for neither. One that
gives the receipt another request, model, node or number of rows says something else, as any minority may: it
stops nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.networks.adapter import Description, Document
from proofcompute.networks.evm.signed import signature_of, signer_of
from proofcompute.networks.evm.typed import FIELDS, EvmKey, address_of, keccak, message, mixed
from proofcompute.networks.work import Work
from proofcompute.protocol.messages.evidence import OUTCOMES

__all__ = ["ADAPTER", "Aethir", "Majority", "Report", "majority", "read_report", "report"]

KIND: Final = "proofcompute.checker.report.v1"
MAX_REPORT: Final = 1 << 14
"""The most bytes of a report that is read."""
MAX_CHECKERS: Final = 1001
_OWN: Final = ("auditor", "evidence", "step", "made")
"""Fields in which reports that say the same may differ: each checker has evidence of its own."""


@dataclass(frozen=True)
class Report:
    """What a checker says."""

    checker: bytes
    """The address that signed, 20 bytes."""
    verdict: dict[str, Json]
    """The fields as contracts know them (:data:`.typed.FIELDS`)."""

    @property
    def said(self) -> tuple[Json, ...]:
        """What other checkers can say as well: about which receipt, and what was found."""
        return tuple(self.verdict[name] for name, _ in FIELDS if name not in _OWN)

    @property
    def about(self) -> Json:
        """Digest of the receipt that it is about."""
        return self.verdict["receipt"]


@dataclass(frozen=True)
class Majority:
    """What most checkers say about a receipt."""

    outcome: str
    """One of the outcomes of auditors."""
    verdict: dict[str, Json]
    """The fields that all of these reports share."""
    checkers: tuple[str, ...]
    """The addresses of those who say it, in mixed case, sorted."""
    others: tuple[str, ...]
    """Those who said something else."""
    equivocal: tuple[str, ...]
    """Those who said two things, and are not counted."""


def _text(verdict: dict[str, Json]) -> str:
    return json.dumps({"kind": KIND, **verdict}, separators=(",", ":"))


def _digest(text: str) -> bytes:
    """Return the digest of a personal message (EIP-191, version 0x45)."""
    data = text.encode()
    return keccak(b"\x19Ethereum Signed Message:\n", str(len(data)).encode(), data)


def report(work: Work, key: EvmKey) -> Document:
    """Return the signed report of a checker about what an auditor found."""
    text = _text(message(work))
    value = {"address": key.address, "msg": text, "sig": "0x" + key.sign(_digest(text)).hex(), "version": "1"}
    return Document("application/json", json.dumps(value, indent=2).encode() + b"\n", ".report.json", "ours")


def read_report(data: bytes) -> Report:
    """Read a report, and find who signed it.

    Raises EnvelopeError if it is malformed, or not signed by the address that it names.
    """
    try:
        top = read_json(data, MAX_REPORT)
        if set(top) != {"address", "msg", "sig", "version"} or top["version"] != "1":
            raise EnvelopeError("a report has address, msg, sig and the version 1")
        text = top["msg"]
        if not isinstance(text, str):
            raise EnvelopeError("a report's message is text")
        found = read_json(text.encode(), MAX_REPORT)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the report is not JSON as it is read here: {e}") from e
    if found.pop("kind", None) != KIND or [*found] != [name for name, _ in FIELDS]:
        raise EnvelopeError(f"the report's message is no {KIND}")
    if _text(found) != text:
        raise EnvelopeError("the report's message has another form than reports have")
    for name, kind in FIELDS:
        value = found[name]
        if kind == "bytes32":
            fits = isinstance(value, str) and len(value) == 66 and _is_hex(value)
        else:
            fits = type(value) is int and 0 <= value < 1 << int(kind.removeprefix("uint"))
        if not fits:
            raise EnvelopeError(f"the report has no {kind} for {name}")
    outcome = found["outcome"]
    if not isinstance(outcome, int) or not 1 <= outcome <= len(OUTCOMES):
        raise EnvelopeError("the report's outcome is none of auditors")
    checker = signer_of(signature_of(top["sig"]), _digest(text))
    if top["address"] != mixed(checker):
        raise EnvelopeError(f"the report was signed by {mixed(checker)}, not by the address that it names")
    return Report(checker, found)


def _is_hex(text: str) -> bool:
    try:
        return "0x" + bytes.fromhex(text[2:]).hex() == text
    except ValueError:
        return False


def majority(reports: Sequence[bytes], roster: Sequence[str]) -> Majority:
    """Return what the majority of a roster says about the receipt that all reports are about.

    Args:
        reports: signed reports, in any order; a second copy of one counts once.
        roster: the addresses of the 2 N + 1 checkers.

    Raises InputError for a roster that is none, EnvelopeError for a malformed report, one of somebody who is
    not on the roster, or reports about two receipts, or if no N + 1 checkers say the same.
    """
    known = {address_of(address) for address in roster}
    if len(known) != len(roster) or len(roster) % 2 == 0 or len(roster) > MAX_CHECKERS:
        raise InputError(f"a roster is an odd number of different addresses, at most {MAX_CHECKERS}")
    if not 0 < len(reports) <= 4 * MAX_CHECKERS:
        raise InputError("there are no reports, or far more than checkers")
    found = [read_report(each) for each in reports]
    if strangers := {each.checker for each in found} - known:
        raise EnvelopeError(f"{mixed(min(strangers))} is not on the roster")
    if len({each.about for each in found}) != 1:
        raise EnvelopeError("the reports are about several receipts")
    said: dict[bytes, set[tuple[Json, ...]]] = {}
    for each in found:
        said.setdefault(each.checker, set()).add(each.said)
    equivocal = {checker for checker, what in said.items() if len(what) > 1}
    votes = Counter(next(iter(what)) for checker, what in said.items() if checker not in equivocal)
    needed = len(roster) // 2 + 1
    best, count = votes.most_common(1)[0] if votes else ((), 0)
    if count < needed:
        raise EnvelopeError(f"{count} checkers say the same, and {needed} of {len(roster)} are needed")
    checkers = {c for c in set(said) - equivocal if said[c] == {best}}
    one = next(each for each in found if each.said == best)
    verdict = {name: value for name, value in one.verdict.items() if name not in _OWN}
    return Majority(
        OUTCOMES[int(str(verdict["outcome"])) - 1],
        verdict,
        _sorted(checkers),
        _sorted(set(said) - checkers - equivocal),
        _sorted(equivocal),
    )


def _sorted(addresses: set[bytes]) -> tuple[str, ...]:
    return tuple(mixed(address) for address in sorted(addresses))


@dataclass(frozen=True)
class Aethir:
    """Lets checker nodes vote about work."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="aethir",
            title="Aethir",
            adopter="checker nodes, which vote about containers",
            offers=("signed reports of checkers (EIP-191), and what the majority of 2 N + 1 says",),
            interface="ours",
            judged_by=("ethers",),
        )


ADAPTER = Aethir()
