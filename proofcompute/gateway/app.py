"""Make the ASGI application of a gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, Final, cast

import httpx2
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from proofcompute.errors import ProofcomputeError, ServiceError, VerificationError
from proofcompute.gateway.clusters import Shown
from proofcompute.gateway.gateway import Gateway
from proofcompute.gateway.relaying import ASSURANCE_HEADER, relay
from proofcompute.openai import (
    NONCE_HEADER,
    OPEN_PATH,
    Endpoint,
    Json,
    OpenCall,
    model_object,
    models_object,
)
from proofcompute.protocol.messages import Challenge, Receipt
from proofcompute.prover.counting import ChallengeCount
from proofcompute.serving.gate import EXCHANGE, Exchange, Gate
from proofcompute.serving.refusals import Refusal, json_bytes, refusal_of
from proofcompute.version import __version__

__all__ = ["application"]

_JSON: Final = "application/json"
_PAGE: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/grid.js": ("grid.js", "text/javascript; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Files of the page. They hold nothing of the fleet, so they need no key."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_ANSWERS: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
_PASSED: Final = 1
"""Challenges of a receipt that are passed on for clients. A node answers few and refuses others, and whoever
audits it needs the rest: a refusal would count against it."""
_NEWEST: Final = 200
"""Answers that are listed."""
LOOK_SECONDS: Final = 30.0
"""Seconds between two looks for newer verdicts about clusters."""


def application(gateway: Gateway, clusters: Shown | None = None) -> Gate:
    """Return the application of a gateway, which starts and closes it with the application's life.

    ``clusters`` are verdicts about clusters that its page shows; none unless given.
    """
    shown = Shown() if clusters is None else clusters
    names = {m.entry.public: m.name for m in gateway.fleet.members.values()}

    def describe() -> dict[str, Any]:
        now = round(time.time() * 1000)
        return {"clusters": [each.describe(names, now) for each in shown.verdicts], "refused": shown.refused}

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        looking = asyncio.create_task(_look(gateway, shown, describe))
        try:
            yield
        finally:
            looking.cancel()
            await gateway.close()

    app = FastAPI(
        title="proofcompute gateway",
        version=__version__,
        lifespan=life,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Response,
    )
    _add_errors(app, gateway)
    _add_answers(app, gateway)
    _add_proofs(app, gateway)
    _add_fleet(app, gateway)
    _add_clusters(app, describe)
    _add_health(app, gateway)
    _add_page(app)
    return Gate(app, gateway, frozenset(_PAGE))


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_bytes(cast(Json, value)), status, {"Cache-Control": "no-store"}, _JSON)


def _add_errors(app: FastAPI, gateway: Gateway) -> None:
    async def known(_: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if isinstance(error, HTTPException):
            text = (
                "there is no such path here" if error.status_code == 404 else "this path takes another method"
            )
            refusal = Refusal.of(
                error.status_code, text, "not_found" if error.status_code == 404 else "method"
            )
        gateway.metrics.refusals.labels(refusal.reason).inc()
        return refusal.response()

    for kind in (ProofcomputeError, Refusal, MemoryError, HTTPException, Exception):
        app.add_exception_handler(kind, known)


def _add_answers(app: FastAPI, gateway: Gateway) -> None:
    def add(path: str, endpoint: Endpoint) -> None:
        @app.post(path)
        async def answer(request: Request) -> Response:
            exchange = cast(Exchange, request.scope[EXCHANGE])
            headers = request.headers
            return await relay(
                gateway,
                endpoint,
                exchange,
                await request.body(),
                headers.get(NONCE_HEADER),
                headers.get(ASSURANCE_HEADER),
            )

    for path, endpoint in _ANSWERS.items():
        add(path, endpoint)

    @app.get("/v1/models")
    async def models() -> Response:
        """List the models."""
        return _json(models_object([_model(gateway, name) for name in gateway.models]))

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """Describe a model."""
        if name not in gateway.models:
            raise Refusal.of(404, "there is no such model here; see /v1/models", "model_not_found")
        return _json(_model(gateway, name))

    @app.get("/v1/assurance/{name}")
    async def assurance(name: str) -> Response:
        """Say how far an answer was checked, by its completion id or the gateway's id for it."""
        if (found := gateway.records.find(name)) is None:
            raise Refusal.of(404, "there is no such answer here, or no more", "answer_not_found")
        return _json(found.describe())


def _model(gateway: Gateway, name: str) -> dict[str, Json]:
    return model_object(name, gateway.model_id(name), gateway.created)


def _add_proofs(app: FastAPI, gateway: Gateway) -> None:
    passed = ChallengeCount(_PASSED)

    @app.get("/v1/proofs/card/{model}")
    async def card(model: str) -> Response:
        """Return the card of a model (application/cbor), by its name or its model id."""
        if not gateway.has(model):
            raise Refusal.of(404, "there is no such model here; see /v1/models", "model_not_found")
        found = gateway.card(model) or await gateway.fetch_card(model)
        if found is None:
            raise Refusal.of(503, "no node gives its card now", "no_node", kind="server_error", wait=5)
        return Response(found.encode(), media_type="application/cbor")

    @app.post("/v1/proofs/open")
    async def open_cells(request: Request) -> Response:
        """Pass one challenge of a receipt on to the node that signed it, and its opening back."""
        body = await request.body()
        _, receipt, challenge = OpenCall.split(body)
        asked, wanted = Receipt.decode(receipt), Challenge.decode(challenge).digest
        member = gateway.fleet.of_key(asked.node)
        if member is None:
            raise Refusal.of(400, "no node of this federation signed the receipt", "unknown_node")
        new = passed.take(asked.digest, wanted)
        cast(Exchange, request.scope[EXCHANGE]).computes()
        asking = member.client.build_request("POST", member.entry.url + OPEN_PATH, content=body)
        status = 0
        try:
            async with asyncio.timeout(gateway.patience.opening):
                found = await member.client.send(asking, stream=True)
            status = found.status_code
        except (httpx2.TransportError, ServiceError, VerificationError, TimeoutError) as e:
            raise Refusal.of(
                503, f"node {member.name} cannot be reached", "no_node", kind="server_error", wait=5
            ) from e
        finally:
            if new and 400 <= status < 500:  # whatever else came of it, the node may have counted it
                passed.give_back(asked.digest, wanted)
        kind = "application/cbor-seq" if found.status_code == 200 else _JSON

        async def pieces() -> AsyncIterator[bytes]:
            try:
                parts = aiter(found.aiter_raw())
                while True:
                    async with asyncio.timeout(gateway.patience.idle):
                        piece = await anext(parts, b"")
                    if not piece:
                        return
                    yield piece
            finally:
                await found.aclose()

        return StreamingResponse(pieces(), found.status_code, media_type=kind)


def _add_fleet(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/fleet")
    async def fleet() -> Response:
        """Return all nodes, with their trust."""
        return _json({"nodes": [m.describe() for m in gateway.fleet.members.values()]})

    @app.get("/v1/fleet/answers")
    async def answers() -> Response:
        """Return the newest answers, the newest first."""
        return _json({"answers": [r.describe() for r in gateway.records.newest(_NEWEST)]})

    @app.get("/v1/fleet/events")
    async def events() -> Response:
        """Send what happens, as server-sent events."""
        if gateway.watchers.full or gateway.draining:
            raise Refusal.of(503, "too many watch this gateway", "watchers", kind="server_error", wait=30)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(gateway.watchers.watch(), headers=headers, media_type="text/event-stream")

    @app.get("/v1/evidence/{name}")
    async def evidence(name: str) -> Response:
        """Return evidence against a node, for `proofcompute verify-evidence`."""
        found = gateway.books.evidence(name) if name.endswith(".evidence") else None
        if found is None:
            raise Refusal.of(404, "there is no such evidence here", "evidence_not_found")
        headers = {**_SAFE, "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(found, headers=headers, media_type="application/octet-stream")


def _add_clusters(app: FastAPI, describe: Callable[[], dict[str, Any]]) -> None:
    @app.get("/v1/fleet/clusters")
    async def clusters() -> Response:
        """Return the verdicts about clusters, each with its lines and the evidence behind them."""
        return _json(describe())


async def _look(gateway: Gateway, shown: Shown, describe: Callable[[], dict[str, Any]]) -> None:
    """Look for newer verdicts until the gateway is closed, and tell watchers what is shown then."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if await asyncio.to_thread(shown.look):
            gateway.publish("clusters", describe())


def _add_health(app: FastAPI, gateway: Gateway) -> None:
    def status() -> str:
        return "draining" if gateway.draining else "ok"

    @app.get("/health")
    async def health() -> Response:
        """Say whether requests are taken, and how many nodes can be asked."""
        able = sum(m.open() for m in gateway.fleet.members.values())
        value = {"status": status(), "nodes": len(gateway.fleet.members), "asked": able}
        return _json(value, 503 if gateway.draining else 200)

    @app.get("/healthz")
    async def healthz() -> Response:
        """Say in one word whether requests are taken."""
        return PlainTextResponse(status(), 503 if gateway.draining else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Return numbers for Prometheus."""
        return Response(gateway.metrics.text(), media_type=gateway.metrics.TYPE)


def _add_page(app: FastAPI) -> None:
    def add(path: str, file: str, kind: str) -> None:
        data = (resources.files("proofcompute.gateway") / "page" / file).read_bytes()

        @app.get(path)
        async def page() -> Response:
            return Response(data, headers=_SAFE, media_type=kind)

    for path, (file, kind) in _PAGE.items():
        add(path, file, kind)
