"""Wrong responses that are no streams: each a right one with one mistake, which names it.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from typing import Any

from oracle.message_cases import digest, emit, put, signed
from oracle.openai_binding import MODEL, Exchange
from oracle.openai_responses import ENDED, ONE, OTHER, TEXT, TWO, Case, altered, coded, usage, without
from oracle.openai_wrong_proofs import receipt_fields

Json = Any


def wholes() -> dict[str, tuple[Case, int]]:
    one, two, text = ONE.whole(), TWO.whole(), TEXT.whole()
    calls = [{"id": "x", "type": "function", "function": {"name": "pay", "arguments": "{}"}}]
    message = ("choices", 0, "message")
    more = altered(one, "choices", value=[*one["choices"], {**one["choices"][0], "index": 1}])
    other_id = Exchange("chat", {**ONE.body, "seed": 1}, [ENDED]).head("chat.completion")["id"]
    broken = signed(put(receipt_fields(), (7,), "length"))
    cases: dict[str, tuple[Json, int]] = {
        "another text": (altered(one, *message, "content", value="Hi, e!"), 5),
        "text cut short": (altered(one, *message, "content", value="Hi, "), 5),
        "text with more behind": (altered(one, *message, "content", value="Hi, é! Bye."), 5),
        "text without its spaces": (altered(one, *message, "content", value="Hi,é!"), 5),
        "text normalised": (altered(one, *message, "content", value="Hi, e\u0301!"), 5),
        "text empty": (altered(one, *message, "content", value=""), 5),
        "text null": (altered(one, *message, "content", value=None), 1),
        "text in parts": (altered(one, *message, "content", value=[{"type": "text", "text": "Hi, é!"}]), 1),
        "text missing": (without(one, *message, "content"), 1),
        "message missing": (without(one, *message), 1),
        "message a text": (altered(one, *message, value="Hi, é!"), 1),
        "role of a tool": (altered(one, *message, "role", value="tool"), 5),
        "role missing": (without(one, *message, "role"), 5),
        "a call of a tool": (altered(one, *message, "tool_calls", value=calls), 5),
        "a call of a function": (altered(one, *message, "function_call", value=calls[0]["function"]), 5),
        "a refusal": (altered(one, *message, "refusal", value="I cannot."), 5),
        "an empty refusal": (altered(one, *message, "refusal", value=""), 5),
        "a thought": (altered(one, *message, "reasoning_content", value="Hm."), 5),
        "an annotation": (altered(one, *message, "annotations", value=[{}]), 5),
        "audio": (altered(one, *message, "audio", value={"id": "x"}), 5),
        "false in a field that is not known": (altered(one, *message, "flag", value=False), 5),
        "log-probabilities": (altered(one, "choices", 0, "logprobs", value={"content": []}), 5),
        "a text besides the message": (altered(one, "choices", 0, "text", value="Hi, é!"), 5),
        "a stop reason besides": (altered(one, "choices", 0, "stop_reason", value="END"), 5),
        "another field of the response": (altered(one, "warning", value="pay more"), 5),
        "an error besides": (altered(one, "error", value={"message": "x"}), 5),
        "a service tier": (altered(one, "service_tier", value="default"), 5),
        "finish reason length": (altered(one, "choices", 0, "finish_reason", value="length"), 5),
        "finish reason end": (altered(one, "choices", 0, "finish_reason", value="end"), 5),
        "finish reason tool_calls": (altered(one, "choices", 0, "finish_reason", value="tool_calls"), 5),
        "finish reason null": (altered(one, "choices", 0, "finish_reason", value=None), 5),
        "finish reason missing": (without(one, "choices", 0, "finish_reason"), 5),
        "another stop reason in the receipt": (
            altered(one, "proofcompute", "receipt", value=coded(emit(broken))),
            5,
        ),
        "fewer tokens in the prompt": (usage(one, -1, 0), 5),
        "more tokens in the prompt": (usage(one, 1, 0), 5),
        "more tokens in the answer": (usage(one, 0, 1), 5),
        "tokens moved from prompt to answer": (usage(one, -1, 1), 5),
        "a total that is no sum": (altered(one, "usage", "total_tokens", value=1), 5),
        "a usage of texts": (altered(one, "usage", "total_tokens", value="1"), 1),
        "a usage that is true": (altered(one, "usage", "completion_tokens", value=True), 1),
        "a usage with a fraction": (altered(one, "usage", "prompt_tokens", value=46.0), 1),
        "usage of cached tokens": (
            altered(one, "usage", "prompt_tokens_details", value={"cached_tokens": 1}),
            5,
        ),
        "usage missing": (without(one, "usage"), 1),
        "usage null": (altered(one, "usage", value=None), 1),
        "usage without a total": (without(one, "usage", "total_tokens"), 1),
        "another id": (altered(one, "id", value=other_id), 4),
        "id of the other endpoint": (altered(one, "id", value=one["id"].replace("chatcmpl", "cmpl")), 4),
        "id in capitals": (altered(one, "id", value=one["id"].upper()), 4),
        "id missing": (without(one, "id"), 1),
        "another fingerprint": (altered(one, "system_fingerprint", value="fp_" + OTHER.hex()), 3),
        "a short fingerprint": (altered(one, "system_fingerprint", value="fp_" + MODEL.hex()[:10]), 3),
        "fingerprint null": (altered(one, "system_fingerprint", value=None), 1),
        "another model's name": (altered(one, "model", value="better"), 5),
        "model missing": (without(one, "model"), 5),
        "another object": (altered(one, "object", value="text_completion"), 5),
        "object missing": (without(one, "object"), 5),
        "created a text": (altered(one, "created", value="now"), 1),
        "created negative": (altered(one, "created", value=-1), 1),
        "created missing": (without(one, "created"), 1),
        "no choices": (altered(one, "choices", value=[]), 5),
        "choices missing": (without(one, "choices"), 1),
        "choices an object": (altered(one, "choices", value=one["choices"][0]), 1),
        "a choice null": (altered(one, "choices", value=[None]), 1),
        "a choice more": (more, 5),
        "index 1": (altered(one, "choices", 0, "index", value=1), 5),
        "index false": (altered(one, "choices", 0, "index", value=False), 5),
        "index missing": (without(one, "choices", 0, "index"), 5),
        "a response that is an error": ({"error": {"message": "x"}}, 1),
        "an empty object": ({}, 1),
    }
    found = {f"whole: {name}": (Case(ONE, sent), step) for name, (sent, step) in cases.items()}
    swapped = altered(two, "choices", value=[*reversed(two["choices"])])
    texts = altered(
        altered(two, *message, "content", value="Hi, é!"), "choices", 1, "message", "content", value="It is "
    )
    for name, sent, step in (
        ("choices swapped", swapped, 5),
        ("texts swapped", texts, 5),
        ("the stop string shown", altered(two, *message, "content", value="It is over."), 5),
        ("a choice less", altered(two, "choices", value=two["choices"][:1]), 5),
        ("a choice twice", altered(two, "choices", value=[two["choices"][0]] * 2), 5),
        ("the usage of one choice", altered(two, "usage", value=TWO.usage(8)), 5),
        (
            "id of the second choice",
            altered(two, "id", value="chatcmpl-" + digest("sha256", "request", emit(TWO.made[1])).hex()),
            4,
        ),
    ):
        found[f"whole of two: {name}"] = (Case(TWO, sent), step)
    for name, sent, step in (
        ("bytes dropped", altered(text, "choices", 0, "text", value="a"), 5),
        ("one replacement for two", altered(text, "choices", 0, "text", value="a\ufffd"), 5),
        ("text null", altered(text, "choices", 0, "text", value=None), 1),
        ("a message besides", altered(text, "choices", 0, "message", value={"content": "a"}), 5),
        ("log-probabilities", altered(text, "choices", 0, "logprobs", value={"tokens": ["a"]}), 5),
        ("the object of a conversation", altered(text, "object", value="chat.completion"), 5),
    ):
        found[f"text completion: {name}"] = (Case(TEXT, sent), step)
    return found
