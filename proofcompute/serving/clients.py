"""Tell clients apart by their keys or addresses, and limit what one of them may ask for at a time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple, final

from proofcompute.encoding.files import read_limited
from proofcompute.errors import BusyError, InputError
from proofcompute.limits import MIB
from proofcompute.serving.refusals import Refusal
from proofcompute.serving.waste import WRONG_KEY, Waste

__all__ = ["ApiKeys", "Client", "Clients", "Nonces", "address_of", "addresses_of"]

_LINE: Final = re.compile(r"(\S{1,64})\s+([0-9a-f]{64})")
_NONCES: Final = 1 << 16
_SHOWN: Final = 1 << 16
"""Pairs of an address and a key that it showed, which are remembered."""
_WAIT: Final = 2.0
"""Seconds after which a client that asks for too much at a time may ask again."""


class Client(NamedTuple):
    """Who asks."""

    name: str
    """The name of the key, or the address; logs show it."""
    scope: bytes
    """32 bytes that differ between clients."""

    @staticmethod
    def of(kind: str, name: str) -> Client:
        """Return the client of a key or an address."""
        return Client(name, hashlib.sha256(f"{kind} {name}".encode()).digest())


@final
class ApiKeys:
    """The keys that clients must show, as SHA-256 digests."""

    def __init__(self, digests: Mapping[str, bytes]) -> None:
        self._digests = dict(digests)
        self._shown: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()
        """Addresses and the keys that they showed, those of longest ago first."""

    @staticmethod
    def load(path: Path) -> ApiKeys:
        """Read a file with a name and the SHA-256 digest of a key in each line; # begins a comment.

        Keys must be random, of at least 128 bits, because their digests are not salted. Raises InputError if
        the file cannot be read, or a line is none of these.
        """
        try:
            text = read_limited(path, MIB, "API keys").decode()
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8") from None
        digests: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not (bare := line.partition("#")[0].strip()):
                continue
            found = _LINE.fullmatch(bare)
            if found is None or found[1] in digests:
                raise InputError(
                    f"{path}, line {number}: expected a new name and the SHA-256 digest of a key, 64 digits"
                )
            digests[found[1]] = bytes.fromhex(found[2])
        if not digests:
            raise InputError(f"{path} holds no key, so nobody could ask")
        return ApiKeys(digests)

    def client(self, authorization: str | None) -> Client:
        """Return whose key a header Authorization shows. Raises Refusal (401) if it shows none of them."""
        scheme, _, key = (authorization or "").partition(" ")
        digest, found = hashlib.sha256(key.strip().encode()).digest(), None
        for name, wanted in self._digests.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(digest, wanted):
                found = name
        if found is None or scheme.lower() != "bearer":
            what = "Incorrect API key provided" if key else "You didn't provide an API key"
            refusal = Refusal.of(401, f"{what}; send it as 'Authorization: Bearer KEY'", "invalid_api_key")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            raise refusal
        return Client.of("key", found)

    def admit(self, address: Client, authorization: str | None, waste: Waste) -> Client:
        """Return whose key an address shows, and count wrong ones among what it may send for nothing.

        When that is used up, a right key is refused like a wrong one, so that guessing teaches nothing,
        unless the address has shown this key before. Raises Refusal (401, 429).
        """
        try:
            client = self.client(authorization)
        except Refusal:
            waste.take(address.scope, WRONG_KEY)
            raise
        pair = address.scope, client.scope
        if pair not in self._shown:
            waste.require(address.scope, WRONG_KEY)
            self._shown[pair] = None
        self._shown.move_to_end(pair)
        if len(self._shown) > _SHOWN:
            self._shown.popitem(last=False)
        return client


def address_of(peer: str, forwarded: str | None, proxies: frozenset[str]) -> Client:
    """Return the client with an address: that of the connection or, behind a proxy, the last it names.

    An IPv6 network of 64 bits is one client, since whoever has one address of it has all.
    """
    address = _address(peer)
    if address is not None and str(address) in proxies and forwarded:
        address = _address(forwarded.rpartition(",")[2].strip())
    if address is None:
        return Client.of("address", "unknown")
    if isinstance(address, ipaddress.IPv6Address):
        return Client.of("address", str(ipaddress.ip_network((address, 64), strict=False)))
    return Client.of("address", str(address))


def addresses_of(proxies: Iterable[str]) -> frozenset[str]:
    """Return addresses as :func:`address_of` compares them. Raises InputError for what is no address."""
    found = {text: _address(text) for text in proxies}
    for text, address in found.items():
        if address is None:
            raise InputError(f"a proxy is named by its address, not {text!r}")
    return frozenset(map(str, found.values()))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address; a socket for IPv6 may name those of IPv4 as parts of its own."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


@final
class Clients:
    """What each client has asked for and not got yet. Any thread may use it."""

    def __init__(self, requests: int, rows: int) -> None:
        """Allow each client ``requests`` answers with ``rows`` rows together."""
        self._requests, self._rows = requests, rows
        self._lock = Lock()
        self._taken: dict[bytes, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Return the number of clients that have asked for something."""
        return len(self._taken)

    @contextmanager
    def lease(self, client: Client, requests: int, rows: int) -> Iterator[None]:
        """Count answers and rows of a client inside the block. Raises BusyError if they are too many."""
        self.take(client, requests, rows)
        try:
            yield
        finally:
            self.give_back(client, requests, rows)

    def take(self, client: Client, requests: int, rows: int) -> None:
        """Count answers and rows of a client until :meth:`give_back`. Raises BusyError if too many."""
        with self._lock:
            had = self._taken.get(client.scope, (0, 0))
            found = had[0] + requests, had[1] + rows
            if found[0] > self._requests or (had[0] and found[1] > self._rows):
                raise BusyError("you have asked for too much at the same time", _WAIT)
            self._taken[client.scope] = found

    def give_back(self, client: Client, requests: int, rows: int) -> None:
        """End what :meth:`take` began."""
        with self._lock:
            had = self._taken[client.scope]
            left = had[0] - requests, had[1] - rows
            if left == (0, 0):
                del self._taken[client.scope]
            else:
                self._taken[client.scope] = left


@final
class Nonces:
    """The nonces that clients sent last, so that none is used for two questions by mistake."""

    def __init__(self, most: int = _NONCES) -> None:
        self._most = most
        self._lock = Lock()
        self._seen: OrderedDict[bytes, bytes] = OrderedDict()

    def check(self, nonce: bytes, digest: bytes) -> None:
        """Note that a nonce is of the request with this digest. Raises Refusal (400) if it was another's.

        The same request may come again, since clients repeat it when a connection breaks.
        """
        with self._lock:
            if self._seen.setdefault(nonce, digest) != digest:
                raise Refusal.of(400, "the nonce was used for another request; draw another", "nonce_reused")
            self._seen.move_to_end(nonce)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
