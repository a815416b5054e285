"""Answers through a gateway: checked before they end, from another node if one fails, and how sure."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from client.standin import NAME, NODE, model
from gateway.standing import CHAT, IDENTITIES, STREAM, Said, asked, gateway, honest, standing
from proofcompute.client import ProofTransport
from proofcompute.gateway import Gateway, application
from proofcompute.openai import NONCE_HEADER, ProofField, completion_id
from proofcompute.protocol.messages import Receipt

TEXT = {"model": NAME, "prompt": "Once", "max_tokens": 6, "temperature": 0}


def test_a_whole_answer_comes_with_its_assurance() -> None:
    (said,) = asked(gateway({"north": honest("north")}), CHAT)
    assert said.status == 200
    answer, proof = said.json, ProofField.decode(said.json["proofcompute"])
    shown = answer["assurance"]
    assert said.headers["proofcompute-assurance"] == shown["level"] == "receipted"
    assert shown["nonce_by"] == "gateway"
    assert shown["node"] == NODE.public.hex()
    assert shown["request_digests"] == [Receipt.decode(proof.receipt).request_digest.hex()]
    assert answer["id"] == completion_id("chat", Receipt.decode(proof.receipt).request_digest)


def test_a_stream_ends_with_its_assurance() -> None:
    body = {**STREAM, "n": 2, "stream_options": {"include_usage": True}}
    (said,) = asked(gateway({"north": honest("north")}), body)
    events = said.events
    ends = [e for e in events if "proofcompute" in e]
    assert [e["choices"][0]["index"] for e in ends] == [0, 1]
    assert all(e["assurance"]["level"] == "receipted" for e in ends)
    assert not any("assurance" in e for e in events if e not in ends)
    assert said.text


@pytest.mark.parametrize("body", [TEXT, {**TEXT, "stream": True}, {**TEXT, "prompt": [72, 73], "n": 2}])
def test_text_completions_pass(body: dict[str, Any]) -> None:
    (said,) = asked(gateway({"north": honest("north")}), body, path="/v1/completions")
    assert said.status == 200
    assert b"receipted" in said.body


def test_the_clients_nonce_reaches_the_node() -> None:
    nonce = "ab" * 32
    node = honest("north")
    made = gateway({"north": node})
    (said,) = asked(made, CHAT, **{NONCE_HEADER: nonce})
    assert [h["proofcompute-nonce"] for m, _, h, _ in node.asked if m == "POST"] == [nonce]
    assert "assurance" not in said.json  # who sends a nonce checks, and refuses what no receipt binds
    record = made.records.find(said.json["id"])
    assert record is not None
    assert (record.nonce_by, record.nonce.hex(), record.level) == ("client", nonce, "receipted")


def test_the_answers_body_says_its_assurance_as_asked() -> None:
    made = gateway({"north": honest("north")})
    (with_it,) = asked(made, CHAT, **{NONCE_HEADER: "cd" * 32, "Proofcompute-Assurance": "body"})
    assert with_it.json["assurance"]["nonce_by"] == "client"
    (without,) = asked(gateway({"north": honest("north")}), CHAT, **{"Proofcompute-Assurance": "none"})
    assert "assurance" not in without.json
    (wrong,) = asked(gateway({"north": honest("north")}), CHAT, **{"Proofcompute-Assurance": "high"})
    assert wrong.status == 400


def test_assurance_is_found_later_by_either_id() -> None:
    async def look() -> None:
        async with standing(gateway({"north": honest("north")})) as ask:
            said = await ask(CHAT)
            for name in (said.json["id"], said.headers["proofcompute-answer"]):
                found = (await ask(None, f"/v1/assurance/{name}")).json
                assert found["level"] == "receipted"
                (choice,) = found["choices"]
                assert choice["parameters"]["max_tokens"] == 6
                assert len(choice["output_digest"]) == 64
                assert choice["numerics"] == 1
                assert found["nonce"]
                assert found["model_id"] == model().model_id.hex()
            for name in ("0" * 32, "chatcmpl-" + "0" * 64, "chatcmpl-" + "x" * 64):
                assert (await ask(None, f"/v1/assurance/{name}")).status == 404

    asyncio.run(look())


def test_another_node_is_asked_if_one_fails() -> None:
    nodes = {"north": honest("north", status=503), "south": honest("south")}
    for body in (CHAT, STREAM):
        made = gateway(nodes, first="north")
        (said,) = asked(made, body)
        assert said.status == 200
        (record,) = made.records.newest(2)
        assert record.node == "south"
        assert [name for name, _ in record.tried] == ["north"]
        assert made.fleet.members["north"].state == "resting"
        assert record.level == "receipted"


def test_no_more_nodes_are_asked_than_allowed() -> None:
    nodes = {name: honest(name, status=500) for name in IDENTITIES}
    made = gateway(nodes)
    (said,) = asked(made, CHAT)
    assert (said.status, said.json["error"]["code"]) == (503, "no_node")
    assert sum(len([m for m, *_ in n.asked if m == "POST"]) for n in nodes.values()) == 3
    made = gateway({name: honest(name, status=500) for name in IDENTITIES})
    object.__setattr__(made.patience, "attempts", 1)
    (said,) = asked(made, CHAT)
    assert len(made.records.newest(1)[0].tried) == 1


def test_a_question_that_nodes_refuse_is_refused() -> None:
    node = honest("north", status=400)
    (said,) = asked(gateway({"north": node}), CHAT)
    assert (said.status, said.json["error"]["type"]) == (400, "invalid_request_error")
    assert "north" in said.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**CHAT, "model": "other"}, 404),
        ({**CHAT, "tools": [{}]}, 400),
        (b"{", 400),
        ({**CHAT, "messages": []}, 400),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_node_computes(body: Any, status: int) -> None:
    node = honest("north")
    (said,) = asked(gateway({"north": node}), body)
    assert said.status == status
    assert not [m for m, *_ in node.asked if m == "POST"]


def test_a_question_that_does_not_fit_is_the_clients_fault_and_no_other_node_is_asked() -> None:
    nodes = {"north": honest("north"), "south": honest("south")}
    made = gateway(nodes, first="north")
    (said,) = asked(made, {**CHAT, "messages": [{"role": "user", "content": "x" * 2000}]})
    assert (said.status, said.json["error"]["type"]) == (400, "invalid_request_error")
    assert not nodes["south"].asked
    assert [m.state for m in made.fleet.members.values()] == ["asked", "asked"]
    assert [m.live for m in made.fleet.members.values()] == [0, 0]


def test_openais_client_and_a_checking_one_work_through_a_gateway() -> None:
    made = gateway({"north": honest("north")})

    async def use() -> None:
        async with standing(made):
            inner = httpx2.ASGITransport(app=application(made))
            plain = openai.AsyncOpenAI(
                base_url="http://gateway/v1", api_key="x", http_client=httpx2.AsyncClient(transport=inner)
            )
            found = await plain.chat.completions.create(**CHAT)
            assert found.choices[0].message.content
            pieces = [c async for c in await plain.chat.completions.create(**CHAT, stream=True)]
            assert pieces[-1].choices[0].finish_reason
            checking = ProofTransport(
                "http://gateway/v1", model().model_id, inner=inner, node=NODE.public, terms=False
            )
            strict = openai.AsyncOpenAI(
                base_url="http://gateway/v1",
                api_key="x",
                http_client=httpx2.AsyncClient(transport=checking),
            )
            assert (await strict.chat.completions.create(**CHAT)).choices
            assert [c async for c in await strict.chat.completions.create(**CHAT, stream=True)]
            assert len(checking.checked) == 2

    asyncio.run(use())


def test_models_cards_and_health() -> None:
    async def look() -> None:
        made = gateway({"north": honest("north")})
        async with standing(made) as ask:
            (listed,) = (await ask(None, "/v1/models")).json["data"]
            assert (listed["id"], listed["proofcompute"]["model_id"]) == (NAME, model().model_id.hex())
            assert (await ask(None, f"/v1/models/{NAME}")).json == listed
            assert (await ask(None, "/v1/models/none")).status == 404
            assert (await ask(None, "/v1/proofs/card/none")).status == 404
            for name in (NAME, model().model_id.hex()):  # the first is fetched from a node
                assert (await ask(None, f"/v1/proofs/card/{name}")).body == model().card.encode()
            assert (await ask(None, "/health")).json == {"status": "ok", "nodes": 1, "asked": 1}
            assert (await ask(None, "/healthz")).body == b"ok"
            assert b"proofcompute_gateway_attempts_total" in (await ask(None, "/metrics")).body
            assert (await ask(None, "/nothing")).status == 404
            made.draining = True
            assert (await ask(CHAT)).status == 503
            assert (await ask(None, "/healthz")).status == 503

    asyncio.run(look())


def test_a_card_of_another_model_is_not_passed_on() -> None:
    made = gateway({"north": honest("north", seed=1)})
    (said,) = asked_for(made, f"/v1/proofs/card/{NAME}")
    assert said.status == 503
    assert made.fleet.members["north"].state == "quarantined"
    made = gateway({"north": honest("north", seed=1), "south": honest("south")}, first="north")
    (said,) = asked_for(made, f"/v1/proofs/card/{NAME}")
    assert said.body == model().card.encode()


def asked_for(made: Gateway, path: str) -> list[Said]:
    async def look() -> list[Said]:
        async with standing(made) as ask:
            return [await ask(None, path)]

    return asyncio.run(look())
