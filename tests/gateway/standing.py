"""A gateway in front of nodes without a network: what it is asked, and what its clients get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx2

from client.standin import KERNELS, MESSAGES, NAME, NODE, OTHER, Service, model
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.gateway import Gateway, ModelsFile, NodesFile, Patience, application
from proofcompute.gateway.federation import ModelEntry, NodeEntry
from proofcompute.protocol.messages import Terms

THIRD = NodeIdentity(bytes(range(2, 34)))
SERVICES: dict[str, Service] = {}
"""The nodes of the newest gateway by name, for challenges."""
IDENTITIES = {"north": NODE, "south": OTHER, "east": THIRD}
MORE = {name: NodeIdentity(bytes(range(3 + i, 35 + i))) for i, name in enumerate(("lazy", "slow", "silent"))}
CHAT: dict[str, Any] = {"model": NAME, "messages": MESSAGES, "max_tokens": 6, "temperature": 0}
STREAM = {**CHAT, "stream": True}
PATH = "/v1/chat/completions"


def honest(name: str, **options: Any) -> Service:
    """An honest node with the key of that name."""
    identity = {**IDENTITIES, **MORE}[name]
    terms = Terms.of(identity, base=30, rate=1000, retention=3600)
    return Service(identity=identity, **{"terms": terms, **options})


def entry(name: str, **more: Any) -> NodeEntry:
    return NodeEntry(
        name=name,
        url=f"http://{name}.example/v1",
        key={**IDENTITIES, **MORE}[name].public.hex(),
        models=(NAME,),
        **more,
    )


def the_model(**more: Any) -> ModelEntry:
    return ModelEntry(name=NAME, model_id=model().model_id.hex(), **more)


def gateway(
    nodes: Mapping[str, Any],
    *,
    models: ModelsFile | None = None,
    entries: Mapping[str, dict[str, Any]] | None = None,
    first: str | None = None,
    **options: Any,
) -> Gateway:
    """A gateway before nodes: services, or transports of httpx2. The node ``first`` is asked first."""
    SERVICES.clear()
    SERVICES.update((name, node) for name, node in nodes.items() if isinstance(node, Service))
    SERVICES.update(
        (name, node.node) for name, node in nodes.items() if hasattr(node, "node") and name not in SERVICES
    )

    def inner(url: str) -> Any:
        node = nodes[url.removeprefix("http://").partition(".")[0]]
        return node.transport(httpx2) if isinstance(node, Service) else node

    made = Gateway(
        NodesFile(version=1, nodes=tuple(entry(n, **(entries or {}).get(n, {})) for n in nodes)),
        models or ModelsFile(version=1, models=(the_model(),)),
        inner=inner,
        kernels=KERNELS,
        **{"patience": Patience(first=30, idle=30, whole=60), **options},
    )
    if first is not None:
        usual = made.fleet.order
        made.fleet.order = lambda model: sorted(usual(model), key=lambda m: m.name != first)  # type: ignore[method-assign]
    return made


class Said(NamedTuple):
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The objects of a stream's events, without its end mark."""
        parts = self.body.decode().split("\n\n")
        assert parts.pop() == ""
        assert parts[-1] == "data: [DONE]"
        return [json.loads(part.removeprefix("data: ")) for part in parts[:-1]]

    @property
    def text(self) -> str:
        """The text of choice 0 of a stream."""
        return "".join(
            choice["delta"].get("content") or ""
            for event in self.events
            for choice in event.get("choices", ())
            if choice["index"] == 0
        )


Ask = Callable[..., Coroutine[Any, Any, Said]]


@asynccontextmanager
async def standing(made: Gateway) -> AsyncIterator[Ask]:
    """Yield what asks a gateway that stands; its answer holds when all audits are done."""
    app = application(made)
    await made.start()
    try:
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://gateway"
        ) as client:

            async def ask(body: Any = CHAT, path: str = PATH, **headers: str) -> Said:
                named = {k.replace("_", "-"): v for k, v in headers.items()}
                if body is None:
                    found = await client.get(path, headers=named)
                else:
                    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
                    found = await client.post(path, headers=named, **sent)
                await settled(made)
                return Said(found.status_code, found.headers, found.content)

            yield ask
    finally:
        await made.close()


async def settled(made: Gateway) -> None:
    """Wait until what was drawn is audited, and the loop knows it."""
    await asyncio.to_thread(made.auditing.settle)
    for _ in range(4):
        await asyncio.sleep(0)


def asked(made: Gateway, *bodies: Any, path: str = PATH, **headers: str) -> list[Said]:
    """Ask a gateway several questions, one after the other."""

    async def ask_all() -> list[Said]:
        async with standing(made) as ask:
            return [await ask(body, path, **headers) for body in bodies]

    return asyncio.run(ask_all())
