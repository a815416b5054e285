"""Sign HTTP requests by a hotkey, and check who signed one: the protocol ``btauth/1``.

It is what Bittensor's SDK 11 has in the place of Axon and Dendrite. What is signed are eight lines: protocol,
scheme, method, target, SHA-256 of the body, nonce (nanoseconds since the Unix epoch), sender and receiver.
The checks are those of the SDK, in their order:

1. the headers are there and have their forms;
2. the request is for this receiver;
3. its nonce is within the time that requests live;
4. the signature holds, under the scheme that the request states;
5. the nonce was not used by this sender before. It is kept only now, so nobody fills the store for others.

Two forms are narrower here: a nonce has digits only and is at most 20 of them long, and a signature begins
with 0x. All that the SDK signs has these forms.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Literal

from proofcompute.errors import EnvelopeError, InputError
from proofcompute.errors.extras import lacking

__all__ = ["Caller", "Nonces", "Refused", "authenticate", "payload", "signed_headers", "valid_address"]

PROTOCOL: Final = "btauth/1"
VERSION: Final = "1"
PREFIX: Final = "x-bittensor-"
"""Before the name of each header."""
SCHEMES: Final = {"ed25519": 0, "sr25519": 1}
DEFAULT_SCHEME: Final = "sr25519"
MAX_AGE: Final = 10.0
"""Seconds for which a request lives."""
SKEW: Final = 2.0
"""Seconds by which the sender's clock may be ahead."""
MAX_NONCES: Final = 1 << 20
"""The most nonces that are kept; more requests in the time that they live are refused."""
_SIGNATURE: Final = 64
_HEADERS: Final = ("version", "hotkey", "receiver", "nonce", "crypto", "signature")

Reason = Literal["malformed", "receiver", "stale", "signature", "replayed", "full"]


def core() -> Any:
    """Return the functions of the keys."""
    try:
        return import_module("bittensor_core")
    except ModuleNotFoundError as e:
        raise lacking(e, "requests between hotkeys") from e


class Refused(EnvelopeError):
    """A request that is not authenticated. The text may go to whoever sent it."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    hotkey: str
    """Its address."""
    nonce: int
    """Nanoseconds since the Unix epoch, by its clock."""


@dataclass
class Nonces:
    """The nonces that were used, as long as a request with one could be accepted. Threads may share it."""

    seconds: float = MAX_AGE + SKEW
    _seen: set[tuple[str, int]] = field(default_factory=set, repr=False)
    _ends: deque[tuple[float, tuple[str, int]]] = field(default_factory=deque, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def use(self, hotkey: str, nonce: int) -> bool:
        """Keep a nonce, and return whether it is new. Raises Refused if there are too many."""
        now, one = time.monotonic(), (hotkey, nonce)
        with self._lock:
            while self._ends and self._ends[0][0] < now:
                self._seen.discard(self._ends.popleft()[1])
            if one in self._seen:
                return False
            if len(self._seen) >= MAX_NONCES:
                raise Refused("full", "too many requests at once")
            self._seen.add(one)
            # A nonce of the future may be used until it is old.
            self._ends.append((now + self.seconds + SKEW, one))
            return True


def payload(
    *, scheme: str, method: str, target: str, body: bytes, nonce: int, sender: str, receiver: str
) -> bytes:
    """Return what is signed; ``target`` is the path with the query as it is sent."""
    digest = hashlib.sha256(body).hexdigest()
    lines = (PROTOCOL, scheme, method.upper(), target, digest, str(nonce), sender, receiver)
    return "\n".join(lines).encode()


def valid_address(address: str) -> str:
    """Return the address of a hotkey. Raises InputError if it is none."""
    try:
        core().ss58_decode(address)
    except ValueError:
        raise InputError(f"{address[:80]!r} is no address of a hotkey") from None
    return address


def signed_headers(
    keypair: Any, *, method: str, target: str, body: bytes, receiver: str, nonce: int | None = None
) -> dict[str, str]:
    """Return the headers that sign a request.

    Args:
        keypair: the sender's: ``bittensor_core.Keypair`` or another one with its names.
        method: of the request.
        target: its path with the query, exactly as it is sent.
        body: its body.
        receiver: the address of the hotkey that it is for.
        nonce: nanoseconds since the Unix epoch; now, unless a test wants another time.
    """
    scheme = next((name for name, number in SCHEMES.items() if number == keypair.crypto_type), None)
    if scheme is None:
        raise InputError(f"a hotkey's scheme is {' or '.join(SCHEMES)}")
    stamp = time.time_ns() if nonce is None else nonce
    sender = str(keypair.ss58_address)
    text = payload(
        scheme=scheme,
        method=method,
        target=target,
        body=body,
        nonce=stamp,
        sender=sender,
        receiver=valid_address(receiver),
    )
    found = {
        "X-Bittensor-Version": VERSION,
        "X-Bittensor-Hotkey": sender,
        "X-Bittensor-Nonce": str(stamp),
        "X-Bittensor-Receiver": receiver,
        "X-Bittensor-Signature": "0x" + bytes(keypair.sign(text)).hex(),
    }
    return found if scheme == DEFAULT_SCHEME else {**found, "X-Bittensor-Crypto": scheme}


def authenticate(
    headers: Mapping[str, str],
    body: bytes,
    *,
    method: str,
    target: str,
    me: str,
    nonces: Nonces,
    now: int | None = None,
) -> Caller:
    """Return who signed a request for me.

    Args:
        headers: as they came; a name that comes twice must be refused before.
        body: as it came, before anything reads it.
        method: of the request.
        target: its path with the query as it came.
        me: the address of the hotkey that requests must be for.
        nonces: where used nonces are kept.
        now: nanoseconds since the Unix epoch; the clock's, unless a test wants another time.

    Raises Refused.
    """
    found = {name.lower(): value for name, value in headers.items()}
    said = {name: found[PREFIX + name] for name in _HEADERS if PREFIX + name in found}
    # 1.
    if said.get("version") != VERSION:
        raise Refused("malformed", f"X-Bittensor-Version is not {VERSION}")
    for name in ("hotkey", "nonce", "signature"):
        if not said.get(name):
            raise Refused("malformed", f"X-Bittensor-{name.capitalize()} is missing")
    if not said["hotkey"].isascii():
        raise Refused("malformed", "X-Bittensor-Hotkey is no address")
    scheme = said.get("crypto", DEFAULT_SCHEME)
    if scheme not in SCHEMES:
        raise Refused("malformed", "X-Bittensor-Crypto is no scheme")
    text = said["nonce"]
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise Refused("malformed", "X-Bittensor-Nonce is no number")
    nonce, signature = int(text), _signature(said["signature"])
    # 2.
    if said.get("receiver") != me:
        raise Refused("receiver", "the request is for another hotkey, or for none")
    # 3.
    stamp = time.time_ns() if now is None else now
    if stamp - nonce > MAX_AGE * 1e9 or nonce - stamp > SKEW * 1e9:
        raise Refused("stale", "the request's nonce is too old, or of the future")
    # 4.
    signed = payload(
        scheme=scheme,
        method=method,
        target=target,
        body=body,
        nonce=nonce,
        sender=said["hotkey"],
        receiver=me,
    )
    try:
        holds = core().verify(signed, signature, said["hotkey"], SCHEMES[scheme])
    except ValueError:
        raise Refused("malformed", "X-Bittensor-Hotkey is no address") from None
    if not holds:
        raise Refused("signature", "the signature is not that of the hotkey")
    # 5.
    if not nonces.use(said["hotkey"], nonce):
        raise Refused("replayed", "the nonce was used before")
    return Caller(said["hotkey"], nonce)


def _signature(text: str) -> bytes:
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != _SIGNATURE or not text.startswith("0x") or len(text) != 2 + 2 * _SIGNATURE:
        raise Refused("malformed", "X-Bittensor-Signature is no signature")
    return found
