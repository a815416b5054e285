"""Define the settings of a service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proofcompute.engine import Keep
from proofcompute.errors import InputError
from proofcompute.limits import GIB, KIB, MIB
from proofcompute.prover.admission import RunnerLimits

__all__ = ["WEEK", "ServiceLimits", "Settings"]

WEEK: Final = 7 * 24 * 3600


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """How much a service takes, and how long it waits for its clients."""

    body: int = 8 * MIB
    """Most bytes of the body of a completion."""
    proof_body: int = 16 * MIB
    """Most bytes of the body of a challenge: request, receipt and challenge."""
    bodies: int = 256 * MIB
    """Most bytes of all bodies that are held at the same time."""
    header_seconds: float = 20.0
    """Seconds within which the headers of a request must arrive, and for which an idle connection is kept."""
    body_seconds: float = 30.0
    """Seconds within which a whole body must arrive."""
    write_seconds: float = 60.0
    """Seconds for which a client may leave a part of a response unread before it is cut off."""
    drain_seconds: float = 60.0
    """Seconds that running requests have to finish when the service is stopped."""
    connections: int = 512
    """Most connections at a time."""
    client_requests: int = 32
    """Most answers (choices) of one client that are computed or wait at the same time."""
    client_rows: int = 1 << 17
    """Most rows of the traces of these answers together."""
    openings: int = 2
    """Most openings that are made at the same time."""
    client_openings: int = 1
    """Most openings of one client that are made at the same time."""
    turns: int = 64
    """Most clients that wait for an opening to begin."""
    turn_seconds: float = 20.0
    """Seconds that an opening may wait to begin."""
    waste: int = 32 * MIB
    """Bytes that a client may send at once of requests that compute nothing."""
    waste_rate: int = 512 * KIB
    """Bytes a second that it may send of them."""
    hold_seconds: float = 1.0
    """Seconds after which a client is told that it has sent too much of them."""
    opening_seconds: float = 900.0
    """Seconds that an opening may take, however slowly it is read."""
    receipts: int = 64 * MIB
    """Bytes of the newest receipts that are kept to be fetched again."""
    header_receipt: int = 4096
    """Most characters of a receipt that is sent in a header too."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) not in (int, float) or not value > 0:
                raise InputError(f"a service's limit {name} is a number above 0, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a service needs to start."""

    models: tuple[tuple[str, Path], ...]
    """The name and the file of each model."""
    identity: Path
    """File of the node's key pair."""
    device: str = "cpu"
    """Where to compute: ``auto``, ``cpu``, ``cuda`` or ``numpy``."""
    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    """Certificate chain in PEM; None: no TLS."""
    tls_key: Path | None = None
    """Its private key, PKCS #8 in PEM."""
    api_keys: Path | None = None
    """File of the keys that clients must show; None: anybody may ask."""
    proxies: frozenset[str] = frozenset()
    """Addresses of proxies whose header X-Forwarded-For names the client."""
    base: int = 30
    """Seconds that an opening may take besides the time for its rows, as the terms say."""
    rate: int | None = None
    """Rows that are computed again in a second, as the terms say; None: from a measurement."""
    retention: int = WEEK
    """Seconds for which challenges are answered."""
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    runner: RunnerLimits = field(default_factory=RunnerLimits)
    """What is computed at a time, for each model."""
    rows: int = 512
    """Most rows of all requests to a model in one step."""
    chunk: int = 256
    """Most rows of one request in one step."""
    keep: Keep = Keep.ALL
    """What stays of rows; if not ALL, the first opening of an answer computes it again."""
    trace_bytes: int = GIB
    """Most bytes of traces that are kept for openings, for each model; 0: all are computed again."""
    prefixes: int = 0
    """Most bytes of the cache of prefixes, for each model; 0: none."""
    shared_prefixes: bool = False
    """Whether clients share rows of prompts that begin alike, and can guess others' prompts by the time."""
    published: tuple[Path, ...] = ()
    """Public keys of models, with their codes beside them; openings end with public proofs if asked for."""
    log_format: str = "text"
    """``text`` or ``json``."""
    log_level: str = "info"

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("a service has at least one model")
        names = [name for name, _ in self.models]
        for name in names:
            if not 1 <= len(name) <= 256 or not name.isprintable():
                raise InputError(f"a model's name has 1 to 256 printable characters: {name!r}")
            if names.count(name) > 1:
                raise InputError(f"two models have the name {name!r}; give names with --name")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("TLS takes both a certificate and its key")
        if min(self.rows, self.chunk) < 1:
            raise InputError(f"a step of {min(self.rows, self.chunk)} rows")
        if self.prefixes and self.keep is Keep.NOTHING:
            raise InputError("a cache of prefixes keeps rows, and nothing is to be kept of them")
        if self.shared_prefixes and not self.prefixes:
            raise InputError("without a cache of prefixes there is nothing to share")
        if not 0 <= self.port < 1 << 16:
            raise InputError(f"port {self.port} is outside 0..65535")
        if self.log_format not in ("text", "json"):
            raise InputError(f"the log's format is text or json, not {self.log_format!r}")
