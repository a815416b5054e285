"""Load generators measure a node: their loops read its streams to the end, and count its tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests

from benchmarks.serving.ours import watched
from benchmarks.serving.receipts import Receipts
from benchmarks.serving.servers import Server, completion, running
from benchmarks.serving.streams import Raw, read
from binding.setting import model
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import VerificationError
from serving.loops import Endpoint, Guidellm, Llmperf, Vllm, guidellm, llmperf, vllm

pytest.importorskip("proofcompute.serving", reason="the service is not installed")

PROMPT, TOKENS = "Say something.", 12
BOTH: tuple[Endpoint, ...] = ("chat/completions", "completions")


@pytest.fixture(scope="module")
def receipts() -> Iterator[Receipts]:
    found = Receipts(model().card)
    yield found
    found.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, receipts: Receipts) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("node")
    model().save(folder / "demo.pcm")
    identity = NodeIdentity.new()
    identity.save(folder / "node.key")
    receipts.node = identity.public
    with running(watched(folder / "demo.pcm", folder / "node.key", receipts)) as server:
        yield server


def whole(node: Server, endpoint: Endpoint, **body: Any) -> dict[str, Any]:
    """The answer of the same call, not streamed."""
    body = {"model": "demo", "ignore_eos": True, **body}
    answer = httpx.post(f"{node.url}/v1/{endpoint}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def text_of(answer: dict[str, Any]) -> str:
    (choice,) = answer["choices"]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def asked(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint == "completions":
        return {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    content = [{"type": "text", "text": PROMPT}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "temperature": 0}


# -- the node ------------------------------------------------------------------------------------------------
def test_llmperf(node: Server) -> None:
    sampling = {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    found = llmperf(node.url, "demo", PROMPT, sampling)
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": PROMPT}]
    answer = whole(node, "chat/completions", messages=messages, max_tokens=TOKENS, temperature=0)
    assert found.errors == []
    assert found.text == text_of(answer) != ""
    # each chunk counts as a token, so there are as few others as can be: one with the role, one with the end
    assert 1 <= found.tokens <= TOKENS + 2


def test_llmperf_sees_why_it_is_refused(node: Server) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        llmperf(node.url, "demo", PROMPT, {"max_tokens": TOKENS, "logprobs": True})
    assert refused.value.response is not None
    assert refused.value.response.status_code == 400
    error = refused.value.response.json()["error"]
    assert error["param"] == "logprobs"
    assert error["code"] == "unsupported_parameter"
    assert error["message"]


@pytest.mark.parametrize("endpoint", BOTH)
def test_guidellm(node: Server, endpoint: Endpoint) -> None:
    found = asyncio.run(guidellm(node.url, endpoint, PROMPT, TOKENS))
    assert found.done
    assert found.texts
    assert found.usage["completion_tokens"] == TOKENS
    assert found.usage["prompt_tokens"] == whole(node, endpoint, **asked(endpoint))["usage"]["prompt_tokens"]
    assert found.usages > 1  # it asks for the usage of each chunk
    assert found.response_id is not None
    assert found.response_id.startswith("cmpl-" if endpoint == "completions" else "chatcmpl-")


@pytest.mark.parametrize("endpoint", BOTH)
def test_vllm(node: Server, endpoint: Endpoint) -> None:
    found = asyncio.run(vllm(node.url, endpoint, "demo", PROMPT, TOKENS))
    assert found.done
    assert found.text
    assert 1 <= found.chunks <= TOKENS + 2
    assert found.tokens == TOKENS
    assert found.prompt_tokens == whole(node, endpoint, **asked(endpoint))["usage"]["prompt_tokens"]


def test_vllm_sends_token_ids(node: Server) -> None:
    found = asyncio.run(vllm(node.url, "completions", "demo", list(PROMPT.encode()), TOKENS))
    assert (found.tokens, found.prompt_tokens) == (TOKENS, len(PROMPT))


def test_our_own_load_generator(node: Server, receipts: Receipts) -> None:
    """It verifies what it is given; another answer's receipt, and another text, are not accepted."""
    first, second = (completion(node.kind, prompt, TOKENS) for prompt in (PROMPT, "Something else."))
    streams = [
        httpx.post(node.url + a.path, content=a.body, headers=a.headers).content for a in (first, second)
    ]
    mine, other = (
        Raw(a.body, a.nonce, 0.0, [(1.0, s)], 1.0) for a, s in zip((first, second), streams, strict=True)
    )
    before = receipts.count
    receipts(read(mine, TOKENS))
    assert receipts.count == before + 1
    for raw in (
        Raw(first.body, first.nonce, 0.0, other.pieces, 1.0),
        Raw(first.body, bytes(32), 0.0, mine.pieces, 1.0),
        Raw(second.body, first.nonce, 0.0, mine.pieces, 1.0),
        Raw(first.body, first.nonce, 0.0, [(1.0, streams[0].replace(b'"text":"', b'"text":"x', 1))], 1.0),
    ):
        with pytest.raises(VerificationError):
            receipts.proved(raw)
    assert receipts.count == before + 1


# -- however the network cuts it ---------------------------------------------------------------------------
@pytest.fixture(scope="module")
def stream(node: Server) -> bytes:
    body = {"model": "demo", "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
    answer = httpx.post(f"{node.url}/v1/chat/completions", json={**body, **asked("chat/completions")})
    assert answer.status_code == 200
    return answer.content


def read_by_vllm(*pieces: bytes) -> Vllm:
    loop = Vllm("chat/completions")
    for piece in pieces:
        loop.take(piece)
    return loop


def test_an_event_has_no_white_space_that_could_be_lost(stream: bytes) -> None:
    r"""vLLM strips white space where the network cuts a stream; only texts and ends of events have some."""
    for event in stream.split(b"\n\n"):
        data = event.removeprefix(b"data: ")
        if data.startswith(b"{"):
            assert json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":")).encode() == data
    assert b"\r" not in stream


def test_the_chunk_with_the_receipt_may_be_cut_anywhere(stream: bytes) -> None:
    """It is the only one that is long enough to be cut by the network."""
    whole_ = read_by_vllm(stream)
    (start,) = (stream.index(e) for e in stream.split(b"\n\n") if b'"proofcompute"' in e)
    end = stream.index(b"\n\n", start)
    after = start + len(b"data: ")
    for cut in range(after + 1, end, 7):
        found = read_by_vllm(stream[:cut], stream[cut:])
        assert (found.text, found.chunks, found.tokens, found.done) == (
            whole_.text,
            whole_.chunks,
            TOKENS,
            True,
        )


# -- what breaks the loops, which the node therefore does not send -------------------------------------------
CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def line(chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode()


@pytest.mark.parametrize(
    "sent",
    [b": ping", b"event: receipt", line({"choices": []}), line(USAGE), line({"choices": [{"text": "a"}]})],
)
def test_what_ends_llmperf(sent: bytes) -> None:
    loop = Llmperf()
    loop.take(line(CHUNK))
    with pytest.raises((ValueError, IndexError, KeyError)):
        loop.take(sent)


def test_llmperf_counts_every_chunk() -> None:
    loop = Llmperf()
    for sent in (line(CHUNK), b"", line({"choices": [{"delta": {}}]}), b"data: [DONE]"):
        loop.take(sent)
    assert (loop.tokens, loop.text) == (2, "a")


@pytest.mark.parametrize("delta", [None, {"tool_calls": None}])
def test_what_ends_guidellm(delta: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        Guidellm("chat/completions").take(line({"choices": [{"delta": delta}]}).decode())


def test_guidellm_does_not_know_other_ends() -> None:
    loop = Guidellm("chat/completions")
    with pytest.raises(ValueError, match="Expecting value"):
        loop.take("data:[DONE]")


@pytest.mark.parametrize(
    ("pieces", "lost"),
    [
        ([line(CHUNK) + b"\r\n\r\n" + line(USAGE) + b"\r\n\r\n"], lambda loop: not loop.chunks),
        ([line({**CHUNK, "usage": USAGE["usage"]}) + b"\n\n"], lambda loop: loop.tokens is None),
    ],
)
def test_what_vllm_does_not_see(pieces: list[bytes], lost: Callable[[Vllm], bool]) -> None:
    assert lost(read_by_vllm(*pieces))
    assert not lost(read_by_vllm(line(CHUNK) + b"\n\n" + line(USAGE) + b"\n\n"))


@pytest.mark.parametrize("other", [b": ping\n\n", b"event: receipt\n"])
def test_other_lines_hide_a_chunk_from_vllm(other: bytes) -> None:
    """It strips what the network delivers, so that the line after such a line is no line of its own."""
    chunk = line(CHUNK) + b"\n\n"
    assert read_by_vllm(chunk, chunk).text == "aa"
    assert read_by_vllm(chunk, other, chunk).text == "a"
