"""Receipts in synapses of Bittensor's SDK 10: Axon and Dendrite speak on loopback, and others interfere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cuda_rig import ROOT
from proofcompute.errors import ServiceError, VerificationError
from proofcompute.networks.bittensor.synapse import sent

JUDGE = Path(__file__).resolve().parent / "judges" / "synapse.py"

TAKEN: dict[str, dict[str, Any]] = {
    "honest": {"verified": 10, "known": True},
    "headers": {
        "timeout": 7.0,
        "hash": True,
        "request": "",
        "covered": 4,
        "frozen": ["request", "receipt", "challenge"],
        "answer": True,
    },
    "a request": {"status": 200},
    "an opening": {"status": 200},
    "of the last seconds": {"status": 200},
}
"""What is as it should be: an audit of all cells, what headers keep of a synapse, and what a miner takes."""
REFUSED: dict[str, dict[str, Any]] = {
    "another body": {"status": 500},
    "another body and its hash": {"status": 401},
    "another challenge": {"status": 500},
    "another challenge and its hash": {"status": 401},
    "signed by another": {"status": 401},
    "a stranger": {"status": 403},
    "for another miner": {"status": 401},
    "no signature": {"status": 401},
    "another nonce": {"status": 401},
    "no base64": {"status": 500},
    "replayed": {"statuses": [200, 401]},
    "of yesterday": {"status": 401},
    "of yesterday, with a long timeout": {"status": 401},
    "of yesterday, by an old version": {"status": 401},
    "of tomorrow": {"status": 401},
}
"""What a miner refuses. Axon says 500 for a body that is not the one of the hash in the headers."""
REJECTED: dict[str, dict[str, Any]] = {
    "a receipt for another request": {"step": 4},
    "a receipt of another node": {"step": 2},
    "a receipt with another signature": {"step": 2},
    "another model's opening": {"step": 8},
    "a changed opening": {"step": 2},
    "an empty receipt": {"step": 1},
}
"""At which step a validator rejects what a miner answers."""
SILENT = {"no answer": "ServiceError", "asked by a stranger": "ServiceError", "to nobody": "InputError"}
"""What proves nothing about a miner, and what no validator should ask."""


def spoken(cases: list[str] | None = None, mutant: tuple[str, str] | None = None) -> dict[str, Any]:
    """What came of the cases, in the environment of SDK 10."""
    python = Path(sys.prefix) / "bittensor10" / "bin" / "python"
    if not python.exists():
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL"):
            pytest.fail("SDK 10 is not installed; run: make .venv/bittensor10/installed")
        pytest.skip("needs Bittensor's SDK 10 (make .venv/bittensor10/installed)")
    ran = subprocess.run(
        [str(python), str(JUDGE)],
        input=json.dumps({"cases": cases, "mutant": mutant}) + "\n",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@cache
def everything() -> dict[str, Any]:
    return spoken()


@pytest.mark.slow
def test_miners_and_validators_speak_by_axon_and_dendrite() -> None:
    assert {name: everything()[name] for name in TAKEN} == TAKEN


@pytest.mark.slow
def test_axon_refuses_what_the_validator_did_not_send() -> None:
    assert {name: everything()[name] for name in REFUSED} == REFUSED


@pytest.mark.slow
def test_a_validator_believes_nothing_that_a_synapse_says() -> None:
    assert {name: everything()[name] for name in REJECTED} == REJECTED
    assert {name: everything()[name]["error"] for name in SILENT} == SILENT


MUTANTS: dict[str, tuple[tuple[str, str], dict[str, dict[str, Any]]]] = {
    "times": (
        ("nonce is None or not -SKEW * 1e9 <= time.time_ns() - nonce <= MAX_AGE * 1e9", "nonce is None"),
        {
            "of yesterday, with a long timeout": {"status": 200},
            "of yesterday, by an old version": {"status": 200},
            "of tomorrow": {"status": 200},
        },
    ),
    "signatures": (
        ("        await axon.default_verify(synapse)", "        pass"),
        {"another body and its hash": {"status": 200}, "for another miner": {"status": 200}},
    ),
    "what the hash covers": (
        ("found.required_hash_fields = asked", "found.required_hash_fields = ()"),
        {"another body": {"status": 200}, "another challenge": {"status": 200}},
    ),
    "who may ask": (("return not known,", "return False,"), {"a stranger": {"status": 200}}),
    "whom a request addresses": (
        ("    if not request.node:", "    if False:"),
        {"to nobody, by another miner": {"verified": 10, "known": True}},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(name: str) -> None:
    mutant, passing = MUTANTS[name]
    for case in passing:
        assert everything()[case] != passing[case]
    assert spoken(list(passing), mutant) == passing


# -- without the SDK ---------------------------------------------------------------------------------------


def said(text: Any) -> Any:
    dendrite = SimpleNamespace(status_code=200, status_message="Success")
    return SimpleNamespace(receipt=text, dendrite=dendrite)


WRONG = {
    "too large": base64.b64encode(bytes(10)).decode(),
    "no base64": "QUJ!",
    "not padded": "QUI",
    "unused bits": "QUJ=",
    "a line's end": "QUJD\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_fields_that_hold_no_bytes(name: str) -> None:
    assert sent(said("QUJD"), "receipt", 9) == b"ABC"
    assert sent(said(base64.b64encode(bytes(9)).decode()), "receipt", 9) == bytes(9)
    with pytest.raises(VerificationError, match="step 1"):
        sent(said(WRONG[name]), "receipt", 9)


def test_an_answer_without_a_receipt_proves_nothing() -> None:
    for text in (None, 3, b"QUJD"):
        with pytest.raises(ServiceError, match="status 200: 'Success'"):
            sent(said(text), "receipt", 9)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("too large", ("    if len(text) > -(-limit // 3) * 4:", "    if False:")),
        ("unused bits", ("    return data if _text(data) == text else None", "    return data")),
    ],
)
def test_without_one_check_a_field_passes(
    name: str, edit: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VerificationError):
        sent(said(WRONG[name]), "receipt", 9)
    with monkeypatch.context() as patch:
        apply(patch, [Edit("networks.bittensor.synapse", *edit)])
        assert sent(said(WRONG[name]), "receipt", 9)
