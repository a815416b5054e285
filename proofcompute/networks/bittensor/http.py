"""Sign what httpx sends, and let only known hotkeys reach an application's paths."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Generator, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proofcompute.errors.extras import lacking
from proofcompute.limits import MIB
from proofcompute.networks.bittensor.auth import PREFIX, Nonces, Refused, authenticate, signed_headers

if TYPE_CHECKING:
    import httpx

__all__ = ["Guard", "signing"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

GUARDED: Final = ("/v1/proofs/",)
"""The paths of a node that are guarded unless told otherwise: what auditors ask for."""
MAX_BODY: Final = 16 * MIB
"""The most bytes of a body that is read before its sender is known."""
CALLER: Final = "proofcompute.bittensor.caller"
"""Key of the sender's address in a request's scope."""


def signing(keypair: Any, receiver: str) -> httpx.Auth:
    """Return what signs each request of an httpx client, with a nonce of its own: its parameter ``auth``.

    Args:
        keypair: the sender's hotkey: ``bittensor_core.Keypair``.
        receiver: the address of the hotkey that requests are for.

    Raises UnsupportedError if httpx is missing.
    """
    try:
        import httpx
    except ModuleNotFoundError as e:
        raise lacking(e, "signing what httpx sends") from e

    class Signing(httpx.Auth):
        requires_request_body = True

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers.update(
                signed_headers(
                    keypair,
                    method=request.method,
                    target=request.url.raw_path.decode("ascii"),
                    body=request.content,
                    receiver=receiver,
                )
            )
            yield request

    return Signing()


@dataclass
class Guard:
    """An ASGI application before another one: it refuses what no known hotkey signed for this one.

    The body is read first, up to a limit, because it is signed. Requests to other paths pass as they are.
    """

    app: Application
    me: str
    """The address of the hotkey that requests must be for."""
    allowed: Callable[[str], bool] | Collection[str]
    """Whose requests pass: addresses, or what says so of an address, such as a look at the metagraph."""
    paths: tuple[str, ...] = GUARDED
    """Beginnings of the paths that are guarded; '/' for all of them."""
    nonces: Nonces = field(default_factory=Nonces)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket" and scope["path"].startswith(self.paths):
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http" or not scope["path"].startswith(self.paths):
            await self.app(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = _headers(scope)
            body = await _body(receive)
            caller = authenticate(
                headers, body, method=scope["method"], target=_target(scope), me=self.me, nonces=self.nonces
            )
        except Refused as e:
            await _refuse(send, 503 if e.reason == "full" else 401, str(e))
            return
        if not (self.allowed(caller.hotkey) if callable(self.allowed) else caller.hotkey in self.allowed):
            await _refuse(send, 403, "this hotkey may not ask here")
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app({**scope, CALLER: caller.hotkey}, again, send)


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        text = bytes(name).decode("latin-1").lower()
        if text.startswith(PREFIX):
            if text in found:
                raise Refused("malformed", "a header of the signature comes twice")
            found[text] = bytes(value).decode("latin-1")
    return found


def _target(scope: Scope) -> str:
    if scope.get("raw_path") is None:
        raise Refused("malformed", "the server does not say what was asked for, byte for byte")
    path, query = bytes(scope["raw_path"]), bytes(scope["query_string"])
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


async def _body(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused("malformed", "the sender left")
        part = bytes(message.get("body", b""))
        parts.append(part)
        size, more = size + len(part), bool(message.get("more_body", False))
        if size > MAX_BODY:
            raise Refused("malformed", f"the body has more than {MAX_BODY} bytes")
    return b"".join(parts)


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": {"message": text, "type": "authentication_error", "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
