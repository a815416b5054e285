"""What three load generators do with a streamed answer, written anew from their sources.

They are large to install, and a node must survive their loops: what they read, how they count tokens, what
breaks them. Each class holds a loop without its network library; a function beside it sends what the load
generator sends, with the library that it uses.

- llmperf, src/llmperf/ray_clients/openai_chat_completions_client.py of github.com/ray-project/llmperf
  (commit 0451d33), with requests;
- guidellm, src/guidellm/backends/openai/http.py and request_handlers.py of github.com/vllm-project/guidellm
  (commits 03358ed and 003104d), with httpx;
- `vllm bench serve`, vllm/benchmarks/lib/endpoint_request_func.py of github.com/vllm-project/vllm (commit
  02cfb53), with aiohttp.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import httpx
import requests

Endpoint = Literal["chat/completions", "completions"]


@dataclass
class Llmperf:
    """Takes lines. Every line that is not empty loses its first six bytes, whatever they are.

    Each line besides the one of ``[DONE]`` counts as a token and must be JSON with a first choice that has a
    ``delta``. So a comment, an ``event:`` line, or a chunk without choices ends the request with an error. It
    reads on after ``[DONE]``.
    """

    tokens: int = 0
    text: str = ""
    errors: list[str] = field(default_factory=list)

    def take(self, line: bytes) -> None:
        data = line.strip()[len("data: ") :]
        if not line.strip() or data == b"[DONE]":
            return
        self.tokens += 1
        chunk = json.loads(data)
        if "error" in chunk:
            self.errors.append(f"{chunk['error']['code']}: {chunk['error']['message']}")
            return
        self.text += chunk["choices"][0]["delta"].get("content") or ""


def llmperf(base: str, model: str, prompt: str, sampling: dict[str, Any], key: str = "any") -> Llmperf:
    """Send a conversation with an empty system message."""
    loop = Llmperf()
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": prompt}]
    with requests.post(
        f"{base}/v1/chat/completions",
        json={"model": model, "messages": messages, "stream": True, **sampling},
        headers={"Authorization": f"Bearer {key}"},
        stream=True,
        timeout=180,
    ) as response:
        if response.status_code != 200:
            assert response.text  # it keeps what the server says
            response.raise_for_status()
        for line in response.iter_lines(chunk_size=None):  # type: ignore[call-overload]
            loop.take(line)
    return loop


@dataclass
class Guidellm:
    """Takes lines. Lines that do not begin with ``data:`` are left out, and it hangs up at ``[DONE]``.

    A chunk may have no choices. A first choice may have no ``delta``, but not null; nor may ``tool_calls`` of
    a delta be null. Tokens are those of the last usage that is not empty; the speed is that of chunks with
    text.
    """

    endpoint: Endpoint
    texts: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    usages: int = 0
    response_id: str | None = None
    done: bool = False

    def take(self, line: str) -> None:
        if line == "data: [DONE]":
            self.done = True
            return
        if not (line := line.strip()).startswith("data:"):
            return
        chunk = json.loads(line[len("data:") :].strip())
        self.response_id = self.response_id or chunk.get("id")
        if choices := chunk.get("choices", []):
            text = choices[0].get("text")
            if self.endpoint == "chat/completions":
                delta = choices[0].get("delta", {})
                text = delta.get("content")
                for call in delta.get("tool_calls", []):
                    raise AssertionError(f"a tool was called: {call}")
            if text:
                self.texts.append(text)
        if usage := chunk.get("usage", {}):
            self.usage, self.usages = usage, self.usages + 1


async def guidellm(base: str, endpoint: Endpoint, prompt: str, tokens: int) -> Guidellm:
    """Ask for health and the first model, then send a prompt for a fixed number of tokens."""
    async with httpx.AsyncClient(follow_redirects=True, verify=False) as client:  # noqa: S501 - as it does
        (await client.get(f"{base}/health")).raise_for_status()
        models = (await client.get(f"{base}/v1/models")).raise_for_status().json()["data"]
        body: dict[str, Any] = {
            "model": models[0]["id"],
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "ignore_eos": True,
            "stop": None,  # later versions leave it out
        }
        if endpoint == "completions":
            body |= {"prompt": prompt, "max_tokens": tokens}
        else:
            content = [{"type": "text", "text": prompt}]
            body |= {"messages": [{"role": "user", "content": content}], "max_completion_tokens": tokens}
        loop = Guidellm(endpoint)
        async with client.stream("POST", f"{base}/v1/{endpoint}", json=body, timeout=180) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                loop.take(line)
                if loop.done:
                    break
    return loop


@dataclass
class Vllm:
    r"""Takes pieces of the body as the network delivers them, and strips white space from both their ends.

    Events end with ``\n\n``; ``\r\n`` is not known. What is left over is an event as well, as soon as it is
    JSON. A comment is left out, but one that the network delivers on its own loses its end, and the chunk
    after it with that. Each chunk with choices counts for the latencies, the first of them as the
    first token, and must have a ``delta`` in a conversation. The usage is read of chunks *without* choices
    only, and its tokens are the number of tokens; without them, it tokenises the text itself.
    """

    endpoint: Endpoint
    buffer: str = ""
    text: str = ""
    chunks: int = 0
    tokens: int | None = None
    prompt_tokens: int | None = None
    done: bool = False

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def take(self, piece: bytes) -> None:
        self.buffer += self._decoder.decode(piece.strip())
        *events, self.buffer = self.buffer.split("\n\n")
        if self.buffer.startswith("data: ") and _whole(self.buffer.removeprefix("data: ").strip()):
            events.append(self.buffer)
            self.buffer = ""
        for event in events:
            if (event := event.strip()) and not event.startswith(":"):
                self._event(event.removeprefix("data: "))

    def _event(self, data: str) -> None:
        if data == "[DONE]":
            self.done = True
            return
        chunk = json.loads(data)
        if choices := chunk.get("choices"):
            chat = self.endpoint == "chat/completions"
            self.text += (choices[0]["delta"].get("content") if chat else choices[0].get("text")) or ""
            self.chunks += 1
        elif usage := chunk.get("usage"):
            self.tokens, self.prompt_tokens = usage.get("completion_tokens"), usage.get("prompt_tokens")


def _whole(data: str) -> bool:
    """Whether this is JSON, or the end."""
    try:
        json.loads(data)
    except ValueError:
        return data == "[DONE]"
    return True


async def vllm(base: str, endpoint: Endpoint, model: str, prompt: str | list[int], tokens: int) -> Vllm:
    """Send a prompt for a fixed number of tokens."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    if endpoint == "completions":
        body |= {"prompt": prompt, "repetition_penalty": 1.0, "max_tokens": tokens, "logprobs": None}
    else:
        content = [{"type": "text", "text": prompt}]
        body |= {"messages": [{"role": "user", "content": content}], "max_completion_tokens": tokens}
    loop = Vllm(endpoint)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base}/v1/{endpoint}", json=body) as response,
    ):
        assert response.status == 200, await response.text()
        async for piece in response.content.iter_any():
            loop.take(piece)
    return loop
