"""Bodies of completions that mean harm: malformed, deep, long, half-sent; and any bytes at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.limits import GIB, MIB
from proofcompute.serving import ServiceLimits
from proofcompute.serving.refusals import Refusal, json_bytes
from serving.hostile import (
    CHAT,
    State,
    asked,
    body,
    came_back,
    chat,
    connect,
    count,
    exchange,
    honest,
    nothing_grows,
    said,
    wait_for,
)
from serving.running import Running, running

TEXT = b"/v1/completions"
PLAIN = "invalid_request_error"


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running(limits=ServiceLimits(waste=GIB)) as made:
        yield made


def with_text(where: str, text: str) -> bytes:
    """A body that has a text, written as JSON, in a certain place."""
    message: dict[str, Any] = {"role": "user", "content": "a"}
    found: dict[str, Any] = {"model": "tiny", "messages": [message]}
    mark = "@"
    match where:
        case "role" | "content" | "name":
            message[where] = mark
        case "part" | "kind":
            message["content"] = [
                {"type": mark, "text": "a"} if where == "kind" else {"type": "text", "text": mark}
            ]
        case "stops":
            found["stop"] = ["a", mark]
        case "key":
            found[mark] = 1
        case "twice" | "deep":
            found["metadata"] = {"a": [{mark: 1, "b": 2}]} if where == "deep" else {mark: 1, "b": 2}
        case _:
            found[where] = mark
    written = json.dumps(found).replace('"@"', text)
    return (written.replace('"b"', text) if where in ("twice", "deep") else written).encode()


# -- texts ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "where",
    ["model", "role", "content", "part", "kind", "name", "stop", "stops", "user", "key", "twice", "deep"],
)
def test_a_lone_surrogate_is_refused_wherever_it_stands(node: Running, where: str) -> None:
    for text in ('"\\ud800"', '"a\\uDFFF"', '"\\udc00\\ud800"'):
        found = exchange(node, asked(CHAT, with_text(where, text)))
        assert (found.status, found.code) == (400, PLAIN), found
        assert json.loads(found.body)["error"]["message"].startswith("the JSON text has")


def test_a_refusal_can_be_said_whatever_its_text_has() -> None:
    response = Refusal.of(400, "a \ud800 b", "x").response()
    assert json.loads(bytes(response.body))["error"]["message"] == "a ? b"
    with pytest.raises(UnicodeEncodeError):  # an answer is said exactly, or not at all
        json_bytes({"text": "\ud800"})


# -- the shape -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", PLAIN),
        (b"null", PLAIN),
        (b"[]", PLAIN),
        (b'"text"', PLAIN),
        (b"\x00" * 10, PLAIN),
        (b"\xef\xbb\xbf{}", PLAIN),
        ('{"a": 1}'.encode("utf-16"), PLAIN),
        (b'{"model": "\xed\xa0\x80"}', PLAIN),
        (b'{"model": "\xff"}', PLAIN),
        (b'{"temperature": NaN}', PLAIN),
        (b'{"temperature": -Infinity}', PLAIN),
        (b'{"temperature": 1e400}', PLAIN),
        (b'{"seed": ' + b"9" * 100_000 + b"}", PLAIN),
        (b"[" * 1_000_000, PLAIN),
        (b'{"a":' * 1_000_000, PLAIN),
        (b'{"a":' * 33 + b"1" + b"}" * 33, PLAIN),
        (b"[" + b"," * 2_000_000 + b"]", PLAIN),
        (b'"' * 1_000_000, PLAIN),
        (b'{"a":"' + b"\\" * 1_000_001, PLAIN),
        (b'{"model":"tiny","model":"tiny"}', PLAIN),
        (b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b"}", "unsupported_parameter"),
        (chat(n=10**9), "invalid_value"),
        (chat(n=-1), "invalid_value"),
        (chat(top_k=2**40), "invalid_value"),
        (chat(temperature=1e300), "invalid_value"),
        (chat(repetition_penalty=3e38), "invalid_value"),
        (chat(tokens=2**62), "invalid_value"),
        (chat(tokens=400, user="a" * 5000), "invalid_value"),
        (chat(messages=[{"role": "user", "content": ""}] * 100_000), PLAIN),
        (chat(messages=[{"role": "user", "content": "a" * 4_000_000}]), PLAIN),
        (chat(messages=[{"role": "user", "content": [{"type": "text", "text": ""}] * 100_000}]), PLAIN),
    ],
    ids=range(31),
)
def test_a_body_that_is_refused(node: Running, data: bytes, code: str) -> None:
    found = exchange(node, asked(CHAT, data))
    assert (found.status, found.code) == (400, code), found


def test_a_template_in_a_message_is_text(node: Running) -> None:
    told = [{"role": "user", "content": "{{ 7 * 7 }}{% for i in range(10**9) %}{% endfor %}"}]
    assert exchange(node, asked(CHAT, chat(messages=told))).status == 200


# -- sizes and times -----------------------------------------------------------------------------------------
def test_more_than_a_body_may_have_is_not_read() -> None:
    limits = ServiceLimits(body=1000, proof_body=1000)
    chunked = [(b"Transfer-Encoding", b"chunked")]
    with running(limits=limits) as node, nothing_grows(node):
        for path in (CHAT, TEXT, b"/v1/proofs/open"):
            for data, headers in (
                (b" " * 1001, []),
                (b"", [(b"Content-Length", b"1001")]),  # it is not sent at all
                (b"3e9\r\n" + b" " * 1001 + b"\r\n", chunked),
                (b"1\r\n \r\n" * 1001, chunked),
            ):
                found = exchange(node, asked(path, data, headers))
                assert (found.status, found.code, found.headers["connection"]) == (
                    413,
                    "body_too_long",
                    "close",
                )
        for path in (b"/v1/models", b"/healthz", b"/metrics", b"/openapi.json", b"/none"):
            found = exchange(node, asked(path, b"x", method=b"GET"))
            assert (found.status, found.code) == (413, "body_too_long")


def test_what_is_half_sent_is_waited_for_no_longer_than_allowed() -> None:
    limits = ServiceLimits(body_seconds=1, header_seconds=1)
    with running(limits=limits) as node, nothing_grows(node):
        whole = asked(CHAT, chat())
        bodies = [connect(node) for _ in range(10)]
        heads = [connect(node) for _ in range(10)]
        for made in bodies:
            made.sendall(whole[:-1])
        for i, made in enumerate(heads):
            made.sendall(whole[: 5 * i])  # the first sends nothing
        honest(node)
        for made in bodies:
            found = said(made)
            assert (found.status, found.code, found.headers["connection"]) == (408, "slow_body", "close")
            made.close()
        for made in heads:
            assert said(made).body == b""
            made.close()


def test_a_length_that_is_a_lie(node: Running) -> None:
    data = chat()
    with nothing_grows(node):
        short = exchange(node, asked(CHAT, data, [(b"Content-Length", str(len(data) - 1).encode())]))
        assert (short.status, short.code) == (400, PLAIN)
        with connect(node) as made:  # the rest never comes, and the client goes
            made.sendall(asked(CHAT, data, [(b"Content-Length", str(len(data) + 1).encode())]))
            wait_for(lambda: State.of(node).active)


def test_a_large_body_keeps_nobody_waiting(node: Running) -> None:
    """Large bodies wait for each other on a thread of their own."""
    large = asked(CHAT, b"[" + b'"",' * 1_000_000 + b'""]')
    with nothing_grows(node):
        connections = [connect(node, "127.0.0.2") for _ in range(8)]
        for made in connections:
            made.sendall(large)
        wait_for(lambda: node.service._reading._work_queue.qsize() > 2)
        assert node.service._preparing._work_queue.qsize() == 0
        honest(node)
        for made in connections:
            assert said(made).status == 400
            made.close()


# -- any body ------------------------------------------------------------------------------------------------
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "prompt",
        "max_tokens",
        "n",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "seed",
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A good body with a field or two changed, cut off or altered somewhere; or anything."""
    found: Any = {**body(2), **draw(st.dictionaries(FIELDS, VALUES, max_size=2))}
    data = bytearray(json.dumps(found).encode())
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=2)):
        data[at] = draw(st.integers(0, 255))
    data = data[: draw(st.none() | st.integers(0, len(data)))]
    return draw(st.just(bytes(data)) | st.binary(max_size=40))


@given(data=bodies(), path=st.sampled_from([CHAT, TEXT]))
def test_any_body_is_answered_or_refused(node: Running, data: bytes, path: bytes) -> None:
    before = State.of(node)
    found = exchange(node, asked(path, data))
    assert found.status in (200, 400, 404, 429), found
    assert (found.code is None) == (found.status == 200)
    came_back(node, before)


def test_one_client_cannot_take_the_room_of_all_bodies(node: Running) -> None:
    with running(limits=ServiceLimits(hold_seconds=0.1)) as small:
        part = b" " * (7 * MIB)
        head = asked(CHAT, b"", [(b"Content-Length", str(8 * MIB).encode())])
        with nothing_grows(small):
            connections = [connect(small, "127.0.0.2") for _ in range(6)]
            for made in connections:
                made.sendall(head)
                try:
                    made.sendall(part)
                except (BrokenPipeError, ConnectionResetError):
                    continue
            wait_for(lambda: count(small, "refusals", reason="too_many_requests"))
            assert small.service.body_bytes <= 32 * MIB
            honest(small)
            for made in connections:
                made.close()
