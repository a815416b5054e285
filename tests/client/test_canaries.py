"""Canaries look like traffic: by what clients differ in, and not by what would give an audit away."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random, SystemRandom
from typing import Any

import pytest

from client.standin import NAME
from proofcompute.client.canaries import Canary, Traffic
from proofcompute.client.lookalike import encoded
from proofcompute.errors import InputError


def drawn(n: int, seed: int = 0, **options: Any) -> list[Canary]:
    traffic = Traffic(NAME, **{"chat": True, "draw": Random(seed), **options})
    return [traffic.next() for _ in range(n)]


def bodies(canaries: Sequence[Canary]) -> list[dict[str, Any]]:
    return [json.loads(c.body) for c in canaries]


# -- traffic that was recorded -------------------------------------------------------------------------------
def recorded(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Requests of some service: long and short ones, with parameters that have little to do with ours."""
    draw, found = Random(seed), []
    for i in range(n):
        turns = 1 + 2 * int(draw.expovariate(1.2))
        words = [str(int(draw.lognormvariate(6, 2))) for _ in range(1 + int(draw.lognormvariate(2.5, 1.0)))]
        body: dict[str, Any] = {
            "messages": [
                {"role": "assistant" if t % 2 else "user", "content": f"{i} " + " ".join(words)}
                for t in range(turns)
            ],
            "model": "whatever",
        }
        for name, value, share in (
            ("stream", True, 0.8),
            ("temperature", draw.choice((0.15, 0.6, 1.3)), 0.4),
            ("max_tokens", int(draw.lognormvariate(5, 1)) + 1, 0.5),
            ("top_k", 40, 0.1),
            ("user", f"u{i % 7}", 0.3),
        ):
            if draw.random() < share:
                body[name] = value
        found.append(body)
    return found


def features(body: Mapping[str, Any]) -> dict[str, float]:
    """What a node can see of a body at a glance."""
    seen = {f"has {name}": 1.0 for name in body}
    seen |= {name: float(v) for name, v in body.items() if isinstance(v, int | float)}
    talk = body.get("messages") or [{"content": body.get("prompt", "")}]
    seen |= {"bytes": float(len(encoded(body))), "turns": float(len(talk)), "fields": float(len(body))}
    return seen | {"first": float(len(talk[0]["content"])), "last": float(len(talk[-1]["content"]))}


def told_apart(ones: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> float:
    """How often the best threshold of one feature is right: found on one half, measured on the other."""
    seen = [(features(b), True) for b in ones] + [(features(b), False) for b in others]
    learn, test = seen[::2], seen[1::2]

    def right(sample: Any, name: str, at: float, above: bool) -> float:
        hits: int = sum(((f.get(name, -1.0) > at) == above) == one for f, one in sample)
        return hits / len(sample)

    rules = [
        (right(learn, name, at, above), name, at, above)
        for name in {n for f, _ in learn for n in f}
        for at in {f.get(name, -1.0) for f, _ in learn}
        for above in (False, True)
    ]
    _, name, at, above = max(rules)
    return right(test, name, at, above)


CHANCE = 0.6
"""What no rule of one feature reaches by luck on 120 requests, but in one case of 100."""


def test_recorded_requests_and_canaries_from_them_are_not_told_apart() -> None:
    real = recorded(240)
    canaries = bodies(drawn(120, bodies=real))
    sent = {encoded({**c, "model": ""}) for c in canaries}
    rest = [b for b in real if encoded({**b, "model": ""}) not in sent]
    assert (len(rest), len(canaries)) == (120, 120)
    assert told_apart([{**c, "model": ""} for c in canaries], [{**b, "model": ""} for b in rest]) < CHANCE


def test_canaries_that_are_written_are_told_apart_from_other_traffic_at_once() -> None:
    """The classifier is worth something; and so is a file of real requests."""
    assert told_apart(bodies(drawn(120)), recorded(120)) > CHANCE + 0.05


def test_recorded_requests_are_sent_as_they_are_once_and_in_no_order() -> None:
    real = recorded(50)
    canaries = drawn(50, bodies=[*real, *real])
    wanted = {encoded({**b, "model": NAME}) for b in real}
    assert {c.body for c in canaries} == wanted
    order = [json.loads(c.body)["messages"][0]["content"].split()[0] for c in canaries]
    assert order not in (sorted(order, key=int), sorted(order, key=int, reverse=True))
    traffic = Traffic(NAME, chat=True, bodies=real, sent={c.name for c in canaries[:49]})
    assert traffic.left == 1
    assert traffic.next().body == canaries[49].body
    with pytest.raises(InputError, match="no recorded request is left"):
        traffic.next()


def test_recorded_requests_of_both_kinds_go_where_they_belong() -> None:
    made = drawn(2, bodies=[{"prompt": "x"}, {"messages": [{"role": "user", "content": "x"}]}])
    assert {(c.endpoint, "prompt" in json.loads(c.body)) for c in made} == {
        ("completions", True),
        ("chat", False),
    }
    for body in ({}, {"prompt": "x", "messages": []}):
        with pytest.raises(InputError, match="recorded request 2"):
            Traffic(NAME, chat=True, bodies=[{"prompt": "x"}, body])


def test_a_limit_leaves_recorded_requests_out_and_changes_none() -> None:
    real: list[dict[str, object]] = [
        {"prompt": "a", "max_tokens": 9},
        {"prompt": "b", "max_tokens": 10},
        {"prompt": "c", "max_completion_tokens": 9},
        {"prompt": "d"},
        {"prompt": "e", "max_tokens": None},
        {"prompt": "f", "max_tokens": True},
        {"prompt": "g", "max_tokens": "9"},
        {"prompt": "h", "max_tokens": None, "max_completion_tokens": 3},
    ]
    traffic = Traffic(NAME, chat=True, bodies=real, max_tokens=9)
    assert traffic.left == 3
    assert {json.loads(traffic.next().body)["prompt"] for _ in range(3)} == {"a", "c", "h"}


# -- traffic that is written ---------------------------------------------------------------------------------
WRITTEN = drawn(600)


def test_no_prompt_is_written_twice() -> None:
    prompts = [json.dumps(b["messages"]) for b in bodies(WRITTEN)]
    assert len(set(prompts)) > 0.99 * len(prompts)
    assert len({c.name for c in WRITTEN}) == len(WRITTEN)


SHARES: dict[str, tuple[Callable[[Any], bool], float, float]] = {
    "streams": (lambda b: b.get("stream") is True, 0.5, 0.7),
    "a temperature": (lambda b: "temperature" in b, 0.5, 0.7),
    "no limit": (lambda b: "max_tokens" not in b and "max_completion_tokens" not in b, 0.2, 0.4),
    "a system message": (lambda b: b["messages"][0]["role"] == "system", 0.35, 0.55),
    "several turns": (lambda b: len([m for m in b["messages"] if m["role"] != "system"]) > 1, 0.1, 0.3),
    "a long prompt": (lambda b: len(json.dumps(b["messages"])) > 600, 0.1, 0.5),
    "a short prompt": (lambda b: len(json.dumps(b["messages"])) < 200, 0.1, 0.6),
    "a seed": (lambda b: "seed" in b, 0.03, 0.12),
    "a stop string": (lambda b: "stop" in b, 0.05, 0.16),
}


@pytest.mark.parametrize("name", SHARES)
def test_canaries_differ_in_what_clients_differ_in(name: str) -> None:
    found, least, most = SHARES[name]
    assert least < sum(map(found, bodies(WRITTEN))) / len(WRITTEN) < most


def test_the_same_parameters_do_not_come_again_and_again() -> None:
    """A node that knows this file can tell how canaries are drawn, but no combination gives one away."""
    forms = Counter(
        json.dumps({k: v for k, v in b.items() if k != "messages"}, sort_keys=True) for b in bodies(WRITTEN)
    )
    assert max(forms.values()) < 0.06 * len(WRITTEN)
    assert len({b.get("temperature") for b in bodies(WRITTEN)}) > 8
    assert len({b.get("max_tokens") for b in bodies(WRITTEN)}) > 12


def test_limits_of_canaries_are_those_that_people_write() -> None:
    """A limit drawn evenly, such as 37, would be nobody's."""
    asked = [b.get("max_tokens", b.get("max_completion_tokens")) for b in bodies(drawn(200, max_tokens=70))]
    assert set(asked) == {8, 16, 32, 50, 64}
    assert {b.get("max_tokens") for b in bodies(drawn(20, max_tokens=3, chat=False))} == {3}


def test_who_chooses_the_nonce_is_drawn_too() -> None:
    by = Counter(c.nonce_by for c in WRITTEN)
    assert min(by.values()) > 0.4 * len(WRITTEN)
    assert {c.nonce_by for c in drawn(20, nonce_by="node")} == {"node"}


def test_one_client_sends_all_canaries_of_an_audit() -> None:
    said = [dict(c.headers) for c in WRITTEN]
    for name in ("x-stainless-os", "x-stainless-runtime-version", "authorization"):
        assert len({s[name] for s in said}) == 1
    assert len({dict(drawn(1, seed)[0].headers)["x-stainless-os"] for seed in range(40)}) > 1


def test_pauses_are_those_of_independent_clients() -> None:
    assert {c.pause for c in WRITTEN} == {0.0}
    pauses = [c.pause for c in drawn(2000, interval=10.0)]
    assert 9 < sum(pauses) / len(pauses) < 11
    assert 0.34 < sum(p > 10 for p in pauses) / len(pauses) < 0.40  # exp(-1) = 0.368


def test_nobody_can_guess_what_comes() -> None:
    """The draws are the operating system's, which no seed and no earlier canary gives away."""
    random.seed(0)
    first = Traffic(NAME, chat=True)
    random.seed(0)
    second = Traffic(NAME, chat=True)
    assert type(first._draw) is SystemRandom
    assert [first.next().body for _ in range(5)] != [second.next().body for _ in range(5)]
    assert [c.body for c in drawn(5, 3)] == [c.body for c in drawn(5, 3)]
