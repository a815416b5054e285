"""Any bytes give requests or a typed error, and the same bytes give the same requests anywhere."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from binding.setting import LIMIT, body_of, card, prompter
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.openai import (
    Endpoint,
    ParameterError,
    UnsupportedParameterError,
    call_of,
    read_json,
    request_of,
)
from proofcompute.openai.parameters import _LABELS, _NEUTRAL_BY, _USED_BY
from proofcompute.tokens import Prompter

NONCE, NODE, DAY = bytes(range(32)), bytes(range(1, 33)), date(2026, 11, 30)
ENDPOINTS: tuple[Endpoint, ...] = ("chat", "completions")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 2),
    texts,
    st.sampled_from(["user", "system", "text", "auto", "none", "<a>", "END"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
parts = st.fixed_dictionaries({"type": st.just("text"), "text": texts})
messages: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "system", "developer", "assistant"]),
            "content": texts | st.lists(parts),
        },
        optional={"name": st.none(), "tool_calls": st.just([])},
    ),
    min_size=1,
    max_size=3,
)
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "messages": messages,
    "prompt": texts | st.lists(st.integers(0, 259), min_size=1, max_size=9),
    "temperature": st.floats(0, 2) | st.integers(0, 2),
    "top_p": st.floats(0.0001, 1),
    "top_k": st.integers(-1, 50),
    "max_tokens": st.integers(1, 20),
    "seed": st.integers(-(2**63), 2**63 - 1),
    "stop": texts | st.lists(texts, max_size=3),
    "n": st.integers(1, 3),
    "ignore_eos": st.booleans(),
    "stream": st.booleans(),
    "user": texts,
}


@st.composite
def bodies(draw: st.DrawFn, endpoint: Endpoint) -> bytes:
    """Bodies of which many mean something, and many have one or more values of any kind."""
    names = sorted({*_USED_BY[endpoint], *_LABELS, *_NEUTRAL_BY[endpoint]})
    known = [name for name in names if name in SENSIBLE]
    body: dict[str, Any] = {"model": "chat", "messages" if endpoint == "chat" else "prompt": None}
    for name in [*list(body)[1:], *draw(st.lists(st.sampled_from(known), max_size=4))]:
        body[name] = draw(SENSIBLE[name])
    for name in draw(st.lists(st.sampled_from(names) | texts, max_size=2)):
        body[name] = draw(values)
    items = draw(st.permutations(list(body.items())))
    return json.dumps(dict(items), ensure_ascii=draw(st.booleans())).encode()


def outcome(data: bytes, endpoint: Endpoint) -> tuple[str, ...]:
    """Digests of all requests, or the name of the error and what it says."""
    try:
        call = call_of(read_json(data, LIMIT), endpoint=endpoint)
        made = call.requests(prompter(), nonce=NONCE, date=DAY, node=NODE)
    except InputError as e:
        return (type(e).__name__, str(e))
    return tuple(r.digest.hex() for r in made)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@given(data=st.data())
def test_a_body_gives_requests_or_a_typed_error(endpoint: Endpoint, data: st.DataObject) -> None:
    body = data.draw(bodies(endpoint))
    found = outcome(body, endpoint)
    assert found == outcome(body, endpoint)
    if len(found[0]) == 64:  # another order of keys means the same
        assert found == outcome(json.dumps(dict(reversed(json.loads(body).items()))).encode(), endpoint)


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0d8eE+-.truefalsn19 ', max_size=60).map(str.encode))
@example(b'{"a":"\\ud83d\\ude00"}')
@example(b'{"a":"\xf0\x9f\x98\x80"}')
def test_bytes_are_json_or_a_typed_error(data: bytes) -> None:
    try:
        found = read_json(data, 50)
    except (FormatError, LimitError):
        return
    assert len(data) <= 50
    assert found == json.loads(data)
    assert isinstance(found, dict)


@given(st.dictionaries(texts, values, max_size=4), st.booleans(), st.sampled_from([None, 2]))
def test_json_is_read_as_others_read_it(value: Any, ascii_only: bool, indent: int | None) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert read_json(data, len(data)) == value
    with pytest.raises(LimitError, match="bytes"):
        read_json(data, len(data) - 1)


def test_depth_is_counted_outside_of_texts() -> None:
    deepest = b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"
    assert read_json(deepest, 1000)
    with pytest.raises(LimitError, match="deeper"):
        read_json(deepest.replace(b"[]", b"[[]]"), 1000)
    brackets = b'{"a":"' + b"[{" * 100 + b'\\"' + b"[" * 100 + b'\\\\","b":[]}'
    assert read_json(brackets, 1000)["b"] == []


@pytest.mark.parametrize("value", ["x", None, 1, bytearray(b"{}")])
def test_only_bytes_are_json(value: Any) -> None:
    with pytest.raises(InputError):
        read_json(value, 10)


# -- numbers -------------------------------------------------------------------------------------------------
@given(st.floats(0, 3.4e38, allow_nan=False) | st.integers(0, 2**63 - 1))
def test_settings_are_the_nearest_binary32(value: float) -> None:
    call = call_of(read_json(body_of(prompt="x", temperature=value), LIMIT), endpoint="completions")
    assert call.sampling.temperature == struct.unpack("<f", struct.pack("<f", value))[0]
    assert math.isfinite(call.sampling.temperature)


def test_a_seed_does_not_depend_on_the_nonce_and_its_absence_does() -> None:
    def seeds(nonce: bytes, **more: Any) -> list[bytes]:
        call = call_of(read_json(body_of(prompt="x", n=2, **more), LIMIT), endpoint="completions")
        made = call.requests(prompter(), nonce=nonce, date=DAY)
        assert len({r.draw_seed for r in made}) == 2
        return [r.generation.seed for r in made if r.generation is not None]

    assert len({*seeds(NONCE), *seeds(bytes(32))}) == 2  # the two choices have one seed
    assert len({*seeds(NONCE, seed=5), *seeds(bytes(32), seed=5)}) == 1
    assert seeds(NONCE, seed=5) != seeds(NONCE, seed=6)
    assert seeds(NONCE, seed=None) == seeds(NONCE)


# -- the same anywhere ---------------------------------------------------------------------------------------
SAME: tuple[tuple[Endpoint, bytes], ...] = (
    (
        "chat",
        body_of(messages=[{"role": "user", "content": "Hëllo <a> 😀"}], temperature=0.7, stop=["b", "a"]),
    ),
    ("chat", body_of(messages=[{"role": "system", "content": ""}, {"role": "user", "content": "x"}], seed=3)),
    ("completions", body_of(prompt="Once upon", top_p=0.1, user="u", metadata={"b": "1", "a": "2"})),
)


@pytest.mark.parametrize(
    ("seed", "zone", "locale"), [("1", "Pacific/Kiritimati", "C"), ("2", "Etc/GMT+12", "de_DE.UTF-8")]
)
def test_another_process_finds_the_same_requests(seed: str, zone: str, locale: str) -> None:
    """Hash seed, time zone and language differ; the day does not, since it is an argument."""
    code = (
        "import json, sys\n"
        "from binding.test_properties import SAME, outcome\n"
        "print(json.dumps([outcome(body, endpoint) for endpoint, body in SAME]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale, "LANG": locale}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    here = [list(outcome(body, endpoint)) for endpoint, body in SAME]
    assert json.loads(done.stdout) == here
    assert all(len(found[0]) == 64 for found in here)


def test_a_new_prompter_finds_the_same_requests() -> None:
    """The first prompt of a prompter is tokenised in another way than later ones."""
    for endpoint, body in SAME:
        with Prompter(card()) as fresh:
            call = call_of(read_json(body, LIMIT), endpoint=endpoint)
            made = [
                r.digest.hex()
                for _ in range(3)
                for r in call.requests(fresh, nonce=NONCE, date=DAY, node=NODE)
            ]
        assert set(made) == {*outcome(body, endpoint)}


# -- arguments -----------------------------------------------------------------------------------------------
def request(**changes: Any) -> Any:
    arguments: dict[str, Any] = {"endpoint": "completions", "nonce": NONCE, "date": DAY, **changes}
    return request_of({"model": "chat", "prompt": "x", "n": 2}, prompter(), **arguments)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("date", datetime(2026, 11, 30), "datetime.date"),
        ("date", "2026-11-30", "datetime.date"),
        ("date", None, "datetime.date"),
        ("nonce", bytes(31), "32 bytes"),
        ("nonce", "00" * 32, "bytes"),
        ("node", bytes(31), "31 bytes"),
        ("choice", 2, "2 choices"),
        ("choice", -1, "2 choices"),
        ("choice", True, "integer"),
        ("endpoint", "embeddings", "endpoint"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(name: str, value: Any, said: str) -> None:
    assert request(choice=1).choice == 1
    with pytest.raises(InputError, match=said):
        request(**{name: value})


def test_more_tokens_than_any_request_has() -> None:
    """JSON of so many values is refused before; a caller may have got a body otherwise."""
    with pytest.raises(ParameterError, match="1048577 tokens"):
        call_of({"model": "chat", "prompt": [0] * ((1 << 20) + 1)}, endpoint="completions")


def test_errors_say_where() -> None:
    with pytest.raises(UnsupportedParameterError, match=r"^tools: ") as caught:
        call_of(read_json(body_of(messages=[], tools=[{}]), LIMIT), endpoint="chat")
    assert caught.value.param == "tools"
    talk = [{"role": "user", "content": ""}, {"role": "user"}]
    with pytest.raises(ParameterError, match=r"^messages\[1\].content: ") as missing:
        call_of(read_json(body_of(messages=talk), LIMIT), endpoint="chat")
    assert missing.value.param == "messages[1].content"
    long = "x" * 10_000
    with pytest.raises(UnsupportedParameterError) as unknown:
        call_of(read_json(body_of(**{long: 1}), LIMIT), endpoint="chat")
    assert len(str(unknown.value)) < 200
