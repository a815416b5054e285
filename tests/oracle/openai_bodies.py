"""Right bodies: those that mean requests.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from typing import Any

Json = Any
CHAT: dict[str, Json] = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
TEXT: dict[str, Json] = {"model": "chat", "prompt": "Once"}


def chat(**fields: Json) -> Json:
    return {**CHAT, **fields}


def text(**fields: Json) -> Json:
    return {**TEXT, **fields}


def said(content: Json, role: str = "user", **fields: Json) -> Json:
    return chat(messages=[{"role": role, "content": content, **fields}])


def part(words: Json, **fields: Json) -> Json:
    return {"type": "text", "text": words, **fields}


# -- right -------------------------------------------------------------------------------------------------
NULLS = (
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "stop",
    "n",
    "ignore_eos",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
)
BOTH: dict[str, tuple[Json, ...]] = {
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "min_p"), (0, 0.0, -0.0)),
    **dict.fromkeys(("min_tokens", "priority"), (0,)),
    "length_penalty": (1, 1.0),
    "logit_bias": ({},),
    **{name: ([],) for name in ("bad_words", "logits_processors", "stop_token_ids")},
    **dict.fromkeys(
        (
            "store",
            "echo",
            "use_beam_search",
            "include_stop_str_in_output",
            "return_token_ids",
            "return_tokens_as_token_ids",
        ),
        (False,),
    ),
    **dict.fromkeys(("skip_special_tokens", "spaces_between_special_tokens"), (True,)),
    "service_tier": ("auto", "default"),
    "response_format": ({"type": "text"},),
    **dict.fromkeys(
        (
            "allowed_token_ids",
            "cache_salt",
            "guided_choice",
            "guided_decoding_backend",
            "guided_grammar",
            "guided_json",
            "guided_regex",
            "prompt_logprobs",
            "structured_outputs",
            "truncate_prompt_tokens",
        ),
        (),
    ),
}
OF_CHAT: dict[str, tuple[Json, ...]] = {
    **BOTH,
    **dict.fromkeys(("logprobs", "continue_final_message", "add_special_tokens"), (False,)),
    "add_generation_prompt": (True,),
    "top_logprobs": (0,),
    "best_of": (1,),
    **{name: ([],) for name in ("tools", "functions", "documents")},
    **dict.fromkeys(("tool_choice", "function_call"), ("none", "auto")),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "chat_template_kwargs": ({},),
    **dict.fromkeys(
        (
            "audio",
            "chat_template",
            "prediction",
            "prompt_cache_retention",
            "reasoning_effort",
            "web_search_options",
        ),
        (),
    ),
}
OF_TEXT: dict[str, tuple[Json, ...]] = {
    **BOTH,
    "best_of": (1,),
    "suffix": ("",),
    "add_special_tokens": (True,),
    "logprobs": (),
    "prompt_embeds": (),
}


def first(values: tuple[Json, ...]) -> Json:
    return values[0] if values else None


def right() -> dict[str, tuple[str, Json]]:
    """Endpoint and body by name."""
    full = {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "repetition_penalty": 1.1,
        "max_tokens": 7,
        "seed": 11,
        "stop": ["\n\n", "é"],
        "n": 3,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {
            "include_usage": True,
            "continuous_usage_stats": False,
            "include_obfuscation": False,
        },
        "user": "somebody",
        "metadata": {"a": "b"},
        "safety_identifier": "x",
        "prompt_cache_key": "y",
    }
    user = {"role": "user", "content": "Hello"}
    answered: dict[str, Json] = {
        "role": "assistant",
        "content": "Hi.",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "name": None,
        "tool_call_id": None,
        "reasoning": None,
        "reasoning_content": None,
    }
    conversations = {
        "a system message": [{"role": "system", "content": "Be kind."}, user],
        "an empty system message": [{"role": "system", "content": ""}, user],
        "a developer's message": [{"role": "developer", "content": "Be kind."}, user],
        "an answer in between": [user, answered, {"role": "user", "content": "And now?"}],
        "an answer at the end": [user, {"role": "assistant", "content": "Hi"}],
        "a system message later": [user, {"role": "system", "content": "Be kind."}, user],
    }
    chats = {
        "nothing but messages": CHAT,
        "everything": chat(**full),
        "everything null": chat(**dict.fromkeys((*NULLS, *OF_CHAT))),
        "everything neutral": chat(**{name: first(values) for name, values in OF_CHAT.items()}),
        "keys in another order": dict(reversed(chat(**full).items())),
        **{name: chat(messages=m) for name, m in conversations.items()},
        "one text part": said([part("Hello")]),
        "two text parts": said([part("Hello", cache_control=None), part("you")]),
        "the name of a mark in a message": said("the mark <a> and <end>"),
        "letters of many kinds": said("é e\u0301 \ufb01 😀 \u0000\u2028 ß"),
        "white space around": said("  \n Hello \t\n"),
        "temperature 0": chat(temperature=0),
        "temperature -0": chat(temperature=-0.0),
        "temperature 1 as a number": chat(temperature=1.0),
        "temperature 2 as an integer": chat(temperature=2),
        "temperature of 17 digits": chat(temperature=0.30000000000000004),
        "temperature between two binary32 numbers": chat(temperature=1.00000005960464477539),
        "temperature just above the middle": chat(temperature=1.000000059604644775390627),
        "temperature below the least binary32": chat(temperature=1e-60),
        "temperature of 2^63 - 1": chat(temperature=2**63 - 1),
        "top_k -1": chat(top_k=-1),
        "top_k 0": chat(top_k=0),
        "greatest top_k": chat(top_k=2**31 - 1),
        "seed 0": chat(seed=0),
        "seed -1": chat(seed=-1),
        "least seed": chat(seed=-(2**63)),
        "greatest seed": chat(seed=2**63 - 1),
        "one stop string": chat(stop="END"),
        "no stop strings": chat(stop=[]),
        "16 stop strings of 256 bytes": chat(stop=["é" * 128] * 16),
        "max_completion_tokens": chat(max_completion_tokens=9),
        "both of one number": chat(max_completion_tokens=9, max_tokens=9),
        "128 choices": chat(n=128),
        "a null among messages' fields": said("Hello", name=None, tool_calls=[]),
    }
    texts = {
        "a text": TEXT,
        "everything": text(**full),
        "everything null": text(
            **dict.fromkeys(n for n in (*NULLS, *OF_TEXT) if n != "max_completion_tokens")
        ),
        "everything neutral": text(**{name: first(values) for name, values in OF_TEXT.items()}),
        "a text in an array": text(prompt=["Once"]),
        "token ids": text(prompt=[256, 79, 258, 0, 259]),
        "token ids in an array": text(prompt=[[79, 110]]),
        "one token id": text(prompt=[257]),
        "the name of a mark": text(prompt="Once <a>"),
        "less room than 16": text(prompt="x" * 245),
        "no room but for one": text(prompt="x" * 255),
        "best of n": text(n=3, best_of=3),
    }
    found = {f"chat: {name}": ("chat", body) for name, body in chats.items()}
    found |= {f"completions: {name}": ("completions", body) for name, body in texts.items()}
    for endpoint, plain, table in (("chat", CHAT, OF_CHAT), ("completions", TEXT, OF_TEXT)):
        for name, values in table.items():
            for value in values[1:]:
                found[f"{endpoint}: {name} {value}"] = (endpoint, {**plain, name: value})
    return found
