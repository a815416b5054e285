"""Right responses, what a client knows beside them, and how they are altered.

Imports nothing from proofcompute.
"""

from __future__ import annotations

import base64
import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from oracle.openai_binding import DAY, END, NODE, NONCE, Answer, Exchange, dumped

Json = Any
HELLO: list[Json] = [{"role": "user", "content": "Hello"}]
ENDED = Answer([*"Hi, é!".encode(), END], "end", "Hi, é!")
STOPPED = Answer([*b"It is over. END"], "stop", "It is over. ")
BROKEN = Answer([*b"a\xff\xe2\x82"], "length", "a\ufffd\ufffd")
"""Bytes that are not UTF-8, and half a character at the end."""
SILENT = Answer([END], "end", "")
OTHER = bytes(32)


@dataclass(frozen=True)
class Case:
    """What a client knows, and what came."""

    exchange: Exchange
    sent: Json
    """The response; a list of chunks if it is a stream."""
    nonce: bytes | None = NONCE
    node: bytes | None = None
    today: Any = DAY

    def json(self, pool: dict[str, int]) -> Json:
        """As JSON; texts are numbers in ``pool``, since many cases share them."""
        many = self.sent if isinstance(self.sent, list) else [self.sent]
        numbers = [pool.setdefault(dumped(c).decode(), len(pool)) for c in many]
        sent = numbers if isinstance(self.sent, list) else numbers[0]
        return {
            "endpoint": self.exchange.endpoint,
            "body": pool.setdefault(dumped(self.exchange.body).decode(), len(pool)),
            "nonce": None if self.nonce is None else self.nonce.hex(),
            "node": None if self.node is None else self.node.hex(),
            "today": self.today.isoformat(),
            "sent": sent,
        }


# -- right -------------------------------------------------------------------------------------------------
ONE = Exchange("chat", {"model": "chat", "messages": HELLO, "max_tokens": 16}, [ENDED])
TWO = Exchange(
    "chat",
    {"model": "chat", "messages": HELLO, "n": 2, "stop": ["END", "over."]},
    [
        Answer([*b"It is over."], "stop", "It is "),
        ENDED,
    ],
)
TEXT = Exchange("completions", {"model": "chat", "prompt": "Once", "max_tokens": 4}, [BROKEN])
STREAM = Exchange(
    "chat",
    {
        "model": "chat",
        "messages": HELLO,
        "n": 2,
        "stop": "END",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    },
    [STOPPED, ENDED],
)
PLAIN = Exchange(
    "completions", {"model": "chat", "prompt": [79, 110], "max_tokens": 4, "stream": True}, [BROKEN]
)


def chunks() -> list[Json]:
    """The stream of STREAM: its choices take turns; what may become the stop string is held back."""
    return [
        STREAM.chunk(0, "", role=True, count=0),
        STREAM.chunk(1, "", role=True, count=0),
        STREAM.chunk(0, "It is ov", count=8),
        STREAM.chunk(1, "Hi, ", count=5),
        STREAM.chunk(0, "er. ", count=14),
        STREAM.chunk(1, "é!", count=8, last=True),
        STREAM.chunk(0, "", count=15, last=True),
        STREAM.usage_chunk(),
    ]


def plain() -> list[Json]:
    return [PLAIN.chunk(0, "a\ufffd"), PLAIN.chunk(0, "\ufffd", last=True)]


def altered(sent: Json, *path: Any, value: Json) -> Json:
    """A copy with another value at ``path``."""
    found = copy.deepcopy(sent)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def without(sent: Json, *path: Any) -> Json:
    found = copy.deepcopy(sent)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


def right() -> dict[str, Case]:
    by_node = ONE._replace(nonce_by="node")
    silent = ONE._replace(answers=[SILENT])
    quiet = {**STREAM.body, "stream_options": {"include_usage": False}}
    stream = STREAM._replace(body=quiet)
    return {
        "one choice": Case(ONE, ONE.whole()),
        "a nonce by the node": Case(by_node, by_node.whole(), nonce=None),
        "by the node that was wanted": Case(ONE, ONE.whole(), node=NODE),
        "two choices": Case(TWO, TWO.whole()),
        "an answer without text": Case(silent, silent.whole()),
        "a text completion": Case(TEXT, TEXT.whole()),
        "the client's day is a day behind": Case(ONE, ONE.whole(), today=DAY - timedelta(1)),
        "the client's day is a day ahead": Case(ONE, ONE.whole(), today=DAY + timedelta(1)),
        "neutral fields that are not known": Case(
            ONE,
            altered(
                altered(ONE.whole(), "choices", 0, "message", "tool_calls", value=[]),
                "service_tier",
                value=None,
            ),
        ),
        "no refusal and no logprobs": Case(
            ONE, without(without(ONE.whole(), "choices", 0, "message", "refusal"), "choices", 0, "logprobs")
        ),
        "another time": Case(ONE, altered(ONE.whole(), "created", value=0)),
        "a stream of two choices": Case(STREAM, chunks()),
        "a stream cut elsewhere": Case(
            STREAM,
            [
                STREAM.chunk(1, "Hi, é!", count=8, last=True),
                STREAM.chunk(0, "It is over. ", role=True, count=15, last=True),
                STREAM.usage_chunk(),
            ],
        ),
        "a stream with the usage of some chunks": Case(
            STREAM, [without(chunks()[0], "usage"), *chunks()[1:]]
        ),
        "a chunk with null as usage": Case(STREAM, altered(chunks(), 0, "usage", value=None)),
        "a chunk twice without text": Case(STREAM, [chunks()[0], *chunks()]),
        "a chunk without content": Case(STREAM, altered(chunks(), 0, "choices", 0, "delta", value={})),
        "a stream without usage": Case(
            stream,
            [
                stream.chunk(0, "It is over. "),
                stream.chunk(0, "", last=True),
                stream.chunk(1, "Hi, é!", last=True),
            ],
        ),
        "a plain stream": Case(PLAIN, plain()),
        "a plain stream in one chunk": Case(PLAIN, [PLAIN.chunk(0, "a\ufffd\ufffd", last=True)]),
    }


def usage(sent: Json, prompt: int, completion: int) -> Json:
    """Another usage, whose total is the sum."""
    old = sent["usage"]
    numbers = old["prompt_tokens"] + prompt, old["completion_tokens"] + completion
    made = dict(zip(("prompt_tokens", "completion_tokens"), numbers, strict=True))
    return altered(sent, "usage", value={**made, "total_tokens": sum(numbers)})
