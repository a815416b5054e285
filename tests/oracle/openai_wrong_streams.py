"""Wrong streams: each a right one with one mistake, which names it.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from typing import Any

from oracle.openai_responses import OTHER, PLAIN, STREAM, Case, altered, chunks, plain, usage, without

Json = Any


def streams() -> dict[str, tuple[Case, int]]:
    def at(i: int, *path: Any, value: Json) -> list[Json]:
        return list(altered(chunks(), i, *path, value=value))

    made, end = chunks(), STREAM.usage_chunk()
    calls = [{"index": 0, "id": "x", "type": "function", "function": {"name": "pay", "arguments": "{}"}}]
    delta = ("choices", 0, "delta")
    cases: dict[str, tuple[list[Json], int]] = {
        "no chunk": ([], 5),
        "no usage": (made[:-1], 5),
        "a choice without an end": ([*made[:6], end], 5),
        "broken off": (made[:4], 5),
        "a chunk lost": ([*made[:2], *made[3:]], 5),
        "a chunk twice": ([*made[:3], made[2], *made[3:]], 5),
        "chunks of a choice swapped": ([*made[:2], made[4], made[3], made[2], *made[5:]], 5),
        "a chunk after the end of its choice": ([*made[:6], STREAM.chunk(1, ""), *made[6:]], 5),
        "a second end": ([*made[:6], made[5], *made[6:]], 5),
        "an end twice": ([*made[:6], STREAM.chunk(1, "", count=8, last=True), *made[6:]], 5),
        "the usage twice": ([*made, end], 5),
        "a chunk after the usage": ([*made, made[0]], 5),
        "the usage before the end": ([*made[:6], end, made[6]], 5),
        "a chunk without a choice at the start": ([altered(end, "usage", value=None), *made], 5),
        "two choices in a chunk": (at(0, "choices", value=[made[0]["choices"][0], made[1]["choices"][0]]), 1),
        "choices null": (at(0, "choices", value=None), 1),
        "index 2": (at(2, "choices", 0, "index", value=2), 1),
        "index negative": (at(2, "choices", 0, "index", value=-1), 1),
        "index missing": (without(made, 2, "choices", 0, "index"), 1),
        "texts of two choices swapped": (
            altered(at(2, *delta, "content", value="Hi, "), 3, *delta, "content", value="It is ov"),
            5,
        ),
        "another text": (at(2, *delta, "content", value="It is un"), 5),
        "the stop string shown": (at(6, *delta, "content", value="END"), 5),
        "a text at the end": (at(5, *delta, "content", value="é!!"), 5),
        "a text with the usage": (altered(made, 7, "choices", value=[made[6]["choices"][0]]), 5),
        "content a list": (at(2, *delta, "content", value=["It is ov"]), 1),
        "delta missing": (without(made, 2, *delta), 1),
        "a message besides": (at(2, "choices", 0, "message", value={"content": "x"}), 5),
        "role of a tool": (at(0, *delta, "role", value="tool"), 5),
        "a call of a tool": (at(2, *delta, "tool_calls", value=calls), 5),
        "a refusal": (at(2, *delta, "refusal", value="I cannot."), 5),
        "a thought": (at(2, *delta, "reasoning_content", value="Hm."), 5),
        "log-probabilities": (at(2, "choices", 0, "logprobs", value={"content": []}), 5),
        "an error besides": (at(2, "error", value={"message": "x"}), 5),
        "finish reason length": (at(6, "choices", 0, "finish_reason", value="length"), 5),
        "finish reason false": (at(6, "choices", 0, "finish_reason", value=False), 5),
        "finish reason too early": (at(2, "choices", 0, "finish_reason", value="stop"), 1),
        "no finish reason with the proof": (at(6, "choices", 0, "finish_reason", value=None), 5),
        "no proof with the finish reason": (without(made, 6, "proofcompute"), 1),
        "proofs of two choices swapped": (
            altered(at(5, "proofcompute", value=STREAM.proof(0)), 6, "proofcompute", value=STREAM.proof(1)),
            5,
        ),
        "receipts of two choices swapped": (
            altered(
                at(5, "proofcompute", "receipt", value=STREAM.proof(0)["receipt"]),
                6,
                "proofcompute",
                "receipt",
                value=STREAM.proof(1)["receipt"],
            ),
            4,
        ),
        "a proof too early": (at(2, "proofcompute", value=STREAM.proof(0)), 5),
        "a proof with the usage": (at(7, "proofcompute", value=STREAM.proof(0)), 5),
        "proofs of two choices in one": (at(6, "proofcompute", value=STREAM.proof(0, 1)), 1),
        "another nonce for the second choice": (at(5, "proofcompute", "nonce", value=OTHER.hex()), 4),
        "another date for the second choice": (at(5, "proofcompute", "date", value="2026-11-29"), 4),
        "another node for the second choice": (at(5, "proofcompute", "node", value=OTHER.hex()), 4),
        "another path for the second choice": (at(5, "proofcompute", "open", value="/elsewhere"), 4),
        "another model for the second choice": (at(5, "proofcompute", "model_id", value=OTHER.hex()), 4),
        "the node's nonce for the second choice": (at(5, "proofcompute", "nonce_by", value="node"), 4),
        "another id in the middle": (at(3, "id", value="chatcmpl-" + OTHER.hex()), 4),
        "another id everywhere": ([{**c, "id": "chatcmpl-" + OTHER.hex()} for c in made], 4),
        "another fingerprint in the middle": (at(3, "system_fingerprint", value="fp_" + OTHER.hex()), 3),
        "another fingerprint everywhere": ([{**c, "system_fingerprint": "fp_x"} for c in made], 3),
        "another model's name": (at(3, "model", value="better"), 5),
        "another object": (at(3, "object", value="chat.completion"), 5),
        "created null": (at(3, "created", value=None), 1),
        "one token less at the end": (at(7, "usage", value=STREAM.usage(22)), 5),
        "one choice's tokens at the end": (at(7, "usage", value=STREAM.usage(15)), 5),
        "the usage null at the end": (at(7, "usage", value=None), 1),
        "more tokens so far": (at(2, "usage", value=STREAM.usage(9)), 5),
        "fewer tokens so far": (at(2, "usage", value=STREAM.usage(7)), 5),
        "tokens that are not there": (at(6, "usage", value=STREAM.usage(16)), 5),
        "fewer tokens at the end of a choice": (at(6, "usage", value=STREAM.usage(14)), 5),
        "tokens that count backwards at the end": (at(6, "usage", value=STREAM.usage(3)), 5),
        "numbers of two choices swapped": (
            altered(at(5, "proofcompute", "choice", value=0), 6, "proofcompute", "choice", value=1),
            5,
        ),
        "tokens that count backwards": (at(4, "usage", value=STREAM.usage(3)), 5),
        "text for no token": (at(4, "usage", value=STREAM.usage(8)), 5),
        "tokens of both choices": (at(4, "usage", value=STREAM.usage(19)), 5),
        "another prompt's tokens in every chunk": (
            [c if "usage" not in c or not c["choices"] else usage(c, 1, 0) for c in made],
            5,
        ),
        "another prompt's tokens in one chunk": ([*made[:3], usage(made[3], 1, 0), *made[4:]], 5),
        "a total that is no sum": (at(3, "usage", "total_tokens", value=1), 5),
        "usage of cached tokens": (at(3, "usage", "prompt_tokens_details", value={"cached_tokens": 1}), 5),
    }
    found = {f"stream: {name}": (Case(STREAM, sent), step) for name, (sent, step) in cases.items()}
    for name, sent, step in (
        ("a usage that was not asked for", [*plain(), PLAIN.usage_chunk()], 5),
        ("a usage in a chunk that was not asked for", altered(plain(), 1, "usage", value=PLAIN.usage()), 5),
        ("bytes dropped", altered(plain(), 1, "choices", 0, "text", value=""), 5),
        ("text null", altered(plain(), 0, "choices", 0, "text", value=None), 1),
        ("a delta besides", altered(plain(), 0, "choices", 0, "delta", value={"content": "a"}), 5),
        ("the object of a conversation", altered(plain(), 0, "object", value="chat.completion.chunk"), 5),
        ("replayed for another call", [{**c, "id": STREAM.head("")["id"]} for c in plain()], 4),
    ):
        found[f"plain stream: {name}"] = (Case(PLAIN, sent), step)
    return found
