"""Requests that are no proper HTTP, or are proper and mean harm: paths, methods, headers, framing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from serving.hostile import (
    CHAT,
    END,
    Said,
    asked,
    chat,
    connect,
    count,
    exchange,
    honest,
    nothing_grows,
    said,
)
from serving.running import Running, running

LENGTH = b"Content-Length"
CHUNKED = (b"Transfer-Encoding", b"chunked")
MODELS = b"/v1/models"
NAMED = b"/v1/models/"
PROOFS = b"/v1/proofs/"


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running() as made:
        yield made


def refused(found: Said, status: int, code: str | None) -> None:
    """The answer is exactly this error; the server's own errors have no body (code None)."""
    assert (found.status, found.code) == (status, code), found
    assert code is not None or found.body == b""


# -- paths ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (b"//v1/models", 404, "not_found"),
        (b"/v1//models", 404, "not_found"),
        (b"/v1/../v1/models", 404, "not_found"),
        (b"/v1/%2e%2e/metrics", 404, "not_found"),
        (b"/v1/models/../../metrics", 404, "model_not_found"),
        (b"/v1/models/%2e%2e%2f%2e%2e%2fetc/passwd", 404, "model_not_found"),
        (NAMED, 404, "model_not_found"),
        (NAMED + b"tiny/", 404, "model_not_found"),
        (NAMED + b"%00", 404, "model_not_found"),
        (NAMED + b"tiny%00", 404, "model_not_found"),
        (NAMED + b"%ff%fe", 404, "model_not_found"),
        (NAMED + b"%ed%a0%80", 404, "model_not_found"),  # a surrogate, as UTF-8 must not encode it
        (NAMED + b"%", 404, "model_not_found"),
        (NAMED + b"%zz", 404, "model_not_found"),
        (NAMED + b"a" * 60_000, 404, "model_not_found"),
        (NAMED + b"a" * 70_000, 414, None),
        (PROOFS, 404, "not_found"),
        (PROOFS + b"0" * 64, 404, "not_found"),
        (PROOFS + b"%f0%9f", 404, "not_found"),
        (PROOFS + b"\xd9\xa0" * 32, 404, "not_found"),  # digits of another script
        (PROOFS + b"0" * 60_000, 404, "not_found"),
        (PROOFS + b"card/", 404, "not_found"),
        (PROOFS + b"card/a/b", 404, "not_found"),
        (PROOFS + b"card/%2f", 404, "not_found"),
        (PROOFS + b"card/" + b"%20" * 64, 404, "model_not_found"),
        (b"/docs", 404, "not_found"),
        (b"*", 404, "not_found"),
        (b"http://[::1", 400, None),
        (b"v1/models", 400, None),
        (b"", 400, None),
        (b"/v1/models\x00", 400, None),
        (b"/v1/mod\xffels", 400, None),
        (b"/v1/models\xed\xa0\x80", 400, None),
    ],
)
def test_a_path_that_leads_nowhere(node: Running, path: bytes, status: int, code: str | None) -> None:
    refused(exchange(node, asked(path)), status, code)


def test_a_path_has_one_meaning_however_it_is_written(node: Running) -> None:
    listed = exchange(node, asked(MODELS)).body
    for path in (MODELS + b"?x=" + b"y" * 3000, MODELS + b"?%ff", MODELS + b"#x", b"http://other/v1/models"):
        found = exchange(node, asked(path))
        assert (found.status, found.body) == (200, listed)


def test_a_receipt_is_for_who_asked_only(node: Running) -> None:
    digest = honest(node).request.digest.hex().encode()
    assert exchange(node, asked(PROOFS + digest)).status == 200
    for path in (PROOFS + digest, b"/v1/proofs/x/../" + digest, PROOFS + digest.upper()):
        other = exchange(node, asked(path, headers=[(b"X-Forwarded-For", b"127.0.0.1")]), "127.0.0.2")
        refused(other, 404, "not_found")


# -- methods -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "method", [b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"PUT", b"FOO", b"get", b"PRI"]
)
def test_a_method_that_a_path_does_not_take(node: Running, method: bytes) -> None:
    for path in (MODELS, CHAT, b"/v1/proofs/open", PROOFS + b"00", b"/healthz"):
        refused(exchange(node, asked(path, method=method)), 405, "method_not_allowed")


def test_methods_that_are_none(node: Running) -> None:
    assert exchange(node, asked(MODELS, method=b"HEAD")).status == 405
    refused(exchange(node, asked(MODELS, method=b"\xff")), 400, None)
    refused(exchange(node, asked(b"node:443", method=b"CONNECT")), 404, "not_found")


# -- headers -------------------------------------------------------------------------------------------------
BROKEN = [
    [(LENGTH, b"5"), (LENGTH, b"7")],
    [(LENGTH, b"5, 5")],
    [(LENGTH, b"-1")],
    [(LENGTH, b"+5")],
    [(LENGTH, b"0x5")],
    [(LENGTH, b"\xb2")],  # a digit of Latin-1
    [(LENGTH, b"9" * 40)],
    [(b"Transfer-Encoding", b"gzip")],
    [(b"", b"x")],
    [(b"X A", b"x")],
    [(b"X-A", b"x\x00y")],
    [(b"X-A", b"x\ny")],
]


@pytest.mark.parametrize("headers", BROKEN)
def test_headers_that_are_none(node: Running, headers: list[tuple[bytes, bytes]]) -> None:
    refused(exchange(node, asked(CHAT, b"{}", headers)), 400, None)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([(LENGTH, str(2**63).encode())], 413, "body_too_long"),
        ([(b"Proofcompute-Nonce", b"zz")], 400, "invalid_request_error"),
        ([(b"Proofcompute-Nonce", b"A" * 64)], 400, "invalid_request_error"),
        ([(b"Proofcompute-Nonce", b"\xff" * 64)], 400, "invalid_request_error"),
        ([(b"Proofcompute-Nonce", b"")], 400, "invalid_request_error"),
        ([(b"X-%d" % i, b"") for i in range(200)], 431, None),
    ],
)
def test_headers_that_are_refused(
    node: Running, headers: list[tuple[bytes, bytes]], status: int, code: str | None
) -> None:
    refused(exchange(node, asked(CHAT, chat(), headers)), status, code)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"X-Forwarded-For", b"1.1.1.1," * 5000)],
        [(b"X-Forwarded-For", b"\xff")],
        [(b"X-Forwarded-For", b"127.0.0.1")] * 50,
        [(b"Authorization", b"Bearer \xff\xfe")],
        [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")],
        [(b"Expect", b"nothing")],
        [(b"Content-Encoding", b"gzip")],
        [(b"Content-Type", b"\xff")],
        [(b"Cookie", b"a=\xff")],
    ],
)
def test_headers_that_mean_nothing_here(node: Running, headers: list[tuple[bytes, bytes]]) -> None:
    assert exchange(node, asked(CHAT, chat(), headers)).status == 200


# -- framing -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers_and_body",
    [
        ([CHUNKED], b"zz\r\n"),
        ([CHUNKED], b"-1\r\n"),
        ([CHUNKED], b"f" * 17 + b"\r\n"),
        ([CHUNKED], b"1;" + b"x" * 100_000 + b"\r\n"),
        ([CHUNKED], b"2\r\n{}XX"),
        ([CHUNKED, (LENGTH, b"2")], b"{}"),
        ([(b"Transfer-Encoding", b"gzip, chunked")], b"{}"),
    ],
)
def test_a_body_that_is_no_http(
    node: Running, headers_and_body: tuple[list[tuple[bytes, bytes]], bytes]
) -> None:
    headers, data = headers_and_body
    with nothing_grows(node):
        refused(exchange(node, asked(CHAT, data, headers)), 400, "broken_body")


def test_a_client_that_hangs_up_in_its_body(node: Running) -> None:
    with nothing_grows(node):
        for framing in ((LENGTH, b"100"), CHUNKED):
            connect(node).close()
            for part in (b"", b"5\r\nabcde\r\n", b"{}"):
                with connect(node) as made:
                    made.sendall(asked(CHAT, part, [framing]))
    assert count(node, "refusals", reason="broken_body")


def test_bytes_of_other_protocols(node: Running) -> None:
    with nothing_grows(node):
        for data in (
            b"\x00\x01\x02",
            bytes.fromhex("16030100"),
            b"GET /\r\n",
            b"SSH-2.0-x\r\n",
            b"GET / HTTP/3.0" + END,
        ):
            refused(exchange(node, data), 400, None)
        assert exchange(node, b"PRI * HTTP/2.0\r\n\r\nSM" + END).status == 0


def test_many_requests_on_one_connection(node: Running) -> None:
    asks = (
        asked(CHAT, chat(tokens=2))
        .replace(b"Connection: close\r\n", b"")
        .replace(b"\r\nConnection: close", b"")
    )
    with nothing_grows(node):
        with connect(node) as made:
            made.sendall(asks * 5 + asked(b"/healthz"))
            found = said(made)
        assert found.status == 200
        assert found.body.count(b"HTTP/1.1 200 OK") == 5
        with connect(node) as made:  # the answers are not read, and the connection is left
            made.sendall(asks * 20)


def test_a_request_inside_a_body_is_not_obeyed(node: Running) -> None:
    inner = b"GET /metrics HTTP/1.1\r\nHost: node" + END
    found = exchange(node, asked(b"/healthz", inner, method=b"GET"))
    refused(found, 413, "body_too_long")
    assert found.headers["connection"] == "close"
    found = exchange(node, asked(CHAT, b"2\r\n{}\r\n0\r\n\r\n" + inner, [CHUNKED]))
    assert (found.status, found.body.count(b"HTTP/1.1")) == (400, 0)


def test_a_nonce_that_two_clients_send_binds_both_to_their_own_bodies(node: Running) -> None:
    nonce = [(b"Proofcompute-Nonce", hashlib.sha256(b"shared").hexdigest().encode())]
    assert exchange(node, asked(CHAT, chat(), nonce)).status == 200
    refused(exchange(node, asked(CHAT, chat(tokens=5), nonce), "127.0.0.2"), 400, "nonce_reused")
