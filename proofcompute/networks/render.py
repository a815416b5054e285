"""Sign requests to Render's compute API, Dispersed, and describe nodes as its jobs.

Each request carries the public part of an API key, a time in milliseconds, a nonce of 16 bytes, and an
HMAC-SHA256 under the secret part. It is over seven parts joined by ``|``: key, time, nonce, method, path,
query, and the SHA-256 of the body. The query is sorted; a body in JSON is hashed in one form, compact with
sorted keys in ASCII, and is sent in that form here. (Documentation of Dispersed, "Authenticate Requests" and
"Create a Job", as published in 2026.)

What the documentation leaves open is refused before it is sent: characters that libraries write into queries
in two ways, and numbers that JavaScript may write otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

from proofcompute.encoding.files import read_private
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.errors.extras import lacking
from proofcompute.limits import MIB
from proofcompute.networks.adapter import Description, Document

if TYPE_CHECKING:
    import httpx

__all__ = ["ADAPTER", "ApiKey", "Job", "Render", "canonical_json", "signature", "signing"]

API: Final = "https://api.dispersed.com"
"""Where the API is, as documented."""
JOBS: Final = "/v1/jobs"
MAX_BODY: Final = MIB
MAX_SAFE: Final = (1 << 53) - 1
_AMBIGUOUS: Final = frozenset(" !'()*~")
"""Characters that are written in two ways: as by encodeURIComponent, or as by URLSearchParams."""
_LEAST_RUN: Final = 60_000
_NAMES: Final = ("image", "tag")


@dataclass(frozen=True)
class ApiKey:
    """A key of the API."""

    public: str
    secret: str = field(repr=False)

    @staticmethod
    def load(path: Path) -> ApiKey:
        """Read a key from a file that only its owner can read: the public part and the secret, a line each.

        Raises InputError if others may read it, FormatError if it holds no key.
        """
        try:
            lines = read_private(path, 1024, "key").decode("ascii").split()
        except UnicodeDecodeError:
            lines = []
        if len(lines) != 2 or "|" in lines[0] or not lines[0].isprintable():
            raise FormatError(f"{path} holds no API key: its public part and its secret, a line each")
        return ApiKey(lines[0], lines[1])


def canonical_json(value: Json) -> bytes:
    """Return JSON in the one form that is signed. Raises InputError for a number that has several."""
    _check_numbers(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _check_numbers(value: Json) -> None:
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > MAX_SAFE):
        raise InputError(f"{value!r} has no single form in JSON: numbers are whole and below 2^53")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_numbers(each)


def canonical_query(query: str) -> str:
    """Return a query sorted by names and then values. Raises InputError for characters with two forms."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as e:
        raise InputError(f"the query is malformed: {e}") from e
    if _AMBIGUOUS & {c for pair in pairs for text in pair for c in text}:
        raise InputError(f"a query has none of the characters {''.join(sorted(_AMBIGUOUS))!r}")
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(pairs))


def signature(key: ApiKey, *, stamp: int, nonce: str, method: str, path: str, query: str, body: bytes) -> str:
    """Return the HMAC of a request, 64 hexadecimal digits; query and body are in their forms already."""
    digest = hashlib.sha256(body).hexdigest()
    text = "|".join((key.public, str(stamp), nonce, method.upper(), path, query, digest))
    return hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def signing(key: ApiKey, clock: Callable[[], float] = time.time) -> httpx.Auth:
    """Return what signs each request of an httpx client: its parameter ``auth``.

    Query and body are replaced by their canonical forms; a body is JSON, or there is none. Raises InputError
    for a request that has no such form, UnsupportedError if httpx is missing.
    """
    try:
        import httpx
    except ModuleNotFoundError as e:
        raise lacking(e, "requests to Dispersed") from e

    class Signing(httpx.Auth):
        requires_request_body = True

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            query = canonical_query(request.url.query.decode("ascii"))
            body = b""
            if request.content:
                try:
                    body = canonical_json(read_json(request.content, MAX_BODY))
                except (FormatError, LimitError) as e:
                    raise InputError(f"the body is no JSON as it is read here: {e}") from e
            url = request.url.copy_with(query=query.encode() or None)
            stamp, nonce = int(clock() * 1000), secrets.token_hex(16)
            path = url.raw_path.decode("ascii").partition("?")[0]
            signed = signature(
                key, stamp=stamp, nonce=nonce, method=request.method, path=path, query=query, body=body
            )
            headers = {n: v for n, v in request.headers.items() if n.lower() != "content-length"}
            own = {"X-API-Key": key.public, "X-Time": str(stamp), "X-Nonce": nonce, "X-Signature": signed}
            yield httpx.Request(
                request.method,
                url,
                headers={**headers, **own, **({"Content-Type": "application/json"} if body else {})},
                content=body,
                extensions=request.extensions,
            )

    return Signing()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A node as a job of Dispersed. Raises InputError for what the API would refuse."""

    title: str
    image: str
    tag: str = "latest"
    run_ms: int | None = None
    """Milliseconds for which a batch runs; without, the job is persistent."""
    cpus: int = 4
    gpus: int = 1
    ram_gb: int = 16
    storage_gb: int = 32
    vram_gb: int = 8
    ports: Sequence[int] = (8000,)
    env: dict[str, str] = field(default_factory=dict)
    """The job's environment. Whoever runs the machine can read it: no secrets."""

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus", "ram_gb", "storage_gb", "vram_gb"):
            if not 0 <= getattr(self, name) <= MAX_SAFE:
                raise InputError(f"{name} is a number from 0")
        if self.run_ms is not None and not _LEAST_RUN <= self.run_ms <= MAX_SAFE:
            raise InputError(f"a batch runs for {_LEAST_RUN} ms or longer")
        if not all(0 < port < 1 << 16 for port in self.ports):
            raise InputError("a port is from 1 to 65,535")
        for name in ("title", *_NAMES):
            if not getattr(self, name) or not getattr(self, name).isprintable():
                raise InputError(f"the {name} of a job is text")

    def document(self) -> Document:
        """Return the body of the request that creates the job."""
        container: dict[str, Json] = {"image": self.image, "tag": self.tag, "ports": list(self.ports)}
        if self.env:
            container["env"] = {**self.env}
        value: dict[str, Json] = {
            "task": "PERSISTENT" if self.run_ms is None else "BATCH",
            "title": self.title,
            "cpu_count": self.cpus,
            "gpu_count": self.gpus,
            "min_ram_gb": self.ram_gb,
            "min_storage_gb": self.storage_gb,
            "min_vram_gb": self.vram_gb,
            "max_timeout_run_ms": self.run_ms,
            "parameters": {"type": "docker", "parameters": container},
        }
        return Document("application/json", canonical_json(value), ".job.json", "theirs")


@dataclass(frozen=True)
class Render:
    """Runs nodes as compute jobs."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="render",
            title="Render Network (Dispersed)",
            adopter="who runs nodes on Render's machines",
            offers=("nodes as jobs, and requests to the API, signed; nothing is sent here",),
            interface="theirs",
            judged_by=("a server made from the documentation of Dispersed",),
        )


ADAPTER = Render()
