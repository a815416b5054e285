"""List the parameters of a body: those that are used, and the neutral values of all others
(docs/spec/openai.md#parameters).

A value is neutral if the answer without the parameter is the answer that it asks for. Whoever wants anything
else must be told so, because a receipt would say that the answer was computed as asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from proofcompute.encoding.strict_json import MAX_INTEGER, MIN_INTEGER, Json
from proofcompute.limits import MAX_CHOICES, MAX_ROWS, MAX_STOP, MAX_STOPS
from proofcompute.openai.errors import ParameterError, UnsupportedParameterError

__all__ = [
    "Endpoint",
    "as_bool",
    "as_int",
    "as_number",
    "as_object",
    "as_text",
    "used",
]

Endpoint: TypeAlias = Literal["chat", "completions", "embeddings"]
"""Which body it is: that of ``/v1/chat/completions``, ``/v1/completions`` or ``/v1/embeddings``."""
MAX_TOP_K: Final = 2**31 - 1
MAX_LABEL: Final = 1 << 10
"""Characters of a label that does not matter, such as ``user``, and of a model's name."""
_MAX_SHOWN: Final = 64
"""Characters of an unknown parameter's name that an error repeats."""


# -- types -------------------------------------------------------------------------------------------------
def as_bool(value: Json, param: str) -> bool:
    """Return a truth value. Raises ParameterError for any other type, as all of these functions do."""
    if not isinstance(value, bool):
        raise _wrong(value, param, "true or false")
    return value


def as_int(value: Json, param: str, least: int = MIN_INTEGER, most: int = MAX_INTEGER) -> int:
    """Return an integer in a range; a number with a fraction or an exponent is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, param, "an integer")
    if not least <= value <= most:
        raise ParameterError(param, f"must be an integer from {least} to {most}, not {value}")
    return value


def as_number(value: Json, param: str) -> float:
    """Return a number as binary64; an integer becomes the nearest one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, param, "a number")
    return float(value)


def as_text(value: Json, param: str, most: int | None = None) -> str:
    """Return a text of at most ``most`` characters."""
    if not isinstance(value, str):
        raise _wrong(value, param, "a text")
    if most is not None and len(value) > most:
        raise ParameterError(param, f"has {len(value)} characters, the limit is {most}")
    return value


def as_object(value: Json, param: str) -> dict[str, Json]:
    """Return an object."""
    if not isinstance(value, dict):
        raise _wrong(value, param, "an object")
    return value


def _wrong(value: Json, param: str, wanted: str) -> ParameterError:
    return ParameterError(param, f"must be {wanted}, not {_KINDS.get(type(value), type(value).__name__)}")


_KINDS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    list: "an array",
    dict: "an object",
}


def _stops(value: Json, param: str) -> tuple[str, ...]:
    """One stop string, or an array of them."""
    stops = value if isinstance(value, list) else [value]
    if len(stops) > MAX_STOPS:
        raise ParameterError(param, f"has {len(stops)} stop strings, the limit is {MAX_STOPS}")
    found = tuple(as_text(stop, param) for stop in stops)
    if not all(1 <= len(stop.encode("utf-8", "surrogatepass")) <= MAX_STOP for stop in found):
        raise ParameterError(param, f"a stop string has 1 to {MAX_STOP} bytes")
    return found


def _stream_options(value: Json, param: str) -> dict[str, object]:
    options = as_object(value, param)
    found: dict[str, object] = {}
    for name, option in options.items():
        where = f"{param}.{name[:_MAX_SHOWN]}"
        if name in ("include_usage", "continuous_usage_stats"):
            found[name] = option is not None and as_bool(option, where)
        elif name == "include_obfuscation":
            if option is not None and as_bool(option, where):
                raise UnsupportedParameterError(where, "is not supported")
        else:
            raise UnsupportedParameterError(where, "is not a parameter that is known here")
    return found


def _metadata(value: Json, param: str) -> None:
    for name, text in as_object(value, param).items():
        as_text(text, f"{param}.{name[:_MAX_SHOWN]}", MAX_LABEL)


def _label(value: Json, param: str) -> None:
    as_text(value, param, MAX_LABEL)


def _as_is(value: Json, param: str) -> Json:
    """What is read elsewhere."""
    return value


def _top_k(value: Json, param: str) -> int:
    return max(0, as_int(value, param, -1, MAX_TOP_K))  # -1 keeps all, as 0 does


def _length(value: Json, param: str) -> int:
    return as_int(value, param, 1, MAX_ROWS)


# -- the tables --------------------------------------------------------------------------------------------
_Reader: TypeAlias = Callable[[Json, str], object]

_USED: Final[Mapping[str, _Reader]] = {
    "model": lambda v, p: as_text(v, p, MAX_LABEL),
    "temperature": as_number,
    "top_p": as_number,
    "top_k": _top_k,
    "repetition_penalty": as_number,
    "max_tokens": _length,
    "seed": as_int,
    "stop": _stops,
    "n": lambda v, p: as_int(v, p, 1, MAX_CHOICES),
    "ignore_eos": as_bool,
    "stream": as_bool,
    "stream_options": _stream_options,
}
"""Parameters that the request or the form of the response follows from."""
_USED_BY: Final[Mapping[Endpoint, Mapping[str, _Reader]]] = {
    "chat": {**_USED, "messages": _as_is, "max_completion_tokens": _length},
    "completions": {**_USED, "prompt": _as_is, "best_of": lambda v, p: as_int(v, p, 1, MAX_CHOICES)},
    "embeddings": {"model": _USED["model"], "input": _as_is, "encoding_format": as_text},
}
_LABELS: Final[Mapping[str, _Reader]] = {
    "user": _label,
    "safety_identifier": _label,
    "prompt_cache_key": _label,
    "metadata": _metadata,
}
"""Parameters that may have any value of their type, since they ask for nothing."""

_Neutral: TypeAlias = tuple[Json, ...]
_NEUTRAL: Final[Mapping[str, _Neutral]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    # of other servers with this interface
    "add_special_tokens": (),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "cache_salt": (),
    "guided_choice": (),
    "guided_decoding_backend": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "min_p": (0,),
    "min_tokens": (0,),
    "priority": (0,),
    "prompt_logprobs": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_token_ids": ([],),
    "structured_outputs": (),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
}
"""The values of parameters, besides null, that ask for what happens without them."""
_NEUTRAL_BY: Final[Mapping[Endpoint, Mapping[str, _Neutral]]] = {
    "chat": {
        **_NEUTRAL,
        "add_generation_prompt": (True,),
        "add_special_tokens": (False,),
        "audio": (),
        "best_of": (1,),
        "chat_template": (),
        "chat_template_kwargs": ({},),
        "continue_final_message": (False,),
        "documents": ([],),
        "echo": (False,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logprobs": (False,),
        "modalities": (["text"],),
        "parallel_tool_calls": (True, False),
        "prediction": (),
        "prompt_cache_retention": (),
        "reasoning_effort": (),
        "response_format": ({"type": "text"},),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
        "web_search_options": (),
    },
    "completions": {
        **_NEUTRAL,
        "add_special_tokens": (True,),
        "echo": (False,),
        "logprobs": (),
        "prompt_embeds": (),
        "response_format": ({"type": "text"},),
        "suffix": ("",),
    },
    "embeddings": {
        "add_special_tokens": (True,),
        "dimensions": (),
        "embed_dtype": ("float32",),
        "encoding_format": (),
        "normalize": (),
        "priority": (0,),
        "truncate_prompt_tokens": (),
    },
}


def used(body: Mapping[str, Json], endpoint: Endpoint) -> dict[str, object]:
    """Return the parameters of a body that are used and not null, read as their types.

    Raises UnsupportedParameterError for one that is unknown or has a value that is not neutral, and
    ParameterError for one of the wrong type or outside its range.
    """
    readers, neutral = _USED_BY[endpoint], _NEUTRAL_BY[endpoint]
    found: dict[str, object] = {}
    for name, value in body.items():
        if name in readers:
            if value is not None:
                found[name] = readers[name](value, name)
        elif name in _LABELS:
            if value is not None:
                _LABELS[name](value, name)
        elif name not in neutral:
            raise UnsupportedParameterError(name[:_MAX_SHOWN], "is not a parameter that is known here")
        elif value is not None and not any(_same(value, n) for n in neutral[name]):
            raise UnsupportedParameterError(name, "has a value that is not supported; leave it out")
    return found


def _same(a: Json, b: Json) -> bool:
    """Return whether two values of JSON are equal; true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b
