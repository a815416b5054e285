"""Make the ASGI application of a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from proofcompute.errors import BusyError, ProofcomputeError
from proofcompute.openai import NONCE_HEADER, Json, models_object
from proofcompute.serving import proofs
from proofcompute.serving.completions import complete
from proofcompute.serving.embeddings import embed
from proofcompute.serving.gate import EXCHANGE, Exchange, Gate
from proofcompute.serving.metrics import Metrics
from proofcompute.serving.refusals import Refusal, json_bytes, refusal_of
from proofcompute.serving.schema import (
    CBOR,
    CHALLENGE,
    CHAT,
    CHAT_ANSWER,
    COMPLETION,
    EMBEDDING,
    FRAMES,
    HEALTH,
    MODEL,
    MODELS,
    PLAIN,
    TEXT_ANSWER,
    VECTORS,
    describe,
    responses,
)
from proofcompute.serving.service import Service
from proofcompute.serving.settings import Settings
from proofcompute.version import __version__

__all__ = ["application", "create_app"]

_JSON: Final = "application/json"


def create_app(settings: Settings) -> Gate:
    """Load what the settings name and return the application, for any ASGI server with one worker.

    Raises InputError if a file cannot be used, and DeviceError if there is no such device.
    """
    return application(Service.load(settings))


def application(service: Service) -> Gate:
    """Return the application of a service, which starts and closes it with the application's life."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="proofcompute",
        version=__version__,
        summary="Answers with receipts, in OpenAI's interface",
        lifespan=life,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Response,  # which kind of content there is, each path says
    )
    _add_errors(app, service)
    _add_models(app, service)
    _add_completions(app, service)
    _add_embeddings(app, service)
    _add_proofs(app, service)
    _add_health(app, service)
    describe(app.openapi())  # which it keeps
    return Gate(app, service)


def _exchange(request: Request) -> Exchange:
    return cast(Exchange, request.scope[EXCHANGE])


def _json(value: Json, status: int = 200) -> Response:
    return Response(json_bytes(value), status, media_type=_JSON)


def _add_errors(app: FastAPI, service: Service) -> None:
    async def known(_: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if isinstance(error, BusyError) and service.draining:
            refusal = Refusal.of(503, str(error), "draining", kind="server_error", wait=error.retry_after)
        service.metrics.refusals.labels(refusal.reason).inc()
        return refusal.response()

    async def http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = "there is no such path here" if status == 404 else "this path takes another method"
        refusal = Refusal.of(status, text, "not_found" if status == 404 else "method_not_allowed")
        if isinstance(error, HTTPException):
            refusal.headers.update(error.headers or {})
        return refusal.response()

    app.add_exception_handler(ProofcomputeError, known)
    app.add_exception_handler(MemoryError, known)
    app.add_exception_handler(Refusal, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, known)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", responses=responses(MODELS))
    async def models() -> Response:
        """List the models."""
        return _json(models_object([service.describe(m) for m in service.models.values()]))

    @app.get("/v1/models/{name:path}", responses=responses(MODEL, 404))
    async def model(name: str) -> Response:
        """Describe a model, by its name or its model id."""
        return _json(service.describe(service.model(name)))


def _add_completions(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", responses=responses(CHAT_ANSWER, 404, 500), openapi_extra=CHAT)
    async def chat(request: Request) -> Response:
        """Answer a conversation, with receipts."""
        nonce = request.headers.get(NONCE_HEADER)
        return await complete(service, "chat", _exchange(request), await request.body(), nonce)

    @app.post("/v1/completions", responses=responses(TEXT_ANSWER, 404, 500), openapi_extra=COMPLETION)
    async def text(request: Request) -> Response:
        """Continue a text or token ids, with receipts."""
        nonce = request.headers.get(NONCE_HEADER)
        return await complete(service, "completions", _exchange(request), await request.body(), nonce)


def _add_embeddings(app: FastAPI, service: Service) -> None:
    @app.post("/v1/embeddings", responses=responses(VECTORS, 404, 500), openapi_extra=EMBEDDING)
    async def embeddings(request: Request) -> Response:
        """Return the embedding of each text, with a receipt for each."""
        nonce = request.headers.get(NONCE_HEADER)
        return await embed(service, _exchange(request), await request.body(), nonce)


def _add_proofs(app: FastAPI, service: Service) -> None:
    @app.get("/v1/proofs/terms", responses=responses(CBOR, 404))
    async def terms() -> Response:
        """Return the node's signed terms (application/cbor)."""
        return proofs.terms(service)

    @app.get("/v1/proofs/card/{model}", responses=responses(CBOR, 404))
    async def card(model: str) -> Response:
        """Return the card of a model (application/cbor), by its name or its model id."""
        return proofs.card(service, model)

    if service.kept:

        @app.get("/v1/proofs/kept/{digest}", responses=responses(FRAMES, 404))
        async def kept(digest: str) -> Response:
            """Return request and receipt of a call (application/cbor-seq) by the receipt's digest."""
            return await asyncio.to_thread(proofs.kept, service, digest)

    @app.get("/v1/proofs/{digest}", responses=responses(CBOR, 404))
    async def receipt(digest: str, request: Request) -> Response:
        """Return the receipt (application/cbor) for your request with this digest."""
        return proofs.receipt(service, _exchange(request).client, digest)

    @app.post(
        "/v1/proofs/open",
        responses=responses(FRAMES, 500),
        openapi_extra=CHALLENGE,
    )
    async def open_cells(request: Request) -> Response:
        """Open the cells that a challenge names (application/cbor-seq)."""
        return await proofs.open_cells(service, _exchange(request), await request.body())


def _add_health(app: FastAPI, service: Service) -> None:
    def code() -> int:
        return 200 if service.status == "ok" else 503

    @app.get("/health", responses=responses(HEALTH, errors=HEALTH))
    async def health() -> Response:
        """Say whether the node takes requests, and what each model's runner does."""
        models: dict[str, Any] = {
            m.name: {"model_id": m.model_id.hex(), "state": m.runner.state.value}
            for m in service.models.values()
        }
        return _json({"status": service.status, "node": service.public.hex(), "models": models}, code())

    @app.get("/healthz", responses=responses(PLAIN, errors=PLAIN))
    async def healthz() -> Response:
        """Say in one word whether the node takes requests."""
        return PlainTextResponse(service.status, code())

    @app.get("/metrics", responses=responses(PLAIN))
    async def metrics() -> Response:
        """Return numbers for Prometheus."""
        return Response(service.metrics.text(), media_type=Metrics.TYPE)
