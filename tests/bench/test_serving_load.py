"""The load generator of benchmarks/serving: what it sends, what it accepts, and the figures that follow."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import servers
from benchmarks.serving.figures import rate, summary
from benchmarks.serving.load import Ask, burst, closed_loop, sender
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.servers import Kind, Server, completion, running
from benchmarks.serving.streams import Answer, Raw, nearest_rank, read
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import ExecutionError, InputError
from proofcompute.testing.models import random_chat_model

STUB = Path(__file__).with_name("serving_stub.py")


def stub(**behaviour: Any) -> Kind:
    """The stub server, which behaves so."""
    return Kind("stub", lambda port: [sys.executable, str(STUB), str(port)], {"stub": behaviour})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(stub()) as found:
        yield found


def stats(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.get("/stats"))
    return found


def loaded(server: Server, clients: Sequence[Sequence[Ask]]) -> list[Raw]:
    async def run() -> list[Raw]:
        async with sender(server.url) as send:
            return await closed_loop(send, clients)

    return asyncio.run(run())


def asks(count: int, tokens: int = 3, **behaviour: Any) -> list[Ask]:
    return [completion(stub(**behaviour), f"prompt {i}", tokens) for i in range(count)]


# -- what is sent ------------------------------------------------------------------------------------------
def test_each_client_has_one_request_at_a_time() -> None:
    """Nobody is answered before four wait, so four clients are there; never more than four, so each waits."""
    with running(stub()) as server:
        raws = loaded(server, [asks(3, together=4) for _ in range(4)])
        found = stats(server)
    assert len(raws) == len(found["prompts"]) == 12
    assert found["most"] == 4
    assert found["live"] == found["hung_up"] == 0


def test_a_burst_sends_all_at_once(server: Server) -> None:
    async def run() -> list[Raw]:
        async with sender(server.url) as send:
            return await burst(send, asks(8, together=8))

    answers = [read(raw, 3) for raw in asyncio.run(run())]
    assert [a.tokens for a in answers] == [3] * 8


def test_a_client_that_hangs_up(server: Server) -> None:
    before = stats(server)["hung_up"]

    async def run() -> Raw:
        async with sender(server.url) as send:
            return await send(asks(1, tokens=2_000, pause=0.001)[0], lambda pieces: pieces == 3)

    raw = asyncio.run(run())
    assert len(raw.pieces) == 3
    for _ in range(400):
        if stats(server)["hung_up"] == before + 1:
            break
        time.sleep(0.01)
    assert stats(server)["live"] == 0


# -- what is not accepted ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"status": 500}, "status 500: refused"),
        ({"drop": 1}, "the connection to /v1/completions broke"),
        ({"error": 1}, "the server broke off: .*out of memory"),
        ({"finish": "stop"}, "ended by 'stop', with"),
        ({"words": 2}, "the server says 2 tokens; 3 were asked for"),
        ({"words": 0}, "an answer of 0 pieces"),
    ],
)
def test_a_server_that_does_less(server: Server, behaviour: dict[str, Any], words: str) -> None:
    """One of four clients gets less, and there are no figures."""
    clients = [*(asks(1) for _ in range(3)), asks(1, **behaviour)]
    with pytest.raises(ExecutionError, match=words):
        [read(raw, 3) for raw in loaded(server, clients)]


def test_a_program_that_ends_is_reported() -> None:
    kind = Kind("x", lambda _: [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"], {})
    with pytest.raises(ExecutionError, match="x ended with 3: no such model"), running(kind):
        pass


def test_a_server_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_START", 0.3)
    kind = Kind("x", lambda _: [sys.executable, "-c", "import time; time.sleep(60)"], {})
    with pytest.raises(ExecutionError, match="x was not ready after 0 s: it said nothing"), running(kind):
        pass


def test_memory_counts_the_processes_that_a_server_starts() -> None:
    child = (  # it ends when its parent does
        "import os, time; parent, b = os.getppid(), bytearray(b'x') * 2**26\n"
        "while os.getppid() == parent: time.sleep(0.05)"
    )
    shell = ["sh", "-c", '"$0" -c "$1" & exec "$0" "$2" "$3"', sys.executable, child, str(STUB)]
    with running(Kind("x", lambda port: [*shell, str(port)], {})) as server:
        for _ in range(400):
            if server.memory() > 2**26:
                break
            time.sleep(0.05)
        assert server.memory() > 2**26


# -- reading and figures -------------------------------------------------------------------------------------
def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def answer(times: Sequence[float], started: float = 10.0) -> Answer:
    pieces = [(t, event("x")) for t in times]
    raw = Raw(b"", b"", started, [*pieces, (times[-1], event("", "length") + DONE)], times[-1])
    return read(raw, len(times))


def test_times_are_those_of_the_last_byte_of_an_event() -> None:
    data = event("é") + event("b") + event("", "length") + DONE
    cut = len(event("é")) - 9  # inside the letter of two bytes, were it one
    assert 0xC3 in data[: cut + 1]
    raw = Raw(b"", b"", 1.0, [(2.0, data[:20]), (3.0, data[20:cut]), (5.0, data[cut:])], 5.5)
    found = read(raw, 2)
    assert (found.text, found.times, found.first) == ("éb", (5.0, 5.0), 4.0)
    assert (found.gaps, found.seconds) == ([0.0], 4.5)


def test_text_of_conversations_is_read_too() -> None:
    deltas = [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}]
    lines = [
        json.dumps({"choices": [{"delta": d, "finish_reason": "length" if not d else None}]}).encode()
        for d in deltas
    ]
    pieces = [(float(i), b"data: " + line + b"\n\n") for i, line in enumerate(lines)]
    raw = Raw(b"", b"", 0.0, [*pieces, (9.0, DONE)], 9.0)
    assert read(raw, 2).times == (1.0, 2.0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (event("a") + event("", "length"), "without"),
        (event("a") + DONE, "ended by None"),
        (event("a") + event("", "length") + DONE + b"data: {", "ends inside an event"),
        (b"data: {]\n\n", "is not JSON"),
        (b"data: []\n\n", "is no object"),
    ],
)
def test_broken_streams(data: bytes, words: str) -> None:
    with pytest.raises(ExecutionError, match=words):
        read(Raw(b"", b"", 0.0, [(1.0, data)], 1.0), 1)


def test_figures_follow_from_the_times() -> None:
    fast, slow = answer([11.0, 11.5, 12.0]), answer([12.0, 13.0, 15.0])
    assert rate([fast, slow]) == pytest.approx(6 / 5)
    found = summary([[fast], [slow]])
    assert found["answers"] == 2
    assert (found["first_p50_seconds"], found["first_p99_seconds"]) == (1.0, 2.0)
    assert (found["gap_p50_seconds"], found["gap_p99_seconds"]) == (0.5, 2.0)
    assert found["rounds"]["tokens_per_second"] == [1.5, 0.6]


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [nearest_rank(values, q) for q in (0.01, 0.5, 0.99, 1)] == [1.0, 50.0, 99.0, 100.0]
    assert nearest_rank([3.0, 1.0], 0.99) == 3.0


# -- prompts -----------------------------------------------------------------------------------------------
def test_prompts_have_exactly_so_many_tokens_and_begin_differently(smollm2_path: Path) -> None:
    from proofcompute.importers.gguf import open_gguf
    from proofcompute.tokens import Tokenizer

    vocabulary = open_gguf(smollm2_path).vocabulary
    assert vocabulary is not None
    draw, tokenizer = Prompts(vocabulary), Tokenizer(vocabulary)
    found = [draw(64) for _ in range(50)]
    assert {len(tokenizer.encode(text, special=False)) for text in found} == {64}
    assert len({text[:30] for text in found}) == 50
    shared = draw(16)
    alike = [draw(8, shared) for _ in range(3)]
    assert all(text.startswith(shared) and len(tokenizer.encode(text, special=False)) == 24 for text in alike)
    assert [Prompts(vocabulary)(64)] == found[:1]


def test_a_model_without_words_has_no_prompts() -> None:
    vocabulary = random_chat_model(kernels_for("numpy")).card.vocabulary
    assert vocabulary is not None
    with pytest.raises(InputError, match="only 0 words"):
        Prompts(vocabulary)
