"""The OpenAPI document says what the service does: requests drawn from it are answered as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from proofcompute.limits import GIB
from proofcompute.prover.admission import RunnerLimits
from proofcompute.serving import ServiceLimits
from serving.embedding import embedder
from serving.hostile import State, came_back, honest
from serving.running import SOON, Running, chat_model, running


def framed(data: bytes) -> bytes:
    return bytes([0x40 + len(data)]) + data


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/proofs/terms"),
    ("GET", "/v1/proofs/card/{model}"),
    ("GET", "/v1/proofs/{digest}"),
    ("POST", "/v1/proofs/open"),
    ("GET", "/health"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
]

# three frames as byte strings, or anything else
schemathesis.openapi.media_type(
    "application/cbor-seq",
    st.binary() | st.lists(st.binary(max_size=23), max_size=4).map(lambda x: b"".join(map(framed, x))),
)


@schemathesis.serializer("application/cbor-seq")
def bytes_as_they_are(_: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    models = {"tiny": chat_model(), "bert": embedder()}
    with running(models=models, limits=ServiceLimits(waste=1024 * GIB), runner=RunnerLimits(live=64)) as made:
        yield made


@pytest.fixture(scope="module")
def document(node: Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(node.url + "/openapi.json", timeout=SOON).json()
    return found


def test_the_document_has_every_path_and_no_answer_that_never_comes(document: dict[str, Any]) -> None:
    found = [(m.upper(), path) for path, item in document["paths"].items() for m in item]
    assert sorted(found) == sorted(OPERATIONS)
    for item in document["paths"].values():
        for operation in item.values():
            statuses = operation["responses"].keys()
            assert {"200", "400", "401", "408", "413", "429", "503"} <= statuses
            assert statuses <= {"200", "400", "401", "404", "408", "413", "429", "500", "503"}
    assert "422" not in json.dumps(document)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [(*operation, GenerationMode.POSITIVE) for operation in OPERATIONS]
    + [
        ("POST", f"/v1/{path}", GenerationMode.NEGATIVE)
        for path in ("chat/completions", "completions", "embeddings")
    ],
)
def test_what_is_drawn_from_the_document(
    node: Running, document: dict[str, Any], method: str, path: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(document)[path][method]
    before = State.of(node)

    @settings(suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        if isinstance(case.body, dict) and isinstance(
            case.body.get("messages", case.body.get("prompt")), list | str
        ):
            case.body["model"] = "tiny"  # so that some are answered
            case.body.setdefault("max_tokens", 3)
        elif isinstance(case.body, dict) and isinstance(case.body.get("input"), list | str):
            case.body["model"] = "bert"
        case.call_and_validate(base_url=node.url, checks=CHECKS, timeout=SOON)

    check()
    came_back(node, before)


@given(data=st.data())
def test_good_bodies_are_answered_as_the_document_says(
    node: Running, document: dict[str, Any], data: st.DataObject
) -> None:
    """The bodies of the document's own schema, small enough to be answered."""
    path = data.draw(st.sampled_from(["/v1/chat/completions", "/v1/completions"]))
    case = schemathesis.openapi.from_dict(document)[path]["POST"].Case(
        body={
            "model": "tiny",
            **({"messages": [{"role": "user", "content": "a"}]} if "chat" in path else {"prompt": "a"}),
            "max_tokens": data.draw(st.integers(1, 4)),
            "n": data.draw(st.integers(1, 3)),
            "stream": data.draw(st.booleans()),
            "temperature": data.draw(st.floats(0, 2, width=32)),
        },
        media_type="application/json",
    )
    assert case.call_and_validate(base_url=node.url, checks=CHECKS, timeout=SOON).status_code == 200


def test_honest_clients_are_served_afterwards(node: Running) -> None:
    honest(node)
