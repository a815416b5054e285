"""Beacons: published rounds, statements before them, and what is refused (docs/spec/beacons.md)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from adversary.mutation import Edit, apply
from beacons.world import ATTESTOR, BEFORE, OTHER, PUBLISHED, RECEIPT, REQUEST, ROUND, beacon, statement
from proofcompute.beacons import QUICKNET, Beacon, BeaconStatement, Round, check_beacon
from proofcompute.beacons import rounds as rounds_module
from proofcompute.beacons.attesting import attest
from proofcompute.beacons.checking import tries_before
from proofcompute.bls.curve import LIBRARIES, curve
from proofcompute.errors import (
    BeaconError,
    FormatError,
    InputError,
    LimitError,
    StorageError,
    UnsupportedError,
    VerificationError,
)

pytest.importorskip("py_ecc")


def check(found: Beacon, attestors: Sequence[bytes] = (ATTESTOR.public,)) -> int:
    return check_beacon(found, RECEIPT, REQUEST, attestors)


# -- chains and rounds ------------------------------------------------------------------------------------
def test_the_hash_of_the_chain_pins_its_key() -> None:
    c, published = QUICKNET, PUBLISHED["chain"]
    assert c.hash.hex() == published["hash"]
    head = c.period.to_bytes(4, "big") + c.genesis.to_bytes(8, "big")
    seed = bytes.fromhex(published["group_hash"])
    assert hashlib.sha256(head + c.key + seed + c.name.encode()).digest() == c.hash


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_published_round_holds(library: str) -> None:
    pytest.importorskip(LIBRARIES[library])
    ROUND.check(QUICKNET, curve(library))


def test_more_published_rounds_hold() -> None:
    pytest.importorskip("py_arkworks_bls12381")
    for one in PUBLISHED["rounds"]:
        Round.from_json(json.dumps(one).encode()).check(QUICKNET, curve("arkworks"))


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


FALSE = {
    "another round": lambda: replace(ROUND, number=1001),
    "another chain": lambda: Round(1000, bytes.fromhex(PUBLISHED["foreign"]["signature"])),
    "another sign": lambda: replace(
        ROUND, signature=bytes([ROUND.signature[0] ^ 0x20]) + ROUND.signature[1:]
    ),
    "no point": lambda: replace(ROUND, signature=_flipped(ROUND.signature, 47)),
    "the identity": lambda: replace(ROUND, signature=b"\xc0" + bytes(47)),
    "not compressed": lambda: replace(
        ROUND, signature=bytes([ROUND.signature[0] & 0x7F]) + ROUND.signature[1:]
    ),
}


POINTS = ("another chain", "another sign")
"""Like another round; a pairing by py_ecc takes long."""


@pytest.mark.parametrize(
    ("name", "library"), [(n, lib) for n in FALSE for lib in LIBRARIES if lib != "py_ecc" or n not in POINTS]
)
def test_other_rounds_do_not(name: str, library: str) -> None:
    pytest.importorskip(LIBRARIES[library])
    with pytest.raises(BeaconError, match="did not sign this as its round"):
        FALSE[name]().check(QUICKNET, curve(library))


def test_times_of_rounds() -> None:
    assert QUICKNET.time_of(1) == QUICKNET.genesis
    assert QUICKNET.time_of(1000) == 1692803367 + 2997
    for seconds, number in ((-1e9, 1), (0, 1), (0.1, 2), (3, 2), (3.001, 3), (2997, 1000)):
        found = QUICKNET.first_after(QUICKNET.genesis + seconds)
        assert found == number
        assert QUICKNET.time_of(found) >= QUICKNET.genesis + min(seconds, 0)


S = ROUND.signature.hex()
BAD_JSON: dict[str, tuple[str, type[InputError]]] = {
    "no object": ("[1]", FormatError),
    "no round": (f'{{"signature": "{S}"}}', FormatError),
    "round 0": (f'{{"round": 0, "signature": "{S}"}}', FormatError),
    "a round that is true": (f'{{"round": true, "signature": "{S}"}}', FormatError),
    "a round that is a text": (f'{{"round": "1000", "signature": "{S}"}}', FormatError),
    "a round beyond all": (f'{{"round": {1 << 41}, "signature": "{S}"}}', FormatError),
    "two rounds": (f'{{"round": 1, "round": 1000, "signature": "{S}"}}', FormatError),
    "no signature": ('{"round": 1000}', FormatError),
    "a short signature": (f'{{"round": 1000, "signature": "{S[:-2]}"}}', FormatError),
    "spaces": (f'{{"round": 1000, "signature": "{S[:-4]}  11"}}', FormatError),
    "no digits": (f'{{"round": 1000, "signature": "{"g" * 96}"}}', FormatError),
    "other randomness": (f'{{"round": 1000, "signature": "{S}", "randomness": "{"00" * 32}"}}', FormatError),
    "too long": (f'{{"round": 1000, "signature": "{S}", "more": "{"x" * 20_000}"}}', LimitError),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_what_is_no_round_is_refused(name: str) -> None:
    text, error = BAD_JSON[name]
    with pytest.raises(error):
        Round.from_json(text.encode())


def test_other_keys_of_a_round_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "round.json"
    path.write_text(f'{{"previous_signature": "", "round": 1000, "signature": "{S.upper()}"}}', "utf-8")
    assert Round.load(path) == ROUND


# -- beacons ----------------------------------------------------------------------------------------------
def test_a_beacon_holds_and_says_how_often_a_node_could_try() -> None:
    assert check(beacon()) == 1
    assert check(beacon(), [OTHER.public, ATTESTOR.public]) == 2


def test_beacons_have_one_encoding(tmp_path: Path) -> None:
    made = beacon()
    assert Beacon.decode(made.encode()) == made
    made.save(tmp_path / "beacon")
    assert Beacon.load(tmp_path / "beacon") == made
    made.statement.save(tmp_path / "statement")
    assert BeaconStatement.load(tmp_path / "statement") == made.statement
    data = made.encode()
    for bad in (data + b"\0", data[:-1], data.replace(b"\x01", b"\x02", 1), b"\x18" + data):
        with pytest.raises(InputError):
            Beacon.decode(bad)
    with pytest.raises(LimitError):
        Beacon.decode(data + bytes(2000))


def test_the_seed_takes_receipt_chain_and_round_and_nothing_that_an_attestor_chooses() -> None:
    made = beacon()
    assert beacon(made=BEFORE - 1).seed == made.seed
    assert Beacon(statement(OTHER), ROUND.signature).seed == made.seed
    seeds = {
        made.seed,
        beacon(receipt_digest=REQUEST).seed,
        beacon(chain=bytes(32)).seed,
        beacon(round=999).seed,
        Beacon(made.statement, bytes(48)).seed,
    }
    assert len(seeds) == 5


class Case(NamedTuple):
    """A beacon that must be refused, and the edit without which it would pass."""

    beacon: Callable[[], Beacon]
    match: str
    edits: tuple[Edit, ...]


CHECKING = "beacons.checking"
ATTACKS = {
    "a statement after its round": Case(
        lambda: beacon(made=BEFORE + 60_000),
        "60.000 s too late",
        (Edit(CHECKING, "if statement.made > latest:", "if statement.made < 0:"),),
    ),
    "a statement in the round's own period": Case(
        lambda: beacon(made=BEFORE + 1),
        "0.001 s too late",
        (Edit(CHECKING, "chain.time_of(statement.round) - chain.period", "chain.time_of(statement.round)"),),
    ),
    "a statement that nobody signed": Case(
        lambda: Beacon(statement().signed(bytes(64)), ROUND.signature),
        "attestor's signature does not hold",
        (Edit(CHECKING, "if not signature_holds(", "if False and not signature_holds("),),
    ),
    "a statement dated back": Case(
        lambda: Beacon(replace(statement(made=BEFORE + 9_000), made=BEFORE), ROUND.signature),
        "attestor's signature does not hold",
        (Edit(CHECKING, "if not signature_holds(", "if False and not signature_holds("),),
    ),
    "an attestor of the node's own": Case(
        lambda: Beacon(statement(OTHER), ROUND.signature),
        "none of those you believe",
        (Edit(CHECKING, "if beacon.statement.attestor not in trusted:", "if trusted is None:"),),
    ),
    "a beacon of another receipt": Case(
        lambda: beacon(receipt_digest=b"s" * 32),
        "about another receipt",
        (Edit(CHECKING, "if beacon.statement.receipt_digest != receipt_digest:", "if trusted is None:"),),
    ),
    "a second request with the same receipt digest": Case(
        lambda: beacon(request_digest=b"s" * 32),
        "about another request",
        (Edit(CHECKING, "if beacon.statement.request_digest != request_digest:", "if trusted is None:"),),
    ),
    "a round that the prover made up": Case(
        lambda: Beacon(statement(), bytes.fromhex(PUBLISHED["foreign"]["signature"])),
        "did not sign this as its round 1000",
        (Edit(CHECKING, "    beacon.round.check(chain_of(beacon.statement.chain))  # B6", "    pass"),),
    ),
    "the signature of an earlier round": Case(
        lambda: beacon(round=1001, made=BEFORE),
        "did not sign this as its round 1001",
        (Edit("beacons.chains", 'number.to_bytes(8, "big")', '(1000).to_bytes(8, "big")'),),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_false_beacon_passes_only_without_the_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ATTACKS[name]
    with pytest.raises(BeaconError, match=case.match):
        check(case.beacon())
    apply(monkeypatch, case.edits)
    rounds_module._signed.cache_clear()
    try:
        check(case.beacon())
    finally:
        rounds_module._signed.cache_clear()


def test_an_unknown_chain_and_no_attestor() -> None:
    with pytest.raises(UnsupportedError, match="no key is known"):
        check(beacon(chain=bytes(32)))
    with pytest.raises(InputError, match="whom you believe"):
        check(beacon(), [])


def test_a_chain_that_a_proof_names_is_its_makers_choice() -> None:
    """So one that is not known is a rejection, and no mistake of the verifier's."""
    with pytest.raises(VerificationError, match="no key is known") as caught:
        tries_before(beacon(chain=bytes(32)), RECEIPT, REQUEST, [ATTESTOR.public])
    assert caught.value.step == 6
    assert tries_before(beacon(), RECEIPT, REQUEST, [ATTESTOR.public]) == 1


# -- attesting --------------------------------------------------------------------------------------------
def _attest(log: Path, receipt: bytes = RECEIPT, request: bytes = REQUEST, **more: object) -> BeaconStatement:
    now = more.pop("now", BEFORE / 1000 - 3)
    by = more.pop("by", ATTESTOR)
    return attest(by, log, request_digest=request, receipt_digest=receipt, now=now)  # type: ignore[arg-type]


def test_one_statement_for_each_request(tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = _attest(log)
    assert made.round == ROUND.number
    assert check(Beacon(made, ROUND.signature)) == 1
    assert _attest(log, now=BEFORE / 1000 + 99) == made  # no second round for the same receipt
    with pytest.raises(BeaconError, match="another receipt of this request"):
        _attest(log, b"s" * 32)
    assert _attest(log, b"s" * 32, b"p" * 32).receipt_digest == b"s" * 32
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_is_one_attestors_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    _attest(log)
    with pytest.raises(InputError, match="another attestor"):
        _attest(log, by=OTHER)
    data = log.read_bytes()
    for damaged in (data[: len(data) // 2], data + b"zz", data + data[:-4] + b"\n"):
        log.write_bytes(damaged)
        with pytest.raises(FormatError, match="damaged"):
            _attest(log, b"s" * 32, b"p" * 32)


def test_without_the_log_a_node_tries_receipts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = Edit("beacons.attesting", "if found.request_digest == request_digest:", "if log is None:")
    apply(monkeypatch, (edit,))
    made = [_attest(tmp_path / "log", bytes([n]) * 32) for n in range(3)]
    seeds = {Beacon(one, ROUND.signature).seed for one in made}
    assert len(seeds) == 3  # of which the node shows the one that suits it


def test_a_statement_that_cannot_be_kept_is_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _attest(tmp_path / "log")
    before, write, room = (tmp_path / "log").read_bytes(), os.write, [100]

    def full(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = write(fd, data[: room[0]])
        room[0] -= taken
        return taken

    with monkeypatch.context() as patch:
        patch.setattr("proofcompute.encoding.files.os.write", full)
        with pytest.raises(StorageError, match="No space left"):
            _attest(tmp_path / "log", request=bytes(32))
    # What fitted is cut off again, so the log is whole and goes on once there is room.
    assert (tmp_path / "log").read_bytes() == before
    assert _attest(tmp_path / "log") == first
    assert _attest(tmp_path / "log", request=bytes(32)).request_digest == bytes(32)
