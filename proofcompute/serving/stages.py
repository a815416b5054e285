"""Serve one stage of a pipeline over HTTP (docs/spec/pipelines.md#calls).

Calls are done on one thread, since a stage's backend is for one thread (:mod:`.stage_work`). The service is
meant for networks of nodes that know each other, or for a place behind a proxy: it asks for one token at
most.
"""

from __future__ import annotations

import asyncio
import hmac
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, final

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from proofcompute.arrays import Array
from proofcompute.errors import (
    BusyError,
    ExecutionError,
    InputError,
    ProofcomputeError,
    VerificationError,
)
from proofcompute.limits import MAX_REQUEST, MIB
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Request
from proofcompute.protocol.stage_calls import (
    AgainCall,
    FinishCall,
    GiveCall,
    RowsCall,
    SignCall,
    StepCall,
    StepResult,
    decode_handle,
    encode_handle,
    encode_roots,
    encode_rows,
)
from proofcompute.protocol.statement import rows_from_bytes
from proofcompute.prover.stages import HandedError, NotKeptError, StageNode
from proofcompute.serving.pipe import Pipe
from proofcompute.serving.proofs import CBOR, CBOR_SEQUENCE
from proofcompute.serving.server import bare_server, listening
from proofcompute.serving.stage_work import StageWork

__all__ = ["serve_stage", "stage_application"]

BODY: Final = 64 * MIB
"""Most bytes of a body by default."""
WAITING: Final = 32
"""Most calls at a time, those whose bodies are being read among them."""
BODY_SECONDS: Final = 60.0
"""Seconds for which a body may be read."""
OPENING_SECONDS: Final = 600.0
"""Seconds that an opening may take."""
WRITE_SECONDS: Final = 60.0
"""Seconds for which a part of an opening may stay unread."""
_STATUS: Final[tuple[tuple[type[ProofcomputeError], int], ...]] = (
    (HandedError, 409),
    (NotKeptError, 428),
    (VerificationError, 422),
    (BusyError, 503),
    (InputError, 400),
    (ExecutionError, 500),
)


@final
class _Stage:
    """The calls of one stage."""

    def __init__(self, node: StageNode, token: str | None, body: int) -> None:
        self._node, self._token, self._body = node, token, body
        self._work = StageWork(node)
        self._calls = 0

    async def read(self, http: HttpRequest, most: int | None = None) -> bytes:
        """Return a body. Raises InputError if it is too large or takes too long."""
        limit, parts, size = self._body if most is None else min(most, self._body), list[bytes](), 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in http.stream():
                    size += len(part)
                    if size > limit:
                        raise InputError(f"a body of more than {limit} bytes")
                    parts.append(part)
        except TimeoutError as e:
            raise InputError(f"a body that takes more than {BODY_SECONDS:.0f} s") from e
        return b"".join(parts)

    def guarded(
        self, call: Callable[[HttpRequest], Awaitable[Response]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        """Return an endpoint that asks for the token, bounds the calls and turns errors into responses."""

        async def endpoint(http: HttpRequest) -> Response:
            given = http.headers.get("authorization", "").encode()
            if self._token is not None and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                return JSONResponse(
                    {"error": {"type": "unauthorized", "message": "a token is asked for"}}, 401
                )
            if self._calls >= WAITING:  # before a byte of the body is read
                return _refusal(BusyError(f"{WAITING} calls wait", 1.0))
            self._calls += 1
            try:
                return await call(http)
            except ProofcomputeError as e:
                return _refusal(e)
            except MemoryError:
                return _refusal(BusyError("there is too little memory for this now", 1.0))
            finally:
                self._calls -= 1

        return endpoint

    # -- calls ---------------------------------------------------------------------------------------------
    async def about(self, http: HttpRequest) -> Response:
        """Return the pipeline, and the number of the stage in a header."""
        headers = {"Proofcompute-Stage": str(self._node.stage)}
        return Response(self._node.pipeline.encode(), media_type=CBOR, headers=headers)

    async def begin(self, http: HttpRequest) -> Response:
        """Begin a request."""
        data = await self.read(http, MAX_REQUEST)

        def job() -> Response:
            self._node.begin(Request.decode(data))
            return Response(status_code=204)

        return await self._work.do(job)

    async def step(self, http: HttpRequest) -> Response:
        """Compute rows."""
        found = await self._work.step(await asyncio.to_thread(StepCall.decode, await self.read(http)))
        emitted = {name: _bytes(rows) for name, rows in found.emitted.items()}
        result = StepResult(found.boundary, found.handed, emitted)
        return Response(await asyncio.to_thread(result.encode), media_type=CBOR)

    async def finish(self, http: HttpRequest) -> Response:
        """Take the whole answer, and return the roots of what the stage wrote."""
        data = await self.read(http)

        def job() -> Response:
            call = FinishCall.decode(data)
            program = self._node.model.program
            outputs: Mapping[str, Array] = {
                name: rows_from_bytes(program.specs[name], part, f"output {name}")
                for name, part in call.outputs.items()
                if name in program.outputs
            }
            return Response(encode_roots(self._node.finish(call.digest, outputs)), media_type=CBOR)

        return await self._work.do(job)

    async def sign(self, http: HttpRequest) -> Response:
        """Sign the receipt."""
        data = await self.read(http)

        def job() -> Response:
            call = SignCall.decode(data)
            return Response(self._node.sign(call.digest, call.roots), media_type=CBOR)

        return await self._work.do(job)

    async def again(self, http: HttpRequest) -> Response:
        """Begin to bring a trace back, and return its handle."""
        data = await self.read(http)

        def job() -> Response:
            call = AgainCall.decode(data)
            handle = self._node.again(Request.decode(call.request), call.receipt, call.roots)
            return Response(encode_handle(handle), media_type=CBOR)

        return await self._work.do(job)

    async def give(self, http: HttpRequest) -> Response:
        """Take rows for a trace that is brought back."""
        data = await self.read(http)

        def job() -> Response:
            call = GiveCall.decode(data)
            self._node.give(call.handle, call.end, call.rows)
            return Response(status_code=204)

        return await self._work.do(job)

    async def keep(self, http: HttpRequest) -> Response:
        """Compute a trace again, in turn with the calls of others, until it is there."""
        handle = decode_handle(await self.read(http))
        while not await self._work.do(lambda: self._node.keep(handle)):
            pass
        return Response(status_code=204)

    async def rows(self, http: HttpRequest) -> Response:
        """Return rows that were handed on."""
        data = await self.read(http)

        def job() -> Response:
            call = RowsCall.decode(data)
            found = self._node.rows(Request.decode(call.request), call.receipt, call.a, call.b)
            return Response(encode_rows(found), media_type=CBOR)

        return await self._work.do(job)

    async def open(self, http: HttpRequest) -> Response:
        """Open cells; the body has three frames: request, receipt and challenge."""
        call = OpenCall.decode(await self.read(http))
        pipe = Pipe(asyncio.get_running_loop(), WRITE_SECONDS, OPENING_SECONDS)

        def job() -> Response:
            try:
                self._node.open(call.request, call.receipt, call.challenge, pipe)  # type: ignore[arg-type]
            finally:
                pipe.end()
            return Response()

        running: asyncio.Future[Response] = asyncio.ensure_future(self._work.do(job))
        parts = pipe.read_parts()
        first = await anext(parts, b"")
        if not first:
            await running  # raises what prevented the opening
        return StreamingResponse(_opening(pipe, running, first, parts), media_type=CBOR_SEQUENCE)


async def _opening(
    pipe: Pipe, running: asyncio.Future[Response], first: bytes, rest: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield an opening. One that breaks off lacks its last frame, so that none takes it for whole."""
    try:
        yield first
        async for part in rest:
            yield part
        await running
    finally:
        pipe.leave()


def _bytes(rows: Array) -> bytes:
    return np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes()


def _refusal(error: ProofcomputeError) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    shown = {"boundary": error.boundary.hex()} if isinstance(error, HandedError) else {}
    return JSONResponse({"error": {"type": type(error).__name__, "message": str(error), **shown}}, status)


def stage_application(node: StageNode, *, token: str | None = None, body: int = BODY) -> Starlette:
    """Return the application that serves a stage.

    Args:
        node: the stage.
        token: what callers must send as a bearer token; None: nothing.
        body: most bytes of a body.
    """
    stage = _Stage(node, token, body)
    calls = (
        stage.begin,
        stage.step,
        stage.finish,
        stage.sign,
        stage.open,
        stage.again,
        stage.give,
        stage.keep,
        stage.rows,
    )
    routes = [
        Route("/v1/stage", stage.guarded(stage.about), methods=["GET"]),
        *(Route(f"/v1/stage/{call.__name__}", stage.guarded(call), methods=["POST"]) for call in calls),
    ]
    return Starlette(routes=routes)


def serve_stage(
    node: StageNode, host: str, port: int, started: Callable[[], None], *, token: str | None = None
) -> None:
    """Serve a stage until SIGTERM or SIGINT. ``started`` is called once the server listens."""
    asyncio.run(_serve(node, host, port, started, token))


async def _serve(
    node: StageNode, host: str, port: int, started: Callable[[], None], token: str | None
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = bare_server(stage_application(node, token=token), host, port)
    serving = asyncio.ensure_future(server.serve())
    try:
        await listening(host, port)
        started()
        await stop.wait()
    finally:
        server.stop()  # type: ignore[no-untyped-call]
        await serving
