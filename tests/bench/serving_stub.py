"""A server with OpenAI's interface that generates nothing, for tests of what loads it.

`python serving_stub.py PORT` runs it. The field ``stub`` of a body says how it behaves; `/stats` says what it
saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web


class Stub:
    """Answers with as many words as tokens were asked for, and counts."""

    def __init__(self) -> None:
        self.stats: dict[str, Any] = {"prompts": [], "live": 0, "most": 0, "hung_up": 0, "nonces": []}
        self._together = asyncio.Condition()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        behaviour: dict[str, Any] = body.get("stub", {})
        self.stats["prompts"].append(body["prompt"])
        self.stats["nonces"].append(request.headers.get("Proofcompute-Nonce", ""))
        self.stats["live"] += 1
        self.stats["most"] = max(self.stats["most"], self.stats["live"])
        try:
            return await self._answer(request, body, behaviour)
        except ConnectionError:
            self.stats["hung_up"] += 1
            raise
        finally:
            self.stats["live"] -= 1

    async def _answer(
        self, request: web.Request, body: dict[str, Any], behaviour: dict[str, Any]
    ) -> web.StreamResponse:
        if "together" in behaviour:  # nobody is answered before so many wait
            async with self._together:
                self._together.notify_all()
                await self._together.wait_for(lambda: self.stats["live"] >= behaviour["together"])
        if "status" in behaviour:
            return web.Response(status=behaviour["status"], text="refused")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = behaviour.get("words", body["max_tokens"])
        for i in range(words):
            await response.write(_event({"choices": [{"index": 0, "text": f" w{i}", "finish_reason": None}]}))
            await asyncio.sleep(behaviour.get("pause", 0))
            if i == behaviour.get("drop"):
                assert request.transport is not None
                request.transport.abort()
            if i == behaviour.get("error"):
                await response.write(_event({"error": {"message": "out of memory", "code": 500}}))
        finish = behaviour.get("finish", "length")
        await response.write(_event({"choices": [{"index": 0, "text": "", "finish_reason": finish}]}))
        usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": words}
        await response.write(_event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def say_stats(self, _: web.Request) -> web.Response:
        return web.json_response(self.stats)

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "demo"}]})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def main(port: int) -> None:
    stub, app = Stub(), web.Application()
    app.router.add_post("/v1/completions", stub.complete)
    app.router.add_get("/v1/models", stub.models)
    app.router.add_get("/stats", stub.say_stats)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
