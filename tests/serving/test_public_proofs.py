"""A node that makes public proofs: over HTTP, in its terms, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

import proofcompute as pc
from proofcompute.cli import main
from proofcompute.errors import InputError, MismatchError
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import ProofAsked, Terms
from proofcompute.public.openings import ByPublicProof
from proofcompute.public.publishing import Published, publish, write_published
from proofcompute.serving import Service, Settings
from proofcompute.serving import service as services
from serving.hostile import Asked, honest
from serving.running import SOON, Running, chat_model, running
from synthetic import KERNELS, NODE


@cache
def published(seed: int = 0) -> Published:
    return publish(chat_model(seed), KERNELS)


def terms(**more: Any) -> Terms:
    options = {"base": 30, "rate": 100, "retention": 86_400, "proofs": [published().key.public_id], **more}
    return Terms.of(NODE, **options)


@pytest.fixture(scope="module")
def node() -> Iterator[Running]:
    with running(published=[published()], terms=terms()) as made:
        yield made


@pytest.fixture(scope="module")
def answer(node: Running) -> Asked:
    return honest(node)


def auditor() -> pc.Auditor:
    return pc.Auditor(ByPublicProof(published().key), device=KERNELS, terms=terms().encode())


def opened(node: Running, answer: Asked, challenge: pc.Challenge) -> httpx.Response:
    body = OpenCall(answer.request, answer.receipt, challenge).encode()
    return httpx.post(node.url + "/v1/proofs/open", content=body, timeout=SOON)


def test_a_proof_over_http(node: Running, answer: Asked) -> None:
    said = Terms.decode(httpx.get(node.url + "/v1/proofs/terms", timeout=SOON).content)
    assert said == terms()
    mine = auditor()
    challenge = mine.challenge(answer.request, answer.receipt, 4)
    first, again = (opened(node, answer, challenge) for _ in range(2))
    assert first.status_code == 200
    assert first.content == again.content
    found = mine.check(answer.request, answer.receipt, challenge, first.content, waited=1.0)
    assert found.cells == 4
    # who holds a key is served as before
    other = pc.Auditor(pc.keygen(chat_model(), KERNELS, columns=2), device=KERNELS)
    plain = other.challenge(answer.request, answer.receipt, 4)
    assert other.check(answer.request, answer.receipt, plain, opened(node, answer, plain).content).cells == 4


def test_what_it_refuses(node: Running, answer: Asked) -> None:
    asked = auditor().challenge(answer.request, answer.receipt, 1)
    assert asked.proof is not None
    for proof in (
        ProofAsked(bytes(32), 46),
        replace(asked.proof, positions=1),
        replace(asked.proof, positions=1024),
    ):
        refused = opened(node, answer, replace(asked, proof=proof))
        assert refused.status_code == 400, proof
        assert refused.json()["error"]["message"]
    with running() as plain:  # without codes
        mine = honest(plain)
        challenge = replace(asked, receipt_digest=pc.Receipt.decode(mine.receipt).digest)
        refused = opened(plain, mine, challenge)
        assert refused.status_code == 400
        assert "no public proofs" in refused.json()["error"]["message"]


def test_a_service_promises_what_it_can_prove() -> None:
    def made(*codes: Published, **options: Any) -> Service:
        return Service({"tiny": chat_model()}, NODE, KERNELS, published=codes, **options)

    with pytest.raises(InputError, match="promise"):
        made(terms=terms())
    with pytest.raises(InputError, match="same model"):
        made(published(), published())
    with pytest.raises(MismatchError, match="not served"):
        made(published(1))
    assert made(published(), terms=terms()).terms == terms()


def test_a_service_is_loaded_with_its_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat_model().save(tmp_path / "model")
    NODE.save(tmp_path / "identity")
    write_published(chat_model(), KERNELS, tmp_path / "public")
    settings = Settings(
        models=(("tiny", tmp_path / "model"),),
        identity=tmp_path / "identity",
        device="numpy",
        rate=50,
        published=(tmp_path / "public",),
    )
    service = Service.load(settings)
    assert service.terms is not None
    assert service.terms.proofs == (published().key.public_id,)
    checked: list[int] = []
    monkeypatch.setattr(services, "check_leaves", lambda *given: checked.append(given[-1]))
    Service.load(settings)
    assert checked == [services._LEAVES]
    found: list[Settings] = []

    def load(settings: Settings) -> None:
        found.append(settings)
        raise InputError("that is enough")

    monkeypatch.setattr("proofcompute.serving.Service.load", load)
    words = [str(tmp_path / "model"), "--identity", str(tmp_path / "identity"), "--port", "0"]
    assert main(["serve", *words, "--published", str(tmp_path / "public")]) == 2
    assert found[0].published == (tmp_path / "public",)
    assert main(["serve", *words, "--published", str(tmp_path / "model")]) == 2
    assert len(found) == 1
