"""The service: OpenAI's own client unchanged, receipts that hold, limits, cancellation and draining."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import proofcompute as pc
from proofcompute.engine import Keep
from proofcompute.errors import DeviceError, InputError
from proofcompute.openai import OpenCall, ProofField, StreamCheck, call_of, check_completion, read_json
from proofcompute.protocol.messages import Receipt
from proofcompute.prover.admission import RunnerLimits
from proofcompute.serving import ApiKeys, Service, ServiceLimits, Settings, application, proofs, rate, server
from proofcompute.serving.clients import Client, Clients, Nonces, address_of, addresses_of
from proofcompute.serving.pipe import Pipe
from proofcompute.serving.rate import measured_rate, stated
from proofcompute.serving.refusals import Refusal
from serving.running import SOON, TERMS, Running, chat_model, running
from synthetic import KERNELS, NODE

HELLO: Any = [{"role": "user", "content": "hello"}]


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not found():
        assert time.monotonic() < end
        time.sleep(0.005)


def body(tokens: int = 6, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": HELLO, "max_tokens": tokens, "ignore_eos": True, **more}


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running(models={"tiny": chat_model(), "other": chat_model(1)}) as made:
        yield made


@pytest.fixture(scope="module")
def http(node: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node.url, timeout=SOON) as made:
        yield made


@pytest.fixture(scope="module")
def auditor() -> pc.Auditor:
    return pc.Auditor(pc.keygen(chat_model(), KERNELS, columns=2))


def requests_of(sent: dict[str, Any], proof: ProofField) -> tuple[pc.Request, ...]:
    """The requests that a client derives from its own body."""
    endpoint: Any = "chat" if "messages" in sent else "completions"
    call = call_of(read_json(json.dumps(sent).encode(), 1 << 20), endpoint=endpoint)
    with pc.Prompter(chat_model()) as prompter:
        return call.requests(prompter, nonce=proof.nonce, date=proof.date, node=proof.node)


# -- OpenAI's client -----------------------------------------------------------------------------------------
def test_openai_whole_and_as_a_stream(node: Running) -> None:
    with openai.OpenAI(base_url=node.url + "/v1", api_key="none", max_retries=0) as client:
        assert [m.id for m in client.models.list()] == ["tiny", "other"]
        assert client.models.retrieve("other").id == "other"
        ask: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 8, "temperature": 0, "seed": 3}
        whole = client.chat.completions.create(**ask)
        chunks = list(
            client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == whole.choices[0].message.content
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
        assert chunks[-1].usage == whole.usage
        finishing = [c for c in chunks if c.choices and c.choices[0].finish_reason]
        assert [bool((c.model_extra or {}).get("proofcompute")) for c in chunks].count(True) == 1
        assert (finishing[0].model_extra or {})["proofcompute"]["nonce_by"] == "node"
        said = client.completions.create(model="other", prompt=[1, 2, 3], max_tokens=4, n=2)
        assert len(said.choices) == 2
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**ask, logprobs=True)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "logprobs")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**{**ask, "model": "none"})


def test_openai_in_an_event_loop(node: Running) -> None:
    async def ask() -> tuple[str, str | None]:
        async with openai.AsyncOpenAI(base_url=node.url + "/v1", api_key="none") as client:
            more: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 8, "seed": 3}
            whole, stream = await asyncio.gather(
                client.chat.completions.create(**more), client.chat.completions.create(**more, stream=True)
            )
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            return text, whole.choices[0].message.content

    # the seed is the same, so the draws are, whatever the nonces
    text, whole = asyncio.run(ask())
    assert text == whole


# -- receipts ------------------------------------------------------------------------------------------------
def test_a_response_is_bound_to_its_receipts(http: httpx.Client, auditor: pc.Auditor) -> None:
    nonce = hashlib.sha256(b"whole").digest()
    sent = body(10, n=3, stop=["never there"])
    found = http.post("/v1/chat/completions", json=sent, headers={"Proofcompute-Nonce": nonce.hex()})
    assert found.status_code == 200, found.text
    said = found.json()["proofcompute"]
    receipts = [base64.b64decode(r) for r in said["receipts"]]
    assert (said["nonce"], said["nonce_by"], said["open"]) == (nonce.hex(), "client", "/v1/proofs/open")
    assert said["date"] == datetime.now(UTC).date().isoformat()
    call = call_of(read_json(json.dumps(sent).encode(), 1 << 20), endpoint="chat")
    with pc.Prompter(chat_model()) as prompter:
        requests = call.requests(prompter, nonce=nonce, date=datetime.now(UTC).date(), node=NODE.public)
    assert found.json()["id"] == "chatcmpl-" + requests[0].digest.hex()
    assert found.headers["X-Receipt-Id"] == Receipt.decode(receipts[0]).digest.hex()
    assert base64.b64decode(found.headers["Proofcompute-Receipt"]) == receipts[0]
    for request, receipt in zip(requests, receipts, strict=True):
        claim = pc.check_receipt(chat_model(), request, receipt, node=NODE.public, terms=TERMS)
        assert claim.receipt.terms_digest == TERMS.digest
        fetched = http.get(f"/v1/proofs/{request.digest.hex()}")
        assert (fetched.content, fetched.headers["content-type"]) == (receipt, "application/cbor")
    assert callable(check_completion)


def test_a_stream_is_bound_to_its_receipts(http: httpx.Client, auditor: pc.Auditor) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    sent = body(12, n=2, stream=True, stream_options=options, temperature=1.5)
    call = call_of(read_json(json.dumps(sent).encode(), 1 << 20), endpoint="chat")
    check, proofs = StreamCheck(call), []
    with http.stream("POST", "/v1/chat/completions", json=sent) as found:
        assert found.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in found.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.pop() == "data: [DONE]"
    for line in lines:
        if (proof := check.push(json.loads(line[6:]))) is not None:
            proofs.append(proof)
    assert sorted(p.choice for p in proofs) == [0, 1]
    check.close()
    requests = requests_of(sent, proofs[0])
    for proof in proofs:
        pc.check_receipt(chat_model(), requests[proof.choice], proof.receipt, node=NODE.public)


def test_stop_strings_are_cut_from_the_text(http: httpx.Client) -> None:
    sent = {"model": "tiny", "prompt": "abc", "max_tokens": 24, "seed": 5, "ignore_eos": True}
    text = http.post("/v1/completions", json=sent).json()["choices"][0]["text"]
    at = next(i for i in range(4, len(text)) if text[i].isascii() and text[i] not in text[:i])
    stopped = http.post("/v1/completions", json={**sent, "stop": text[at]}).json()["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == (text[:at], "stop")
    with http.stream("POST", "/v1/completions", json={**sent, "stop": text[at], "stream": True}) as found:
        chunks = [json.loads(x[6:]) for x in found.iter_lines() if x and x != "data: [DONE]"]
    assert "".join(c["choices"][0]["text"] for c in chunks) == text[:at]


def test_openings_from_request_receipt_and_challenge_alone(
    node: Running, http: httpx.Client, auditor: pc.Auditor
) -> None:
    sent = body(8)
    proof = ProofField.decode(http.post("/v1/chat/completions", json=sent).json()["proofcompute"])
    (request,) = requests_of(sent, proof)

    def framed(receipt: bytes, challenge: pc.Challenge, asked: pc.Request = request) -> bytes:
        return OpenCall(asked, receipt, challenge).encode()

    challenge = auditor.challenge(request, proof.receipt, cells=6)
    for forget in (False, True):
        if forget:
            challenge = auditor.challenge(request, proof.receipt, cells=6)
            node.service.models["tiny"].runner.opener.traces._kept.clear()
        opened = http.post(proof.open, content=framed(proof.receipt, challenge))
        assert opened.status_code == 200, opened.text
        assert opened.headers["content-type"] == "application/cbor-seq"
        assert auditor.check(request, proof.receipt, challenge, opened.content).cells
    # what must not make the node work
    other = requests_of(body(9), proof)[0]
    forged = Receipt.decode(proof.receipt).signed(bytes(64)).encode()
    for data, code in (
        (framed(proof.receipt, challenge, other), "not for this request"),
        (framed(forged, challenge), "not signed by this identity"),
        (framed(proof.receipt, challenge) + b"\x40", "goes on"),
        (framed(proof.receipt, challenge)[:-1], "ends inside"),
        (b"", "three frames"),
        (b"\x00" * 100, "byte string"),
        (b"\x5b" + b"\xff" * 8, "at most"),
    ):
        refused = http.post("/v1/proofs/open", content=data)
        assert (refused.status_code, code in refused.json()["error"]["message"]) == (400, True), refused.text
    # a third challenge, and no fourth
    assert (
        http.post(
            proof.open, content=framed(proof.receipt, auditor.challenge(request, proof.receipt, cells=1))
        ).status_code
        == 200
    )
    fourth = http.post(
        proof.open, content=framed(proof.receipt, auditor.challenge(request, proof.receipt, cells=2))
    )
    assert (fourth.status_code, fourth.json()["error"]["code"]) == (429, "challenge_limit")


def test_what_clients_need_before_they_ask(http: httpx.Client) -> None:
    assert pc.check_terms(http.get("/v1/proofs/terms").content, NODE.public) == TERMS
    for name in ("tiny", chat_model().model_id.hex()):
        found = http.get(f"/v1/proofs/card/{name}")
        assert pc.check_card(found.content, chat_model().model_id) == chat_model().card
    for path in (
        "/v1/proofs/card/none",
        "/v1/proofs/" + "0" * 64,
        "/v1/proofs/x",
        "/v1/models/none",
        "/",
        "/v2",
    ):
        missing = http.get(path)
        assert (missing.status_code, set(missing.json()["error"])) == (
            404,
            {"message", "type", "param", "code"},
        )
    assert http.get("/v1/completions").status_code == 405
    assert http.get("/health").json()["status"] == http.get("/healthz").text == "ok"
    text = http.get("/metrics").text
    assert 'proofcompute_tokens_total{model="tiny"}' in text
    assert 'proofcompute_healthy{model="other"} 1.0' in text


# -- refusals ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 5000, 400),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "tiny", "model": "tiny"}', 400),
        (json.dumps(body(10_000)).encode(), 400),
        (json.dumps(body(messages=[])).encode(), 400),
        (json.dumps(body(tools=[{"type": "function"}])).encode(), 400),
    ],
)
def test_bodies_that_cannot_be_answered(http: httpx.Client, sent: bytes, status: int) -> None:
    found = http.post("/v1/chat/completions", content=sent)
    assert found.status_code == status
    assert found.json()["error"]["message"]


def test_a_nonce_belongs_to_one_request(http: httpx.Client) -> None:
    headers = {"Proofcompute-Nonce": hashlib.sha256(b"once").hexdigest()}
    assert http.post("/v1/chat/completions", json=body(2), headers=headers).status_code == 200
    assert http.post("/v1/chat/completions", json=body(2), headers=headers).status_code == 200  # a repetition
    again = http.post("/v1/chat/completions", json=body(3), headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "nonce_reused")
    bad = http.post("/v1/chat/completions", json=body(), headers={"Proofcompute-Nonce": "AB"})
    assert bad.status_code == 400


def test_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    digest = hashlib.sha256(b"secret").hexdigest()
    file.write_text(f"# keys\nalice {digest}\nbob {hashlib.sha256(b'other').hexdigest()}  # second\n")
    with running(keys=ApiKeys.load(file)) as node, httpx.Client(base_url=node.url, timeout=SOON) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            refused = http.post("/v1/chat/completions", json=body(), headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert http.get("/metrics").status_code == 401
        assert http.get("/healthz").status_code == 200
        alice, bob = ({"Authorization": f"Bearer {k}"} for k in ("secret", "other"))
        found = http.post("/v1/chat/completions", json=body(2), headers=alice)
        assert found.status_code == 200
        path = "/v1/proofs/" + found.json()["id"].removeprefix("chatcmpl-")
        assert http.get(path, headers=alice).status_code == 200
        assert http.get(path, headers=bob).status_code == 404  # another client's
    for text in ("alice secret\n", "", f"a {digest}\na {digest}\n", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError):
            ApiKeys.load(file)


def test_bodies_too_long_and_too_slow() -> None:
    limits = ServiceLimits(body=1000, body_seconds=0.2)
    with running(limits=limits) as node, httpx.Client(base_url=node.url, timeout=SOON) as http:
        found = http.post("/v1/chat/completions", content=b" " * 1001)
        assert (found.status_code, found.json()["error"]["code"]) == (413, "body_too_long")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        with node.connect(head + b"Content-Length: 100\r\n\r\nabc") as half:
            assert half.recv(100).startswith(b"HTTP/1.1 408")
        with node.connect(
            head + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b" " * 1001 + b"\r\n"
        ) as long:
            assert long.recv(100).startswith(b"HTTP/1.1 413")
        assert http.get("/healthz").text == "ok"


# -- leaving, load and the end -------------------------------------------------------------------------------
class Held:
    """Holds the engine of a model between steps."""

    def __init__(self, node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runner = node.service.models["tiny"].runner
        self.steps = 0
        step = self.runner.engine.step

        def held() -> Any:
            wait_for(lambda: self.steps)
            self.steps -= 1
            return step()

        monkeypatch.setattr(self.runner.engine, "step", held)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_computation(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as node, httpx.Client(base_url=node.url, timeout=SOON) as http:
        held = Held(node, monkeypatch)
        nonce = hashlib.sha256(b"leaves").digest()
        sent = json.dumps(body(300, stream=stream)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n"
        connection = node.connect(f"{head}Proofcompute-Nonce: {nonce.hex()}\r\n\r\n".encode() + sent)
        held.steps = 4
        wait_for(lambda: not held.steps)
        connection.close()
        wait_for(lambda: not node.service.active)
        held.steps = 10**6
        wait_for(lambda: held.runner.load.live == 0)
        # what was computed has a receipt: of the request with as many tokens
        digest = requests_of(
            body(300),
            ProofField(
                choice=0,
                receipt=b"-",
                nonce=nonce,
                nonce_by="client",
                model_id=bytes(32),
                node=NODE.public,
                date=datetime.now(UTC).date(),
                open="/x",
            ),
        )[0].digest
        wait_for(lambda: http.get(f"/v1/proofs/{digest.hex()}").status_code == 200)
        receipt = Receipt.decode(http.get(f"/v1/proofs/{digest.hex()}").content)
        count = len(receipt.outputs[0][1]) // 4
        assert 0 < count < 300
        assert (receipt.stop_reason, receipt.request_digest == digest) == ("length", False)


def test_more_than_is_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ServiceLimits(client_requests=4)
    with running(limits=limits, runner=RunnerLimits(live=1, queued=1)) as node:
        held = Held(node, monkeypatch)

        async def ask() -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=node.url, timeout=SOON) as http:
                first = asyncio.ensure_future(http.post("/v1/chat/completions", json=body()))
                while held.runner.load.live < 1:
                    await asyncio.sleep(0.005)
                second = asyncio.ensure_future(http.post("/v1/chat/completions", json=body()))
                while held.runner.load.queued < 1:
                    await asyncio.sleep(0.005)
                busy = await http.post("/v1/chat/completions", json=body())
                much = await http.post("/v1/chat/completions", json=body(n=3))
                held.steps = 10**6
                return [busy, much, await first, await second]

        busy, much, first, second = asyncio.run(ask())
        for refused in (busy, much):
            assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
            assert 1 <= int(refused.headers["Retry-After"]) <= 120
        assert (first.status_code, second.status_code) == (200, 200)
        wait_for(lambda: len(node.service.clients) == 0)


def test_draining_finishes_what_runs_and_refuses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as node:
        held = Held(node, monkeypatch)

        async def ask() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
            async with httpx.AsyncClient(base_url=node.url, timeout=SOON) as http:
                first = asyncio.ensure_future(http.post("/v1/chat/completions", json=body()))
                while held.runner.load.live < 1:
                    await asyncio.sleep(0.005)
                draining = asyncio.run_coroutine_threadsafe(node.service.drain(), node.loop)
                while not node.service.draining:
                    await asyncio.sleep(0.005)
                refused = await http.post("/v1/chat/completions", json=body())
                health = await http.get("/healthz")
                held.steps = 10**6
                answer = await first
                assert await asyncio.to_thread(draining.result, SOON)
                return answer, refused, health

        answer, refused, health = asyncio.run(ask())
        assert answer.status_code == 200
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["Retry-After"]
        assert (health.status_code, health.text) == (503, "draining")


def test_a_device_that_fails_in_the_middle_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as node, httpx.Client(base_url=node.url, timeout=SOON) as http:
        runner = node.service.models["tiny"].runner
        step, count = runner.engine.step, 0

        def broken() -> Any:
            nonlocal count
            count += 1
            if count > 3:
                raise DeviceError("the device at 0000:3b:00.0 fell off the bus")
            return step()

        monkeypatch.setattr(runner.engine, "step", broken)
        with http.stream("POST", "/v1/chat/completions", json=body(50, stream=True)) as found:
            lines = [line[6:] for line in found.iter_lines() if line]
        assert lines[-1] == "[DONE]"
        assert json.loads(lines[-2])["error"]["code"] == "device_failed"
        assert "proofcompute" not in "".join(lines)
        assert "3b:00" not in "".join(lines)
        assert http.post("/v1/chat/completions", json=body()).status_code == 503
        assert (http.get("/health").status_code, http.get("/healthz").text) == (503, "failed")


@pytest.mark.parametrize("stream", [False, True])
def test_a_reader_that_is_too_slow_is_cut_off(stream: bool) -> None:
    limits = ServiceLimits(write_seconds=0.05)
    service = Service({"tiny": chat_model()}, NODE, KERNELS, limits=limits)
    messages = [{"type": "http.request", "body": json.dumps(body(300, stream=stream)).encode()}]

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def run() -> None:
        await service.start()
        path = "/v1/chat/completions"
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        await asyncio.wait_for(application(service)(scope, receive, send), SOON)
        await service.close()

    asyncio.run(run())
    assert service.metrics.registry.get_sample_value("proofcompute_disconnects_total", {"why": "slow_reader"})
    assert service.models["tiny"].runner.load.live == 0
    assert len(service.clients) == 0


# -- parts ---------------------------------------------------------------------------------------------------
def test_addresses_behind_proxies() -> None:
    proxies = frozenset({"10.0.0.1"})
    assert address_of("9.9.9.9", "1.1.1.1", proxies).name == "9.9.9.9"
    assert address_of("10.0.0.1", "1.1.1.1, 2.2.2.2", proxies).name == "2.2.2.2"
    assert address_of("::ffff:1.2.3.4", None, proxies).name == "1.2.3.4"
    assert address_of("2001:db8::1", None, proxies) == address_of("2001:db8::2", None, proxies)
    assert address_of("10.0.0.1", "no address", proxies).name == "unknown"
    assert address_of("::ffff:10.0.0.1", "2.2.2.2", proxies).name == "2.2.2.2"  # a socket for both kinds
    assert addresses_of(["::ffff:10.0.0.1", "0:0::1"]) == {"10.0.0.1", "::1"}
    with pytest.raises(InputError, match="not 'here'"):
        addresses_of(["here"])


def test_limits_of_a_client() -> None:
    clients, one = Clients(2, 100), Client.of("key", "a")
    with clients.lease(one, 1, 500):  # a single request may be larger
        with pytest.raises(pc.BusyError), clients.lease(one, 1, 1):
            pass
        with clients.lease(Client.of("address", "a"), 2, 100):
            assert len(clients) == 2
    assert len(clients) == 0


def test_nonces_are_bounded() -> None:
    nonces = Nonces(2)
    for i in range(3):
        nonces.check(bytes([i]), b"a")
    nonces.check(bytes([0]), b"b")  # forgotten
    with pytest.raises(Refusal):
        nonces.check(bytes([2]), b"b")


def test_a_pipe_ends_with_its_reader() -> None:
    async def read() -> bytes:
        pipe = Pipe(asyncio.get_running_loop(), 0.01, SOON)

        def write() -> None:
            for i in range(20):
                pipe.write(bytes([i]) * (1 << 20))
            pipe.end()

        writing = asyncio.ensure_future(asyncio.to_thread(write))
        first = await anext(pipe.read_parts())
        pipe.leave()
        with pytest.raises(BrokenPipeError):
            await writing
        return first

    assert asyncio.run(read())[:1] == b"\0"


def test_the_stated_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [stated(x) for x in (0.1, 7, 45.0, 2468.0)] == [1, 3, 20, 1000]
    assert measured_rate(chat_model(), KERNELS) > 0
    monkeypatch.setattr(rate, "measured_rate", lambda *_: 1000.0)
    assert stated(rate.busy_rate(chat_model(), KERNELS)) == 40  # a sixth of the time, and reserve


def test_settings_are_checked() -> None:
    one = (("a", Path("x")),)
    for wrong in (
        {"models": ()},
        {"models": one * 2},
        {"models": (("", Path("x")),)},
        {"models": one, "tls_cert": Path("c")},
        {"models": one, "port": 70_000},
        {"models": one, "log_format": "xml"},
        {"models": one, "rows": 0},
        {"models": one, "chunk": 0},
        {"models": one, "prefixes": 1, "keep": Keep.NOTHING},
        {"models": one, "shared_prefixes": True},
    ):
        with pytest.raises(InputError):
            Settings(identity=Path("i"), **wrong)
    with pytest.raises(InputError, match="above 0"):
        ServiceLimits(body=0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        with pytest.raises(InputError, match="cannot listen"):
            server.check_address("127.0.0.1", taken.getsockname()[1])


def test_only_paths_that_take_a_body_get_one(node: Running, http: httpx.Client) -> None:
    for method, path in (("POST", "/v1/none"), ("PUT", "/v1/proofs/open"), ("DELETE", "/v1/models")):
        refused = http.request(method, path, content=b"x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_long")
    assert node.service.body_bytes == 0


def test_all_bodies_together_are_bounded(
    node: Running, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.service, "body_bytes", node.service.limits.bodies - 10)
    refused = http.post("/v1/chat/completions", json=body())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "bodies")
    assert refused.headers["retry-after"] == "1"
    assert node.service.body_bytes == node.service.limits.bodies - 10


def test_an_opening_holds_its_place_no_longer_than_the_terms_allow(
    node: Running, http: httpx.Client, auditor: pc.Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def noted(loop: asyncio.AbstractEventLoop, seconds: float, total: float) -> Pipe:
        seen.append(total)
        return Pipe(loop, seconds, total)

    monkeypatch.setattr(proofs, "Pipe", noted)
    sent = body(21)
    proof = ProofField.decode(http.post("/v1/chat/completions", json=sent).json()["proofcompute"])
    (request,) = requests_of(sent, proof)
    challenge = auditor.challenge(request, proof.receipt, cells=1)
    parts = OpenCall(request, proof.receipt, challenge).encode()
    assert http.post(proof.open, content=parts).status_code == 200
    rows = Receipt.decode(proof.receipt).rows
    assert seen == [TERMS.deadline(rows, node.service.limits.opening_seconds)]
    assert seen[0] < node.service.limits.opening_seconds


# -- what is shared and kept ---------------------------------------------------------------------------------
def rows_computed(node: Running) -> float:
    return node.service.metrics.registry.get_sample_value("proofcompute_rows_total", {"model": "tiny"}) or 0


@pytest.mark.parametrize("shared", [False, True])
def test_only_who_may_shares_a_prefix(shared: bool, auditor: pc.Auditor) -> None:
    """What is computed for a prompt depends on what its own client asked before, and on nobody else."""
    keys = ApiKeys({name: hashlib.sha256(name.encode()).digest() for name in ("alice", "bob")})
    sent = {"model": "tiny", "prompt": "x" * 200, "max_tokens": 1}
    computed = []
    with running(keys=keys, prefixes=1 << 24, shared_prefixes=shared) as node:
        with httpx.Client(base_url=node.url, timeout=SOON) as http:
            for name in ("alice", "bob", "alice"):
                before = rows_computed(node)
                found = http.post("/v1/completions", json=sent, headers={"Authorization": f"Bearer {name}"})
                proof = ProofField.decode(found.json()["proofcompute"])
                pc.check_receipt(chat_model(), requests_of(sent, proof)[0], proof.receipt, node=NODE.public)
                computed.append(rows_computed(node) - before)
    assert computed == [200, 8 if shared else 200, 8]


@pytest.mark.parametrize("keep", Keep)
def test_what_stays_of_rows(keep: Keep, auditor: pc.Auditor) -> None:
    """Whatever is kept, however few rows a step has, receipts hold and are opened."""
    with running(keep=keep, rows=7, chunk=5) as node, httpx.Client(base_url=node.url, timeout=SOON) as http:
        sent = body(8)
        proof = ProofField.decode(http.post("/v1/chat/completions", json=sent).json()["proofcompute"])
        (request,) = requests_of(sent, proof)
        opener = node.service.models["tiny"].runner.opener
        assert len(opener.traces.digests) == (keep is Keep.ALL)
        challenge = auditor.challenge(request, proof.receipt, cells=4)
        opened = http.post(proof.open, content=OpenCall(request, proof.receipt, challenge).encode())
        assert auditor.check(request, proof.receipt, challenge, opened.content).cells == 4
        rows = node.service.metrics.registry.get_sample_value("proofcompute_step_rows_sum", {"model": "tiny"})
        steps = node.service.metrics.registry.get_sample_value(
            "proofcompute_step_rows_count", {"model": "tiny"}
        )
        assert rows
        assert steps
        assert rows / steps <= 7
        assert len(opener.traces.digests) == 1
