"""Requests between hotkeys: as Bittensor's SDK signs and checks them, and what both refuse."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import done, refused
from proofcompute.errors import InputError, UnsupportedError
from proofcompute.networks.bittensor import auth
from proofcompute.networks.bittensor.auth import Nonces, Refused, authenticate, payload, signed_headers
from proofcompute.networks.bittensor.http import CALLER, MAX_BODY, Guard, signing
from proofcompute.networks.bittensor.weights import Score, audits_needed, chain_weights, score_to_weights

core = pytest.importorskip("bittensor_core")
httpx = pytest.importorskip("httpx")

HERE = Path(__file__).resolve().parent
GOLDEN = json.loads((HERE / "data" / "btauth.json").read_text("utf-8"))
EXAMPLE = HERE.parents[1] / "examples" / "bittensor_subnet.py"
NOW = 1_800_000_000_500_000_000
ME = core.Keypair.create_from_seed(bytes(32), core.CRYPTO_SR25519)
SENDER = core.Keypair.create_from_seed(bytes([1]) * 32, core.CRYPTO_SR25519)
OTHER = core.Keypair.create_from_seed(bytes([2]) * 32, core.CRYPTO_ED25519)
BODY, TARGET = b"a challenge", "/v1/proofs/open?x=1"


def key(scheme: str, seed: str) -> Any:
    return core.Keypair.create_from_seed(bytes.fromhex(seed), auth.SCHEMES[scheme])


@pytest.mark.parametrize("case", GOLDEN["requests"], ids=lambda c: f"{c['scheme']} {c['method']}")
def test_what_the_sdk_signed(case: dict[str, Any]) -> None:
    """Recorded from the SDK that the file names: payloads are equal, and its signatures are accepted."""
    own, body, nonce = key(case["scheme"], case["seed"]), bytes.fromhex(case["body"]), int(case["nonce"])
    about = {"method": case["method"], "target": case["target"], "body": body}
    made = payload(
        scheme=case["scheme"], nonce=nonce, sender=own.ss58_address, receiver=case["receiver"], **about
    )
    assert made.decode() == case["payload"]
    caller = authenticate(case["headers"], **about, me=case["receiver"], nonces=Nonces(), now=nonce + 10**9)
    assert (caller.hotkey, caller.nonce) == (own.ss58_address, nonce)
    headers = signed_headers(own, **about, receiver=case["receiver"], nonce=nonce)
    assert set(headers) == set(case["headers"])
    if case["scheme"] == "ed25519":  # sr25519 signatures have random parts
        assert headers == case["headers"]


def good(**changes: Any) -> dict[str, Any]:
    keypair = changes.pop("keypair", SENDER)
    usual = {"method": "POST", "target": TARGET, "body": BODY, "receiver": ME.ss58_address, "nonce": NOW}
    asked = {**usual, **changes}
    headers = signed_headers(keypair, **asked)
    return {"headers": headers, **{n: asked[n] for n in ("method", "target", "body")}, "me": ME.ss58_address}


def headed(**changes: str | None) -> dict[str, Any]:
    asked = good()
    headers = {**asked["headers"], **{f"X-Bittensor-{n}": v for n, v in changes.items()}}
    return {**asked, "headers": {n: v for n, v in headers.items() if v is not None}}


SIGNATURE = good()["headers"]["X-Bittensor-Signature"]
CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "another body": ("signature", {**good(), "body": b"another challenge"}),
    "another method": ("signature", {**good(), "method": "PUT"}),
    "another target": ("signature", {**good(), "target": "/v1/proofs/open?x=2"}),
    "another sender": ("signature", headed(Hotkey=OTHER.ss58_address)),
    "another nonce": ("signature", headed(Nonce=str(NOW + 1))),
    "another scheme": ("signature", headed(Crypto="ed25519")),
    "another signature": (
        "signature",
        headed(Signature=SIGNATURE[:-2] + f"{int(SIGNATURE[-2:], 16) ^ 1:02x}"),
    ),
    "another receiver": ("receiver", {**good(), "me": OTHER.ss58_address}),
    "a receiver that was changed": ("receiver", headed(Receiver=OTHER.ss58_address)),
    "no receiver": ("receiver", headed(Receiver=None)),
    "too old": ("stale", good(nonce=NOW - 11 * 10**9)),
    "of the future": ("stale", good(nonce=NOW + 3 * 10**9)),
    "no version": ("malformed", headed(Version=None)),
    "another version": ("malformed", headed(Version="2")),
    "no hotkey": ("malformed", headed(Hotkey=None)),
    "no address": ("malformed", headed(Hotkey="5somebody")),
    "an address that is no text": ("malformed", headed(Hotkey="\ud800")),
    "headers without their beginning": (
        "malformed",
        {**good(), "headers": {n.removeprefix("X-Bittensor-"): v for n, v in good()["headers"].items()}},
    ),
    "no nonce": ("malformed", headed(Nonce=None)),
    "no number": ("malformed", headed(Nonce="now")),
    "no signature": ("malformed", headed(Signature=None)),
    "a short signature": ("malformed", headed(Signature=SIGNATURE[:-2])),
    "a signature in another base": ("malformed", headed(Signature="0xzz" + SIGNATURE[4:])),
    "an unknown scheme": ("malformed", headed(Crypto="rsa")),
}
NARROWER = {
    "a nonce with a sign": ("malformed", headed(Nonce=f"+{NOW}")),
    "a signature without 0x": ("malformed", headed(Signature=SIGNATURE[2:])),
}
"""What the SDK reads otherwise."""


@pytest.mark.parametrize("name", [*CHANGED, *NARROWER])
def test_changed_requests_are_refused(name: str) -> None:
    reason, asked = {**CHANGED, **NARROWER}[name]
    with pytest.raises(Refused) as raised:
        authenticate(**asked, nonces=Nonces(), now=NOW)
    assert raised.value.reason == reason
    assert SIGNATURE not in str(raised.value)


def test_headers_of_others_are_not_read() -> None:
    asked = good()
    others = {"Version": "2", "Signature": "sig1=:AA==:", "Nonce": "7", "Receiver": "somebody"}
    asked["headers"] = {**asked["headers"], **others}
    assert authenticate(**asked, nonces=Nonces(), now=NOW).hotkey == SENDER.ss58_address


def test_a_nonce_is_used_once_and_only_by_who_signed() -> None:
    nonces = Nonces()
    for _ in range(2):  # what nobody signed fills no store
        with pytest.raises(Refused, match="not that of"):
            authenticate(**CHANGED["another body"][1], nonces=nonces, now=NOW)
    assert authenticate(**good(), nonces=nonces, now=NOW).hotkey == SENDER.ss58_address
    with pytest.raises(Refused) as raised:
        authenticate(**good(), nonces=nonces, now=NOW)
    assert raised.value.reason == "replayed"
    assert authenticate(**good(keypair=OTHER), nonces=nonces, now=NOW).hotkey == OTHER.ss58_address


def test_the_store_forgets_what_is_old_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(auth, "MAX_NONCES", 2)
    nonces = Nonces()
    assert nonces.use("a", 1)
    now[0] += 5
    assert nonces.use("a", 2)
    with pytest.raises(Refused, match="too many"):
        nonces.use("a", 3)
    assert not nonces.use("a", 1)
    now[0] += auth.MAX_AGE + 2 * auth.SKEW - 4
    assert nonces.use("a", 1)
    assert not nonces.use("a", 2)


@pytest.mark.slow
def test_the_sdk_says_the_same() -> None:
    """It accepts ours, refuses what is changed for the same reasons, and refuses a replay."""
    reasons = {
        "malformed": "MalformedAuth",
        "receiver": "WrongReceiver",
        "stale": "StaleRequest",
        "signature": "BadSignature",
        "replayed": "ReplayedRequest",
    }
    mine = [good(), good(), good(keypair=OTHER)]
    weights = [score_to_weights({uid: Score(low, 1.0) for uid, low in enumerate(lows)}) for lows in LOWS]
    said = sdk([*mine, *(asked for _, asked in CHANGED.values())], weights)
    assert [one.get("hotkey") for one in said[:3]] == [SENDER.ss58_address, None, OTHER.ss58_address]
    assert said[1] == {"error": reasons["replayed"]}
    expected = [{"error": reasons[reason]} for reason, _ in CHANGED.values()]
    assert dict(zip(CHANGED, said[3:], strict=False)) == dict(zip(CHANGED, expected, strict=True))
    for given, one in zip(weights, said[3 + len(CHANGED) :], strict=True):
        assert (one["uids"], one["values"]) == chain_weights(given)


LOWS = [(0.9, 0.8, 0.0), (1.0, 0.5), (0.0, 0.0), tuple(i / 100 for i in range(100))]


def sdk(
    requests: Sequence[Mapping[str, Any]], weights: Sequence[Mapping[int, float]]
) -> list[dict[str, Any]]:
    """What Bittensor's SDK says, which has an environment of its own."""
    python = Path(sys.prefix) / "bittensor" / "bin" / "python"
    if not python.exists():
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL"):
            pytest.fail("the SDK is not installed; run: make .venv/bittensor/installed")
        pytest.skip("needs Bittensor's SDK (make .venv/bittensor/installed)")
    lines = [json.dumps({**asked, "body": asked["body"].hex(), "now": str(NOW)}) for asked in requests]
    lines += [json.dumps({"uids": list(w), "weights": list(w.values())}) for w in weights]
    ran = subprocess.run(
        [str(python), str(HERE / "judges" / "btauth.py")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


# -- over HTTP -----------------------------------------------------------------------------------------------


async def service(scope: Any, receive: Any, send: Any) -> None:
    """Says who asked, and what."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    said = json.dumps({"caller": scope.get(CALLER), "body": body.hex()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said})


def client(guard: Guard, **options: Any) -> Any:
    transport = httpx.ASGITransport(app=guard)
    return httpx.AsyncClient(transport=transport, base_url="http://miner", **options)


def test_a_miner_answers_known_hotkeys_only() -> None:
    guard = Guard(service, ME.ss58_address, {SENDER.ss58_address})

    async def run() -> None:
        async with client(guard, auth=signing(SENDER, ME.ss58_address)) as known:
            for _ in range(2):  # each with a nonce of its own
                answer = await known.post("/v1/proofs/open", params={"x": "a b"}, content=BODY)
                assert answer.json() == {"caller": SENDER.ss58_address, "body": BODY.hex()}
            assert (await known.get("/v1/proofs/receipt")).status_code == 200
        async with client(guard, auth=signing(OTHER, ME.ss58_address)) as stranger:
            assert (await stranger.post("/v1/proofs/open", content=BODY)).status_code == 403
        async with client(guard, auth=signing(SENDER, OTHER.ss58_address)) as elsewhere:
            assert (await elsewhere.post("/v1/proofs/open", content=BODY)).status_code == 401
        async with client(guard) as unsigned:
            refusal = await unsigned.post("/v1/proofs/open", content=BODY)
            assert refusal.status_code == 401
            assert refusal.json()["error"]["type"] == "authentication_error"
            assert (await unsigned.get("/v1/models")).json()["caller"] is None
            # What was heard on the way is worth nothing.
            request = unsigned.build_request("POST", "/v1/proofs/open", content=BODY)
            heard: dict[str, Any] = {"method": "POST", "target": "/v1/proofs/open", "body": BODY}
            request.headers.update(signed_headers(SENDER, **heard, receiver=ME.ss58_address))
            assert (await unsigned.send(request)).status_code == 200
            assert (await unsigned.send(request)).status_code == 401
            changed = unsigned.build_request("POST", "/v1/proofs/open", content=b"tampered")
            changed.headers.update(signed_headers(SENDER, **heard, receiver=ME.ss58_address))
            assert (await unsigned.send(changed)).status_code == 401
            twice = [("X-Bittensor-Version", "1"), ("x-bittensor-version", "1")]
            assert (await unsigned.post("/v1/proofs/open", headers=twice)).status_code == 401
            large = await unsigned.post("/v1/proofs/open", content=bytes(MAX_BODY + 1))
            assert large.status_code == 401

    asyncio.run(run())


def test_all_paths_and_a_look_at_who_is_registered() -> None:
    guard = Guard(service, ME.ss58_address, lambda hotkey: hotkey == OTHER.ss58_address, paths=("/",))

    async def run() -> None:
        async with client(guard) as unsigned:
            assert (await unsigned.get("/v1/models")).status_code == 401
        async with client(guard, auth=signing(OTHER, ME.ss58_address)) as known:
            assert (await known.get("/v1/models")).json()["caller"] == OTHER.ss58_address
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        await guard({"type": "websocket", "path": "/v1/socket"}, receive, send)
        scope = {"type": "http", "path": "/", "method": "GET", "headers": [], "query_string": b""}
        await guard(scope, receive, send)
        assert [m.get("code", m.get("status")) for m in sent] == [1008, 401, None]

        async def empty() -> Any:
            return {"type": "http.request", "body": b""}

        sent.clear()
        await guard(scope, empty, send)
        assert "byte for byte" in sent[1]["body"].decode()

    asyncio.run(run())


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = good()
    monkeypatch.setitem(sys.modules, "bittensor_core", None)
    with pytest.raises(UnsupportedError, match=r"proofcompute\[bittensor\]"):
        authenticate(**asked, nonces=Nonces(), now=NOW)


def test_addresses_and_schemes_that_are_none() -> None:
    with pytest.raises(InputError, match="address"):
        good(receiver="5nobody")

    class Wrong:
        crypto_type, ss58_address = 7, ME.ss58_address

    with pytest.raises(InputError, match="scheme"):
        good(keypair=Wrong())


# -- weights -------------------------------------------------------------------------------------------------


def test_weights_follow_trust_and_work() -> None:
    found = score_to_weights(
        {
            0: Score(0.9, 1.0),
            1: Score(0.9, 1.0, work=2.0),
            2: Score(0.9, 1.0, contradicted=True),
            3: Score(0.0, 1.0),
            4: Score(0.45, 1.0),
            5: Score(0.01, 1.0),
        }
    )
    assert found[1] == pytest.approx(2 * found[0])
    assert found[4] == pytest.approx(found[0] / 4)
    assert (found[2], found[3], found[5]) == (0, 0, 0)
    assert sum(found.values()) == pytest.approx(1)
    assert score_to_weights({}) == {}
    assert score_to_weights({1: Score(0.0, 1.0)}) == {1: 0.0}
    assert chain_weights({1: 0.0}) == ([], [])
    assert score_to_weights({1: Score(0.2, 1.0), 2: Score(0.9, 1.0)}, power=0) == {1: 0.5, 2: 0.5}


@pytest.mark.parametrize("case", GOLDEN["weights"], ids=lambda c: str(c["uids"]))
def test_the_chain_takes_what_the_sdk_makes(case: dict[str, Any]) -> None:
    given = {int(uid): weight for uid, weight in case["given"].items()}
    assert chain_weights(given) == (case["uids"], case["values"])


@pytest.mark.parametrize(
    "call",
    [lambda: Score(0.5, 0.4), lambda: Score(-0.1, 1.0), lambda: Score(0.5, 1.0, work=float("inf")),
     lambda: Score(float("nan"), 1.0), lambda: score_to_weights({1 << 16: Score(0.5, 1.0)}),
     lambda: score_to_weights({0: Score(0.5, 1.0)}, power=-1), lambda: score_to_weights({}, least=1.0),
     lambda: score_to_weights({0: Score(1, 1, work=1e308), 1: Score(1, 1, work=1e308)}),
     lambda: audits_needed(0, 1, 0.9), lambda: audits_needed(1, 0, 0.9), lambda: audits_needed(1, 1, 1.0),
     lambda: audits_needed(1e-13, 1e-13, 0.9)],
)  # fmt: skip
def test_numbers_that_are_none(call: Any) -> None:
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize(("share", "found"), [(1.0, 1.0), (1.0, 0.5), (0.25, 0.78), (0.01, 0.1)])
def test_audits_needed_are_the_least_that_suffice(share: float, found: float) -> None:
    needed = audits_needed(share, found, 0.95)
    assert 1 - (1 - share * found) ** needed >= 0.95
    assert needed == 1 or 1 - (1 - share * found) ** (needed - 1) < 0.95


# -- a subnet ------------------------------------------------------------------------------------------------


def example(*words: str) -> str:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE), *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_cheating_miners_lose_their_weight() -> None:
    """Every answer of this run is proved and audited, and every request signed."""
    lines = example()
    for uid in range(8):
        cheats = uid in (2, 4, 7)
        assert f"miner {uid}{' (cheats): 0.000' if cheats else ': 0.200'}" in lines
    assert "[0, 1, 3, 5, 6]" in lines


def test_the_plan_holds_in_95_of_100_simulations() -> None:
    """The example fails otherwise."""
    assert "of 1000" in example("--simulations", "1000")


# -- commands ------------------------------------------------------------------------------------------------


def test_signing_and_weights_by_commands(tmp_path: Path) -> None:
    hotkey, body, scores = tmp_path / "hotkey", tmp_path / "body", tmp_path / "scores"
    hotkey.write_bytes(core.serialized_keypair_to_keyfile_data(SENDER))
    hotkey.chmod(0o600)
    body.write_bytes(BODY)
    words = ("network", "bittensor")
    said = done(*words, "sign", "POST", TARGET, "--hotkey", hotkey, "--body", body, "--to", ME.ss58_address)
    caller = authenticate(
        said["headers"], BODY, method="POST", target=TARGET, me=ME.ss58_address, nonces=Nonces()
    )
    assert caller.hotkey == SENDER.ss58_address
    hotkey.write_bytes(b"{}")
    assert "hotkey" in refused(*words, "sign", "GET", "/", "--hotkey", hotkey, "--to", ME.ss58_address)
    scores.write_text('{"miners": [{"uid": 3, "low": 0.9, "high": 1}, {"uid": 1, "low": 0.45, "high": 1}]}')
    said = done(*words, "weights", scores)
    assert (said["uids"], said["values"]) == ([1, 3], [16384, 65535])
    for text in (
        "{",
        '{"miners": 3}',
        '{"miners": [{"uid": 3}]}',
        '{"miners": [{"uid": 1, "low": 2, "high": 3}]}',
    ):
        scores.write_text(text)
        refused(*words, "weights", scores)
    scores.write_text('{"miners": [{"uid": 3, "low": 0.9, "high": 1}, {"uid": 3, "low": 0.9, "high": 1}]}')
    assert "twice" in refused(*words, "weights", scores)


# -- mutants -------------------------------------------------------------------------------------------------


def asked_twice() -> None:
    nonces = Nonces()
    for _ in range(2):
        authenticate(**good(), nonces=nonces, now=NOW)


def spoiled(name: str) -> Callable[[], object]:
    return lambda: authenticate(**{**CHANGED, **NARROWER}[name][1], nonces=Nonces(), now=NOW)


def edit(old: str, new: str = "    if False:") -> Edit:
    return Edit("networks.bittensor.auth", old, new)


MUTANTS: dict[str, tuple[Edit, Callable[[], object]]] = {
    "versions": (edit('    if said.get("version") != VERSION:'), spoiled("another version")),
    "numbers": (
        edit("    if not text.isascii() or not text.isdigit() or len(text) > 20:"),
        spoiled("a nonce with a sign"),
    ),
    "receivers": (edit('    if said.get("receiver") != me:'), spoiled("a receiver that was changed")),
    "times": (
        edit("    if stamp - nonce > MAX_AGE * 1e9 or nonce - stamp > SKEW * 1e9:"),
        spoiled("too old"),
    ),
    "signatures": (edit("    if not holds:"), spoiled("another body")),
    "replays": (edit('    if not nonces.use(said["hotkey"], nonce):'), asked_twice),
    "the form of signatures": (
        edit(
            '    if len(found) != _SIGNATURE or not text.startswith("0x") or len(text) != 2 + 2 * _SIGNATURE:'
        ),
        spoiled("a signature without 0x"),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, act = MUTANTS[name]
    with pytest.raises(Refused):
        act()
    with monkeypatch.context() as patch:
        apply(patch, [change])
        act()
