"""A second implementation of docs/spec/openai.md, for the model in ``tests/data/chat.card``.

Imports nothing from proofcompute. Its tokens are the 256 bytes and four marks; its template is written out
here by hand. It knows right bodies only: what is wrong is written down beside the case.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import cbor2

from oracle.message_cases import SEED, bits, digest, emit, public, signed

Json = Any
CARD = Path(__file__).resolve().parents[1] / "data" / "chat.card"
BEGIN, END, A, B = 256, 257, 258, 259
CONTEXT = 256
NODE = public(SEED)
NONCE = bytes(range(100, 132))
DAY = date(2026, 11, 30)
MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip


# -- the model ---------------------------------------------------------------------------------------------
def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def model_id() -> bytes:
    """The digest of program, vocabulary, template and the sealed roots of the weights."""
    program, vocabulary, template, roots = cbor2.loads(CARD.read_bytes())[2]
    parts = [
        digest("sha256", "program", program),
        digest("sha256", "tokenizer", vocabulary),
        digest("sha256", "template", template.encode()),
    ]
    weights = cbor2.loads(program)[5]
    for (name, kind, shape, *_), root in zip(weights, roots, strict=True):
        # a leaf for each row of a matrix of each group; these constants, of float32, fit in one
        rows = math.prod(shape[:-1]) if kind == "matrix" else 1
        tag = sha(b"\0".join((b"proofcompute/v1", b"sha256", b"weight", name.encode())))
        parts.append(sha(b"\x02" + tag + struct.pack("<Q", rows) + root))
    return digest("sha256", "model", b"".join(parts))


MODEL = model_id()


# -- from a body to requests -------------------------------------------------------------------------------
def xof(domain: str, *parts: bytes) -> bytes:
    """32 bytes of SHAKE-256 over the parts, each behind its length."""
    data = (b"proofcompute/v1/xof", domain.encode(), *parts)
    return hashlib.shake_256(b"".join(struct.pack("<Q", len(d)) + d for d in data)).digest(32)


def content(value: Json) -> str:
    return value if isinstance(value, str) else "\n".join(part["text"] for part in value)


def conversation(messages: Json, day: date) -> tuple[list[int], str]:
    """Tokens and text of the prompt."""
    turns = [("today", f"{day.day:02d} {MONTHS[day.month - 1]} {day.year}")]
    talk = [({"developer": "system"}.get(m["role"], m["role"]), content(m["content"])) for m in messages]
    if talk[0][0] != "system":
        turns.append(("system", "Be brief."))
    tokens, text = [BEGIN], ""
    for role, said in turns + talk:
        tokens += [A, *f"{role}\n{said}".encode(), B, 10]
        text += f"<a>{role}\n{said}<b>\n"
    return [*tokens, A, *b"assistant\n"], text + "<a>assistant\n"


def names_a_mark(text: str) -> bool:
    return any(mark in text for mark in ("<begin>", "<end>", "<a>", "<b>"))


def prompt_of(body: Json, endpoint: str, day: date) -> tuple[list[int], str]:
    if endpoint == "chat":
        tokens, text = conversation(body["messages"], day)
        said = "".join(content(m["content"]) for m in body["messages"])
        return tokens, "" if names_a_mark(said) else text
    prompt = body["prompt"]
    if isinstance(prompt, list) and isinstance(prompt[0], str | list):
        (prompt,) = prompt
    if isinstance(prompt, str):
        return [BEGIN, *prompt.encode()], "" if names_a_mark(prompt) else prompt
    return prompt, ""


def requests(body: Json, endpoint: str, nonce: bytes, day: date, node: bytes) -> list[list[Any]]:
    """The fields of the request of each choice."""
    given = {name: value for name, value in body.items() if value is not None}
    tokens, text = prompt_of(given, endpoint, day)
    room = CONTEXT - len(tokens) + 1
    most = given.get("max_tokens", given.get("max_completion_tokens"))
    if most is None:
        most = room if endpoint == "chat" else min(16, room)
    seed = xof("openai nonce as seed", nonce)
    if "seed" in given:
        seed = xof("openai seed", struct.pack("<q", given["seed"]))
    stops = given.get("stop", [])
    generation = [
        most,
        bits(given.get("temperature", 1)),
        max(0, given.get("top_k", 0)),
        bits(given.get("top_p", 1)),
        bits(given.get("repetition_penalty", 1)),
        seed,
        [stops] if isinstance(stops, str) else stops,
        int(given.get("ignore_eos", False)),
    ]
    inputs = [["tokens", struct.pack(f"<{len(tokens)}i", *tokens)]]
    fields = ["proofcompute request", 2, "sha256", MODEL, inputs, generation, text, nonce, node]
    return [[*fields, choice] for choice in range(given.get("n", 1))]


# -- responses ---------------------------------------------------------------------------------------------
class Answer(NamedTuple):
    """The answer of one choice: what the node signs, and what it shows."""

    tokens: list[int]
    reason: str
    text: str


def receipt(request: list[Any], answer: Answer) -> bytes:
    """A signed receipt. Its trace root is no trace's: nothing before an audit looks at it."""
    prompt = len(request[4][0][1]) // 4
    outputs = [["next", struct.pack(f"<{len(answer.tokens)}i", *answer.tokens)]]
    rows = prompt + len(answer.tokens) - 1
    body = ["proofcompute receipt", 2, "sha256", MODEL, digest("sha256", "request", emit(request)), outputs,
            rows, answer.reason, b"\x03" * 32, 1, b"", 604800, "ed25519", NODE]  # fmt: skip
    return emit(signed(body))


class Exchange(NamedTuple):
    """A call, and all that its response is made of."""

    endpoint: str
    body: Json
    answers: list[Answer]
    nonce_by: str = "client"
    date: date = DAY
    """The node's date."""

    @property
    def made(self) -> list[list[Any]]:
        return requests(self.body, self.endpoint, NONCE, self.date, NODE)

    def head(self, kind: str) -> Json:
        prefix = "chatcmpl-" if self.endpoint == "chat" else "cmpl-"
        return {
            "id": prefix + digest("sha256", "request", emit(self.made[0])).hex(),
            "object": kind,
            "created": 1764460800,
            "model": self.body["model"],
            "system_fingerprint": "fp_" + MODEL.hex(),
        }

    def proof(self, *choices: int) -> Json:
        coded = [base64.b64encode(receipt(self.made[i], self.answers[i])).decode() for i in choices]
        one = {"choice": choices[0], "receipt": coded[0]} if len(coded) == 1 else {"receipts": coded}
        return {
            "v": 1,
            **one,
            "nonce": NONCE.hex(),
            "nonce_by": self.nonce_by,
            "model_id": MODEL.hex(),
            "node": NODE.hex(),
            "date": self.date.isoformat(),
            "open": "/v1/proofs/open",
        }

    def usage(self, completion: int | None = None) -> Json:
        prompt = len(self.made[0][4][0][1]) // 4
        if completion is None:
            completion = sum(len(a.tokens) for a in self.answers)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def whole(self) -> Json:
        choices = []
        for i, (_, reason, text) in enumerate(self.answers):
            said: Json = {"text": text}
            if self.endpoint == "chat":
                said = {"message": {"role": "assistant", "content": text, "refusal": None}}
            finish = "length" if reason == "length" else "stop"
            choices.append({"index": i, **said, "logprobs": None, "finish_reason": finish})
        kind = "chat.completion" if self.endpoint == "chat" else "text_completion"
        return {**self.head(kind), "choices": choices, "usage": self.usage(),
                "proofcompute": self.proof(*range(len(self.answers)))}  # fmt: skip

    def chunk(self, choice: int, text: str, *, role: bool = False, count: int | None = None,
              last: bool = False) -> Json:  # fmt: skip
        chat = self.endpoint == "chat"
        said: Json = {"text": text}
        if chat:
            said = {"delta": {**({"role": "assistant"} if role else {}), "content": text}}
        finish = "length" if self.answers[choice].reason == "length" else "stop"
        made = {
            **self.head("chat.completion.chunk" if chat else "text_completion"),
            "choices": [
                {"index": choice, **said, "logprobs": None, "finish_reason": finish if last else None}
            ],
        }
        if count is not None:
            made["usage"] = self.usage(count)
        if last:
            made["proofcompute"] = self.proof(choice)
        return made

    def usage_chunk(self) -> Json:
        kind = "chat.completion.chunk" if self.endpoint == "chat" else "text_completion"
        return {**self.head(kind), "choices": [], "usage": self.usage()}


def dumped(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
