"""Reports of checkers: read by ethers, counted, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done
from networks.bundles import saved, work
from networks.judging import judged
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.networks.aethir import majority, read_report, report
from proofcompute.networks.evm.typed import EvmKey, keccak
from proofcompute.networks.work import Work

pytest.importorskip("eth_keys")

KEYS = [EvmKey(bytes([i]) * 32) for i in range(1, 7)]
ROSTER = [key.address for key in KEYS[:5]]
"""2 N + 1 with N = 2: three make a majority."""


@pytest.fixture
def accepted(tmp_path: Path) -> Work:
    return work(tmp_path, "accepted")


@pytest.fixture
def contradicted(tmp_path: Path, accepted: Work) -> Work:
    """Another word about the same receipt."""
    return replace(accepted, outcome=work(tmp_path, "contradicted").outcome)


def own(known: Work, i: int) -> Work:
    """As a checker with evidence of its own found it."""
    return replace(known, bundle_sha256=bytes([i]) * 32, auditor=bytes([i]) * 32, made=known.made + i)


def votes(known: Work, *signers: int) -> list[bytes]:
    return [report(own(known, i), KEYS[i]).data for i in signers]


def test_their_code_finds_the_signer(accepted: Work) -> None:
    document = json.loads(report(accepted, KEYS[0]).data)
    (said,) = judged("evm.mjs", [{"text": document["msg"], "signature": document["sig"]}])
    assert said == {"signer": KEYS[0].address}
    assert read_report(report(accepted, KEYS[0]).data).checker.hex() == KEYS[0].address[2:].lower()


def texted(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**document, "msg": json.dumps({**json.loads(document["msg"]), **changes}, separators=(",", ":"))}


CHANGED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another outcome": lambda d: texted(d, outcome=2),
    "another node": lambda d: texted(d, node="0x" + 64 * "0"),
    "other rows": lambda d: texted(d, rows=8),
    "another address": lambda d: {**d, "address": KEYS[1].address},
    "another form": lambda d: {**d, "msg": d["msg"].replace(":", ": ")},
    "a bit of the signature": lambda d: {
        **d,
        "sig": d["sig"][:-4] + f"{int(d['sig'][-4], 16) ^ 1:x}" + d["sig"][-3:],
    },
}
MALFORMED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "more": lambda d: {**d, "more": 1},
    "another version": lambda d: {**d, "version": "2"},
    "no text": lambda d: {**d, "msg": 3},
    "no JSON": lambda d: {**d, "msg": "{"},
    "another kind": lambda d: texted(d, kind="a letter"),
    "more fields": lambda d: texted(d, more=1),
    "an outcome that is none": lambda d: texted(d, outcome=9),
    "true": lambda d: texted(d, outcome=True),
    "a large number": lambda d: texted(d, step=256),
    "a short digest": lambda d: texted(d, node="0x00"),
    "no digits": lambda d: texted(d, node="0x" + 64 * "z"),
    "no signature": lambda d: {**d, "sig": "0x"},
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_report_is_refused_by_both(accepted: Work, name: str) -> None:
    document = CHANGED[name](json.loads(report(accepted, KEYS[0]).data))
    with pytest.raises(EnvelopeError):
        read_report(json.dumps(document).encode())
    (said,) = judged("evm.mjs", [{"text": document["msg"], "signature": document["sig"]}])
    assert said.get("signer") != document["address"]


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_reports(accepted: Work, name: str) -> None:
    document = MALFORMED[name](json.loads(report(accepted, KEYS[0]).data))
    with pytest.raises(EnvelopeError):
        read_report(json.dumps(document).encode())


def test_the_majority_of_a_roster_decides(accepted: Work, contradicted: Work) -> None:
    found = majority([*votes(accepted, 0, 1, 2), *votes(contradicted, 3), *votes(accepted, 0)], ROSTER)
    assert (found.outcome, len(found.checkers), found.others) == ("accepted", 3, (ROSTER[3],))
    assert set(found.checkers) == set(ROSTER[:3])
    assert majority([*votes(contradicted, 0, 1, 2), *votes(accepted, 3, 4)], ROSTER).outcome == "contradicted"


@pytest.mark.parametrize("changes", [{"rows": 99}, {"model_id": bytes(32)}, {"node": bytes(32)}])
def test_a_minority_that_gives_the_receipt_other_facts_stops_nothing(
    accepted: Work, changes: dict[str, Any]
) -> None:
    found = majority([*votes(accepted, 0, 1, 2), *votes(replace(accepted, **changes), 3)], ROSTER)
    assert (found.outcome, found.others) == ("accepted", (ROSTER[3],))
    with pytest.raises(EnvelopeError, match="2 checkers say the same"):
        majority([*votes(accepted, 0, 1), *votes(replace(accepted, **changes), 2)], ROSTER)
    both = [*votes(accepted, 0, 1, 2, 3), *votes(replace(accepted, **changes), 3)]
    assert majority(both, ROSTER).equivocal == (ROSTER[3],)


def test_what_is_no_majority(accepted: Work, contradicted: Work) -> None:
    for reports in (
        votes(accepted, 0, 1),
        [*votes(accepted, 0, 1), *votes(contradicted, 2, 3)],
        2 * votes(accepted, 0, 1),
        [*votes(accepted, 0, 1, 2), *votes(contradicted, 2)],
        [*votes(accepted, 0), *votes(contradicted, 0)],
    ):
        with pytest.raises(EnvelopeError, match="needed"):
            majority(reports, ROSTER)
    found = majority([*votes(accepted, 0, 1, 2, 3), *votes(contradicted, 3)], ROSTER)
    assert (found.equivocal, ROSTER[3] in found.checkers) == ((ROSTER[3],), False)
    with pytest.raises(EnvelopeError, match="roster"):
        majority(votes(accepted, 0, 1, 5), ROSTER)
    with pytest.raises(EnvelopeError, match="several receipts"):
        majority([*votes(accepted, 0, 1, 2), *votes(replace(accepted, receipt_digest=bytes(32)), 3)], ROSTER)


@pytest.mark.parametrize("roster", [ROSTER[:4], [*ROSTER, ROSTER[0], ROSTER[1]], ["0x12"], []])
def test_rosters_that_are_none(accepted: Work, roster: list[str]) -> None:
    with pytest.raises(InputError):
        majority(votes(accepted, 0), roster)
    with pytest.raises(InputError):
        majority([], ROSTER)


def test_checkers_report_and_somebody_counts_by_commands(tmp_path: Path) -> None:
    evidence, reports = saved(tmp_path, "contradicted"), []
    for i, key in enumerate(KEYS[:2]):
        secret = tmp_path / f"{i}.key"
        secret.write_text(key.secret.hex())
        secret.chmod(0o600)
        reports.append(tmp_path / f"{i}.report")
        said = done("network", "aethir", "report", evidence, "-o", reports[-1], "--signing-key", secret)
        assert said["interface"] == "ours"
    roster = [word for key in KEYS[:3] for word in ("--checker", key.address)]
    found = done("network", "aethir", "majority", *reports, *roster)
    assert (found["outcome"], len(found["checkers"])) == ("contradicted", 2)
    assert call("network", "aethir", "majority", reports[0], *roster).status == 1


# -- mutants -------------------------------------------------------------------------------------------------


def edit(old: str, new: str = "    if False:") -> Edit:
    return Edit("networks.aethir", old, new)


def read_changed(name: str) -> Callable[[Work, Work], object]:
    change = {**CHANGED, **MALFORMED}[name]
    return lambda a, c: read_report(json.dumps(change(json.loads(report(a, KEYS[0]).data))).encode())


MUTANTS: dict[str, tuple[Edit, Callable[[Work, Work], object]]] = {
    "addresses": (edit('    if top["address"] != mixed(checker):'), read_changed("another address")),
    "signatures": (edit('    if top["address"] != mixed(checker):'), read_changed("another outcome")),
    "the one form": (edit("    if _text(found) != text:"), lambda a, c: read_report(reformed(a))),
    "the roster": (
        edit("    if strangers := {each.checker for each in found} - known:"),
        lambda a, c: majority(votes(a, 0, 1, 2, 5), ROSTER),
    ),
    "one receipt": (
        edit("    if len({each.about for each in found}) != 1:"),
        lambda a, c: majority([*votes(a, 0, 1, 2), *votes(replace(a, receipt_digest=bytes(32)), 3)], ROSTER),
    ),
    "more than half": (edit("    if count < needed:"), lambda a, c: majority(votes(a, 0, 1), ROSTER)),
    "double votes": (
        edit(
            "Counter(next(iter(what)) for checker, what in said.items() if checker not in equivocal)",
            "Counter(each for what in said.values() for each in what)",
        ),
        lambda a, c: majority([*votes(a, 0, 1, 2), *votes(c, 2)], ROSTER),
    ),
}


def reformed(known: Work) -> bytes:
    """A report whose text is signed, and has another form."""
    document = json.loads(report(known, KEYS[0]).data)
    text = document["msg"].replace(":", ": ")
    data = text.encode()
    digest = keccak(b"\x19Ethereum Signed Message:\n", str(len(data)).encode(), data)
    return json.dumps({**document, "msg": text, "sig": "0x" + KEYS[0].sign(digest).hex()}).encode()


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    accepted: Work, contradicted: Work, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, act = MUTANTS[name]
    with pytest.raises(EnvelopeError):
        act(accepted, contradicted)
    with monkeypatch.context() as patch:
        apply(patch, [change])
        act(accepted, contradicted)
