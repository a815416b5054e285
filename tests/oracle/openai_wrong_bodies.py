"""Wrong bodies: each a right one with one mistake, which names it.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from typing import Any

from oracle.openai_binding import dumped
from oracle.openai_bodies import CHAT, OF_CHAT, OF_TEXT, TEXT, chat, part, said, text
from oracle.openai_wrong_json import LIMIT, texts_of_json

Json = Any
INPUT, TYPE, UNSUPPORTED = "InputError", "ParameterError", "UnsupportedParameterError"
Wrong = tuple[str, str, Json, str, str | None]
"""Name, endpoint, body, error, param."""
OTHERS: dict[str, Json] = {
    "frequency_penalty": 0.1,
    "presence_penalty": -1,
    "min_p": 0.05,
    "min_tokens": 1,
    "priority": 1,
    "length_penalty": 0,
    "logit_bias": {"50256": -100},
    "bad_words": ["no"],
    "logits_processors": ["x"],
    "stop_token_ids": [2],
    "store": True,
    "echo": True,
    "use_beam_search": True,
    "include_stop_str_in_output": True,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "service_tier": "priority",
    "response_format": {"type": "json_object"},
    "allowed_token_ids": [1],
    "cache_salt": "x",
    "guided_choice": ["a"],
    "guided_decoding_backend": "x",
    "guided_grammar": "x",
    "guided_json": {},
    "guided_regex": "x",
    "prompt_logprobs": 1,
    "structured_outputs": {},
    "truncate_prompt_tokens": 5,
    "logprobs": True,
    "continue_final_message": True,
    "add_generation_prompt": False,
    "top_logprobs": 1,
    "best_of": 2,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "functions": [{"name": "f"}],
    "documents": [{}],
    "tool_choice": "required",
    "function_call": {"name": "f"},
    "parallel_tool_calls": 1,
    "modalities": ["text", "audio"],
    "verbosity": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "audio": {},
    "chat_template": "x",
    "prediction": {},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "none",
    "web_search_options": {},
    "suffix": "x",
    "prompt_embeds": "x",
}


def values(endpoint: str, plain: Json) -> list[Wrong]:
    """Parameters of a wrong type or value, and those that are not supported."""
    number: tuple[Json, ...] = ("1", True, [], {})
    whole: tuple[Json, ...] = (*number, 1.0)
    types: dict[str, tuple[Json, ...]] = {
        "model": (1, True, [], {}),
        "temperature": (*number, -1, -1e-45, 1e39),
        "top_p": (*number, 0, 1e-60, -0.5, 1.0000002, 2),
        "top_k": (*whole, -2, 2**31),
        "repetition_penalty": (*number, 0, -1, 0.015, 64.1),
        "max_tokens": (*whole, 0, -1, 2**20 + 1),
        "seed": ("1", True, 1.0, [], {}),
        "stop": (1, True, {}, "", "x" * 257, "é" * 129, [""], [1], [None], [["a"]], ["a"] * 17),
        "n": (*whole, 0, -1, 129),
        "ignore_eos": (0, 1, "true", []),
        "stream": (0, 1, "true", []),
        "stream_options": (True, [], "x"),
        "user": (1, "x" * 1025),
        "metadata": ("x", []),
    }
    found: list[Wrong] = [
        (
            f"{endpoint}: {name} {str(value)[:20]}{' stream' if name == 'stream_options' else ''} {i}",
            endpoint,
            {**plain, **({"stream": True} if name == "stream_options" else {}), name: value},
            TYPE,
            name,
        )
        for name, wrong in types.items()
        for i, value in enumerate(wrong)
    ]
    table = OF_CHAT if endpoint == "chat" else OF_TEXT
    for name, neutral in table.items():
        if (endpoint, name) == ("completions", "best_of"):  # it is n, and so not in the list
            continue
        others = [OTHERS[name] if name in OTHERS else not neutral[0]]
        others += [bool(v) if type(v) is int else int(v) for v in neutral if type(v) in (int, bool)]
        others += [v for v in ("", False, 0) if not neutral]
        shown = {f"{endpoint}: {name} {str(v)[:20]} {type(v).__name__}": v for v in others}
        found += [(s, endpoint, {**plain, name: v}, UNSUPPORTED, name) for s, v in shown.items()]
    own = (
        ("prompt", "suffix")
        if endpoint == "chat"
        else (
            "messages",
            "max_completion_tokens",
            "tools",
            "tool_choice",
            "modalities",
            "top_logprobs",
        )
    )
    for name in ("top_a", "Temperature", "temperature ", "", "stop_sequences", "extra_body", *own):
        for value in (None, 0):
            found.append(
                (f"{endpoint}: unknown {name!r} {value}", endpoint, {**plain, name: value}, UNSUPPORTED, name)
            )
    for name, options, error in (
        ("include_usage", {"include_usage": 1}, TYPE),
        ("continuous_usage_stats", {"continuous_usage_stats": "yes"}, TYPE),
        ("include_obfuscation", {"include_obfuscation": True}, UNSUPPORTED),
        ("more", {"more": False}, UNSUPPORTED),
        ("nothing", {"nothing": None}, UNSUPPORTED),
    ):
        body = {**plain, "stream": True, "stream_options": options}
        found.append((f"{endpoint}: option {name}", endpoint, body, error, f"stream_options.{name}"))
    for stream in (False, None):
        body = {**plain, "stream": stream, "stream_options": {"include_usage": True}}
        found.append((f"{endpoint}: stream_options, stream {stream}", endpoint, body, TYPE, "stream_options"))
    found += [
        (
            f"{endpoint}: model missing",
            endpoint,
            {k: v for k, v in plain.items() if k != "model"},
            TYPE,
            "model",
        ),
        (f"{endpoint}: model null", endpoint, {**plain, "model": None}, TYPE, "model"),
        (f"{endpoint}: model empty", endpoint, {**plain, "model": ""}, TYPE, "model"),
        (f"{endpoint}: label in metadata", endpoint, {**plain, "metadata": {"a": 1}}, TYPE, "metadata.a"),
        (f"{endpoint}: stop names a mark", endpoint, {**plain, "stop": "<end>"}, INPUT, None),
        (f"{endpoint}: more tokens than room", endpoint, {**plain, "max_tokens": 257}, INPUT, None),
    ]
    return found


def conversations() -> list[Wrong]:
    one = "messages[0]"
    cases: list[tuple[str, Json, str, str | None]] = [
        ("messages missing", {"model": "chat"}, TYPE, "messages"),
        ("messages null", chat(messages=None), TYPE, "messages"),
        ("messages empty", chat(messages=[]), TYPE, "messages"),
        ("messages a text", chat(messages="Hello"), TYPE, "messages"),
        ("messages an object", chat(messages=CHAT["messages"][0]), TYPE, "messages"),
        ("a message null", chat(messages=[None]), TYPE, one),
        ("a message a text", chat(messages=["Hello"]), TYPE, one),
        ("the second message null", chat(messages=[*CHAT["messages"], None]), TYPE, "messages[1]"),
        ("no role", chat(messages=[{"content": "Hello"}]), TYPE, f"{one}.role"),
        ("role in capitals", said("Hello", "User"), TYPE, f"{one}.role"),
        ("role with a space", said("Hello", "user "), TYPE, f"{one}.role"),
        ("role of nobody", said("Hello", "root"), TYPE, f"{one}.role"),
        ("role a number", chat(messages=[{"role": 1, "content": ""}]), TYPE, f"{one}.role"),
        ("role tool", said("4", "tool", tool_call_id="x"), UNSUPPORTED, f"{one}.role"),
        ("role function", said("4", "function"), UNSUPPORTED, f"{one}.role"),
        ("no content", chat(messages=[{"role": "user"}]), TYPE, f"{one}.content"),
        ("content null", said(None), TYPE, f"{one}.content"),
        ("content null of an answer", said(None, "assistant"), TYPE, f"{one}.content"),
        ("content a number", said(1), TYPE, f"{one}.content"),
        ("content an object", said(part("Hello")), TYPE, f"{one}.content"),
        ("no parts", said([]), TYPE, f"{one}.content"),
        ("a part a text", said(["Hello"]), TYPE, f"{one}.content[0]"),
        ("a part null", said([None]), TYPE, f"{one}.content[0]"),
        ("a part without type", said([{"text": "Hello"}]), TYPE, f"{one}.content[0].type"),
        ("a part without text", said([{"type": "text"}]), TYPE, f"{one}.content[0].text"),
        ("a part's text null", said([part(None)]), TYPE, f"{one}.content[0].text"),
        ("a part's text a list", said([part(["Hello"])]), TYPE, f"{one}.content[0].text"),
        (
            "a refusal part",
            said([{"type": "refusal", "refusal": "no"}]),
            UNSUPPORTED,
            f"{one}.content[0].type",
        ),
        (
            "an image",
            said([part("Hello"), {"type": "image_url", "image_url": {"url": "x"}}]),
            UNSUPPORTED,
            f"{one}.content[1].type",
        ),
        (
            "a part with more",
            said([part("Hello", cache_control={})]),
            UNSUPPORTED,
            f"{one}.content[0].cache_control",
        ),
        *(
            (f"message with {name}", said("Hello", **{name: "x"}), UNSUPPORTED, f"{one}.{name}")
            for name in (
                "name",
                "refusal",
                "audio",
                "function_call",
                "tool_call_id",
                "reasoning",
                "reasoning_content",
            )
        ),
        (
            "message with tool_calls",
            said("", "assistant", tool_calls=[{"id": "x"}]),
            UNSUPPORTED,
            f"{one}.tool_calls",
        ),
        (
            "message with annotations",
            said("", "assistant", annotations=[{}]),
            UNSUPPORTED,
            f"{one}.annotations",
        ),
        ("message with an empty name", said("Hello", name=""), UNSUPPORTED, f"{one}.name"),
        ("message with something else", said("Hello", weight=1), UNSUPPORTED, f"{one}.weight"),
        ("message with something else null", said("Hello", weight=None), UNSUPPORTED, f"{one}.weight"),
        ("both of two numbers", chat(max_tokens=9, max_completion_tokens=8), TYPE, "max_completion_tokens"),
        ("max_completion_tokens 0", chat(max_completion_tokens=0), TYPE, "max_completion_tokens"),
        ("longer than the context", said("x" * 256), INPUT, None),
        ("much longer than the context", said("x" * 5000), LIMIT, None),
        ("best_of more than 1", chat(n=2, best_of=2), UNSUPPORTED, "best_of"),
    ]
    return [(f"chat: {name}", "chat", body, error, param) for name, body, error, param in cases]


def prompts() -> list[Wrong]:
    cases: list[tuple[str, Json, str, str | None]] = [
        ("prompt missing", {"model": "chat"}, TYPE, "prompt"),
        ("prompt null", text(prompt=None), TYPE, "prompt"),
        ("prompt a number", text(prompt=1), TYPE, "prompt"),
        ("prompt an object", text(prompt={}), TYPE, "prompt"),
        ("prompt empty", text(prompt=""), INPUT, None),
        ("no token ids", text(prompt=[]), INPUT, None),
        ("no token ids in an array", text(prompt=[[]]), INPUT, None),
        ("two texts", text(prompt=["Once", "upon"]), UNSUPPORTED, "prompt"),
        ("two arrays of token ids", text(prompt=[[1], [2]]), UNSUPPORTED, "prompt"),
        ("a text and a token id", text(prompt=["Once", 1]), UNSUPPORTED, "prompt"),
        ("an array three deep", text(prompt=[[[1]]]), UNSUPPORTED, "prompt"),
        ("token id null", text(prompt=[None]), TYPE, "prompt[0]"),
        ("token id true", text(prompt=[1, True]), TYPE, "prompt[1]"),
        ("token id with a fraction", text(prompt=[1.0]), TYPE, "prompt[0]"),
        ("token id -1", text(prompt=[-1]), TYPE, "prompt[0]"),
        ("token id 2^31", text(prompt=[2**31]), TYPE, "prompt[0]"),
        ("token id 260", text(prompt=[260]), INPUT, None),
        ("257 token ids", text(prompt=[1] * 257, max_tokens=1), LIMIT, None),
        ("longer than the context", text(prompt="x" * 256), INPUT, None),
        ("best_of more than n", text(n=2, best_of=3), UNSUPPORTED, "best_of"),
        ("best_of less than n", text(n=2, best_of=1), UNSUPPORTED, "best_of"),
        ("best_of a text", text(best_of="1"), TYPE, "best_of"),
    ]
    return [(f"completions: {name}", "completions", body, error, param) for name, body, error, param in cases]


def wrong() -> list[tuple[str, str, list[tuple[bytes, int]], str, str | None]]:
    """Name, endpoint, pieces of the body with how often each occurs, error, param."""
    found = [
        (name, endpoint, [(dumped(body), 1)], error, param)
        for name, endpoint, body, error, param in (
            *values("chat", CHAT),
            *values("completions", TEXT),
            *conversations(),
            *prompts(),
        )
    ]
    message = b'{"role":"user","content":""}'
    many = [(b'{"model":"chat","messages":[' + message, 1), (b"," + message, 1024), (b"]}", 1)]
    found.append(("chat: 1025 messages", "chat", many, LIMIT, None))
    return [*found, *((f"json: {name}", "chat", data, error, None) for name, data, error in texts_of_json())]
