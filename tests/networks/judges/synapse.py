"""Lets miners and a validator speak by Axon and Dendrite of Bittensor's SDK 10, on loopback.

Reads one line of JSON, {"cases": names, "mutant": [old, new] or null}, and prints one with what came of each
case. A mutant is a change of the adapter's source. Whoever runs this has the library on the path, and SDK 10.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import requests
from bittensor.core.axon import Axon
from bittensor.core.dendrite import Dendrite
from bittensor.utils import networking
from bittensor_wallet import Keypair

import proofcompute as pc
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.errors import ProofcomputeError, VerificationError

NAME = "proofcompute.networks.bittensor.synapse"
networking.get_external_ip = lambda: "192.0.2.1"  # nobody is asked what the address here is


def adapter(mutant: list[str] | None) -> Any:
    """The adapter's module, changed if there is a mutant."""
    if mutant is None:
        return importlib.import_module(NAME)
    spec = importlib.util.find_spec(NAME)
    assert spec is not None
    source = Path(str(spec.origin)).read_text("utf-8")
    assert source.count(mutant[0]) == 1, mutant[0]
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    exec(compile(source.replace(mutant[0], mutant[1]), NAME, "exec"), vars(module))  # noqa: S102
    return module


asked = json.loads(sys.stdin.readline())
synapse = adapter(asked["mutant"])
Answer, Opening = synapse.exchanges()


def keypair(number: int) -> Any:
    return Keypair.create_from_seed("0x" + bytes([number] * 32).hex())


MINER, VALIDATOR, STRANGER, OTHER = (keypair(n) for n in (1, 2, 3, 4))


def model(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    b = pc.ProgramBuilder()
    h = b.relu(b.linear(b.input("x", 24), rng.standard_normal((32, 24)).astype(np.float32)))
    b.cut(h)
    b.output(b.linear(h, rng.standard_normal((6, 32)).astype(np.float32), name="y"))
    return b.model()


MODEL = model()
ROWS = np.random.default_rng(1).standard_normal((5, 24)).astype(np.float32)
NODE = pc.Node(MODEL, pc.NodeIdentity.new(), device="numpy")
AUDITOR = pc.Auditor(pc.keygen(MODEL, pc.kernels_for("numpy")), device="numpy")


def request(**changes: Any) -> Any:
    return pc.array_request(MODEL, ROWS, **{"node": NODE.public, **changes})


def axon(node: Any = NODE, hotkey: Any = MINER) -> Any:
    """A miner on a free port of loopback that answers the validator."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    wallet = SimpleNamespace(hotkey=hotkey, coldkeypub=hotkey)
    made = Axon(wallet=wallet, port=port, ip="127.0.0.1", external_ip="127.0.0.1", external_port=port)
    made.fast_config.host = "127.0.0.1"
    synapse.attach(made, node, {VALIDATOR.ss58_address})
    made.start()
    while not made.fast_server.started:  # its own start does not wait until the port is open
        time.sleep(0.01)
    return made


# -- a validator that asks --------------------------------------------------------------------------------


def audited(node: Any, asking: Any = None, hotkey: Any = VALIDATOR) -> dict[str, Any]:
    miner = axon(node)

    async def run() -> dict[str, Any]:
        dendrite = Dendrite(wallet=hotkey)
        try:
            question = request() if asking is None else asking
            receipt, found = await synapse.audit(dendrite, miner.info(), AUDITOR, question, "all")
            known = pc.Receipt.decode(receipt).request_digest == question.digest
            return {"verified": found.cells, "known": known}
        except VerificationError as e:
            return {"step": e.step}
        except ProofcomputeError as e:
            return {"error": type(e).__name__, "text": str(e)}
        finally:
            await dendrite.aclose_session()

    try:
        return asyncio.run(run())
    finally:
        miner.stop()


class Lying:
    """A node that answers or opens something else."""

    def __init__(self, answer: Callable[[Any], Any] | None = None, opened: Callable[..., Any] | None = None):
        self.answer = answer or NODE.answer
        self.open = opened or NODE.open


def receipt(data: bytes) -> Any:
    return SimpleNamespace(receipt=data)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def cheap() -> Any:
    """A node that says it runs the model, and has other weights in the last layer."""
    last = list(MODEL.weights)[-1]
    weight = MODEL.weights[last]
    assert isinstance(weight, Matrix)
    changed = {**MODEL.weights, last: replace(weight, q=np.roll(weight.q, 1, axis=1))}
    return pc.Node(replace(MODEL, weights=changed), NODE.identity, device="numpy")


def strange() -> dict[str, Any]:
    """A miner that answers another question than the one it got."""
    question = request()
    return audited(Lying(lambda asked: NODE.answer(question)))


# -- a request that somebody changes on its way -----------------------------------------------------------


def signed(hotkey: Any = VALIDATOR, to: Any = MINER, kind: Any = None) -> tuple[str, dict[str, str], Any]:
    """Name, headers and body of a request that Dendrite signed."""
    dendrite = Dendrite(wallet=hotkey)
    fields = {"request": synapse._text(request().encode())}
    made = (kind or Answer)(**fields) if kind is not Opening else opening_of(fields)
    target = SimpleNamespace(ip="127.0.0.1", port=1, hotkey=to.ss58_address)
    ready = dendrite.preprocess_synapse_for_request(target, made, 12.0)
    return type(made).__name__, ready.to_headers(), ready.model_dump()


def opening_of(fields: dict[str, str]) -> Any:
    question = pc.Request.decode(synapse._bytes(fields["request"]))
    answer = NODE.answer(question)
    challenge = AUDITOR.challenge(question, answer.receipt, 2)
    more = {"receipt": synapse._text(answer.receipt), "challenge": synapse._text(challenge.encode())}
    return Opening(**fields, **more)


def texted(text: str) -> tuple[str, dict[str, str], Any]:
    """A signed request whose field is a text of anybody's choice."""
    target = SimpleNamespace(ip="127.0.0.1", port=1, hotkey=MINER.ss58_address)
    ready = Dendrite(wallet=VALIDATOR).preprocess_synapse_for_request(target, Answer(request=text), 12.0)
    return "ProofAnswer", ready.to_headers(), ready.model_dump()


def post(miner: Any, message: tuple[str, dict[str, str], Any]) -> int:
    name, headers, body = message
    return requests.post(
        f"http://127.0.0.1:{miner.port}/{name}", headers=headers, json=body, timeout=60
    ).status_code


def once(message: tuple[str, dict[str, str], Any], **changes: str) -> dict[str, Any]:
    miner = axon()
    name, headers, body = message
    try:
        return {"status": post(miner, (name, {**headers, **changes}, body))}
    finally:
        miner.stop()


def with_body(message: tuple[str, dict[str, str], Any], field: str, *, hashed: bool) -> dict[str, Any]:
    """Another request or another challenge, with the header of its hash as it was, or changed with it."""
    name, headers, body = message
    other = {**body, field: synapse._text(request().encode())}
    if field == "challenge":
        question = pc.Request.decode(synapse._bytes(body["request"]))
        drawn = AUDITOR.challenge(question, synapse._bytes(body["receipt"]), "all")
        other = {**body, field: synapse._text(drawn.encode())}
    more = {"computed_body_hash": {"ProofAnswer": Answer, "ProofOpening": Opening}[name](**other).body_hash}
    return once((name, headers, other), **(more if hashed else {}))


def replayed() -> dict[str, Any]:
    miner, message = axon(), signed()
    try:
        return {"statuses": [post(miner, message), post(miner, message)]}
    finally:
        miner.stop()


def old(seconds: float, **unsigned: str) -> dict[str, Any]:
    """A request of some seconds ago to a miner that has just started, with headers that nobody signed."""
    now = time.time_ns
    try:
        time.time_ns = lambda: now() - int(seconds * 1e9)
        message = signed()
    finally:
        time.time_ns = now
    return once(message, **unsigned)


def headers() -> dict[str, Any]:
    """What is left of a synapse in headers, and which parts of the body its hash covers."""
    made = Answer(request="QUJD", timeout=7.0)
    again = Answer.from_headers(made.to_headers())
    full = Opening(request="QQ==", receipt="Qg==", challenge="Qw==")
    changed = [full.model_copy(update={f: "RA=="}).body_hash for f in ("request", "receipt", "challenge")]
    frozen = []
    for field in ("request", "receipt", "challenge"):
        try:
            setattr(full, field, "RA==")
        except ValueError:
            frozen.append(field)
    return {
        "timeout": again.timeout,
        "hash": again.computed_body_hash == made.body_hash,
        "request": again.request,
        "covered": len({full.body_hash, *changed}),
        "frozen": frozen,
        "answer": made.model_copy(update={"receipt": "RA=="}).body_hash == made.body_hash,
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "honest": lambda: audited(NODE),
    "headers": headers,
    "a request": lambda: once(signed()),
    "an opening": lambda: once(signed(kind=Opening)),
    "another body": lambda: with_body(signed(), "request", hashed=False),
    "another body and its hash": lambda: with_body(signed(), "request", hashed=True),
    "another challenge": lambda: with_body(signed(kind=Opening), "challenge", hashed=False),
    "another challenge and its hash": lambda: with_body(signed(kind=Opening), "challenge", hashed=True),
    "signed by another": lambda: once(signed(STRANGER), bt_header_dendrite_hotkey=VALIDATOR.ss58_address),
    "a stranger": lambda: once(signed(STRANGER)),
    "for another miner": lambda: once(signed(to=OTHER)),
    "no signature": lambda: once(signed(), bt_header_dendrite_signature=""),
    "another nonce": lambda: once(signed(), bt_header_dendrite_nonce=str(time.time_ns())),
    "no base64": lambda: once(texted("QQ=")),
    "replayed": replayed,
    "of the last seconds": lambda: old(5),
    "of yesterday": lambda: old(86_400),
    "of yesterday, with a long timeout": lambda: old(86_400, timeout="1e6"),
    "of yesterday, by an old version": lambda: old(86_400, bt_header_dendrite_version="7000000"),
    "of tomorrow": lambda: old(-86_400),
    "a receipt for another request": strange,
    "a receipt of another node": lambda: audited(
        Lying(lambda r: pc.Node(MODEL, device="numpy").answer(replace(r, node=b"")))
    ),
    "a receipt with another signature": lambda: audited(
        Lying(lambda r: receipt(flipped(NODE.answer(r).receipt)))
    ),
    "another model's opening": lambda: audited(cheap()),
    "a changed opening": lambda: audited(Lying(opened=lambda *a: flipped(NODE.open(*a)))),
    "an empty receipt": lambda: audited(Lying(lambda r: receipt(b""))),
    "no answer": lambda: audited(Lying(lambda r: 1 / 0)),
    "to nobody": lambda: audited(NODE, request(node=b"")),
    "to nobody, by another miner": lambda: audited(pc.Node(MODEL, device="numpy"), request(node=b"")),
    "asked by a stranger": lambda: audited(NODE, hotkey=STRANGER),
}


found = {name: CASES[name]() for name in (asked["cases"] or CASES)}
print("\n" + json.dumps(found))
