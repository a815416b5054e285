"""Each value of a document replaced by values that nobody writes there: one typed error, or nothing lost.

Forms that somebody signs are signed again, so that what lies behind the signature is reached: who signs may
be the one who attacks.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from networks.bundles import AUDITOR, work
from networks.test_aci import DIGEST, KEYS, KEYSET, NOW, carrying, signed
from networks.test_akash import DRAFT, FULL
from networks.test_clouds import GOOGLE, SGX, SNP, TDX, azure, google, rsa_key
from networks.test_cluster import OWNER, POLICY, audits, judged, recorded
from networks.test_in_toto import enveloped
from proofcompute.errors import EnvelopeError, FormatError, LimitError
from proofcompute.networks import aci, in_toto, solana
from proofcompute.networks.akash import evidence, sdl
from proofcompute.networks.cluster import forms, judging
from proofcompute.networks.structured import read_yaml, write_yaml
from proofcompute.networks.work import Work

HOSTILE: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 0.5, -0.0, 1e308, 5e-324),
    *("", " ", "0", "\0", "٣", "é" * 64, "z" * 66, "0x" + "00 " * 21, "9" * 400, "2026-02-30T00:00:00Z"),
    *([], {}, [[]], [{}], {"": None}, {"sha256": [1]}),
)
"""What stands in for a value, by the kinds that readers forget."""

Act = Callable[[Any], object]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a document are, the document itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*path, name)
        yield from places(each, (*path, name))


def variants(value: Any) -> Iterator[Any]:
    """The document with each value replaced by each other, or left out."""
    for *path, last in places(value):
        for other in (*HOSTILE, KeyError):
            made = copy.deepcopy(value)
            at = made
            for name in path:
                at = at[name]
            if other is KeyError:
                del at[last]
            else:
                at[last] = other
            yield made


def compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def of_akash(known: Work) -> tuple[Any, Act]:
    made = json.loads(evidence.attest(DRAFT, known).data)

    def act(value: Any) -> None:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        evidence.check(text.replace("<", "\\u003c").encode(), known)

    return made, act


def of_deployments(known: Work) -> tuple[Any, Act]:
    found: dict[str, Any] = dict(read_yaml(sdl.describe(FULL).data))
    service = found["services"]["node"]
    service["expose"][0]["to"].append({"service": "node", "ip": "front"})
    service["dependencies"] = [{"service": "node"}]
    found["endpoints"] = {"front": {"kind": "ip"}}
    return found, lambda value: sdl.check(write_yaml(value))


def of_receipts(known: Work) -> tuple[Any, Act]:
    made = carrying(json.loads(aci.event(known).data))
    return made, lambda value: aci.check(signed(value), known, KEYS, DIGEST, now=NOW)


def of_keysets(known: Work) -> tuple[Any, Act]:
    receipt = carrying(json.loads(aci.event(known).data))

    def act(value: Any) -> None:
        keys = json.dumps(value).encode()
        digest = aci.keyset_digest(keys)
        aci.check(signed({**receipt, "workload_keyset_digest": digest}), known, keys, digest, now=NOW)

    return KEYSET, act


def of_clusters(known: Work) -> tuple[Any, Act]:
    works = audits(known)
    payload = json.loads(
        base64.b64decode(json.loads(judging.wrap(judged(known, works), OWNER).data)["payload"])
    )
    return payload, lambda value: judging.check(
        enveloped(compact(value), OWNER), OWNER.public, works, known.made
    )


def of_rows(known: Work) -> tuple[Any, Act]:
    data = solana.rows([known]).data
    text = solana.memo(data).data.decode()
    return json.loads(solana.proof(data, 0).data), lambda value: solana.check_proof(compact(value), text)


def of_statements(known: Work) -> tuple[Any, Act]:
    return in_toto.statement(known), lambda value: in_toto.check(enveloped(compact(value)), known)


def of_envelopes(known: Work) -> tuple[Any, Act]:
    made = json.loads(in_toto.wrap(known, AUDITOR).data)
    return made, lambda value: in_toto.check(json.dumps(value).encode(), known)


def token(claims: Any) -> str:
    """Claims as a cloud signs them, whatever they are."""
    jws = import_module("jwt").api_jws.PyJWS()
    return str(jws.encode(json.dumps(claims).encode(), rsa_key("cloud"), "RS256", {"kid": "one"}))


CHECKED: Final[dict[str, Callable[[Work], tuple[Any, Act]]]] = {
    "evidence on Akash": of_akash,
    "deployments": of_deployments,
    "receipts of gateways": of_receipts,
    "keysets of gateways": of_keysets,
    "verdicts about clusters": of_clusters,
    "proofs of rows": of_rows,
    "signed statements": of_statements,
    "envelopes": of_envelopes,
    "tokens of Google": lambda _: (GOOGLE, lambda value: google(token(value))),
    "tokens of SGX": lambda _: (SGX, lambda value: azure(token(value))),
    "tokens of TDX": lambda _: (TDX, lambda value: azure(token(value))),
    "tokens of SEV-SNP": lambda _: (SNP, lambda value: azure(token(value))),
}


def of_callers(known: Work) -> list[tuple[Any, Act]]:
    return [(dict(read_yaml(POLICY.encode())), forms.Policy.of), (recorded(known), forms.Records.of)]


@pytest.fixture(
    params=[pytest.param(100, id="drawn"), pytest.param(None, id="all", marks=pytest.mark.slow)], autouse=True
)
def tried(request: pytest.FixtureRequest) -> Callable[[Any], list[Any]]:
    """Some variants of a document, always the same ones, or all of them."""
    for needed in ("jsonschema", "yaml", "jwt", "rfc8785"):
        pytest.importorskip(needed)
    many = request.param

    def chosen(value: Any) -> list[Any]:
        found = list(variants(value))
        return found if many is None or len(found) <= many else random.Random(1).sample(found, many)

    return chosen


@pytest.mark.parametrize("name", CHECKED)
def test_no_value_gets_past_a_check_but_by_its_error(
    tmp_path: Path, tried: Callable[[Any], list[Any]], name: str
) -> None:
    value, act = CHECKED[name](work(tmp_path, "accepted"))
    act(copy.deepcopy(value))
    refused, others = 0, tried(value)
    for other in others:
        try:
            act(other)
        except EnvelopeError:
            refused += 1
    assert refused > len(others) // 4


def test_what_a_caller_writes_is_refused_by_its_error(
    tmp_path: Path, tried: Callable[[Any], list[Any]]
) -> None:
    for value, read in of_callers(work(tmp_path, "accepted")):
        read(copy.deepcopy(value))
        refused, others = 0, tried(value)
        for other in others:
            try:
                read(other)
            except (FormatError, LimitError):
                refused += 1
        assert refused > len(others) // 2
