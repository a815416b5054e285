"""Three processes serve a model in a row over HTTP; the middle one lies, and is named."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

import synthetic
from cli.driver import call
from pipelines.forgetful import STAGES, stage
from pipelines.line import IDENTITIES, MIDDLE, PIPELINE, answered, auditor, request
from pipelines.services import SOON, Service, environment
from proofcompute.client.pipeline import ask_pipeline
from proofcompute.client.reopening import StageOpener
from proofcompute.client.stages import HttpStage
from proofcompute.errors import ServiceError, VerificationError
from proofcompute.prover.stages import NotKeptError

LIES = ("another weight", "hands on other rows than it commits to", "another's segments")
MODEL = synthetic.model()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """Three honest stages, and a liar in the middle with another lie for each request."""
    folder = tmp_path_factory.mktemp("pipeline")
    MODEL.save(folder / "model")
    (folder / "pipeline").write_bytes(PIPELINE.encode())
    made = [Service(folder, stage) for stage in range(3)] + [Service(folder, MIDDLE, *LIES)]
    with ExitStack() as stack:
        yield [stack.enter_context(one) for one in made]


@pytest.fixture(scope="module")
def urls(services: list[Service]) -> list[str]:
    """Their addresses."""
    return [service.url for service in services]


Stages = Callable[[list[str]], list[HttpStage]]


@pytest.fixture
def stages() -> Iterator[Stages]:
    """Makes links to stages, and closes them when the test has ended."""
    with ExitStack() as stack:
        yield lambda urls: [
            stack.enter_context(HttpStage(url, MODEL.program, token="secret", seconds=SOON)) for url in urls
        ]


def test_three_processes_answer_and_are_audited(urls: list[str], stages: Stages) -> None:
    links = stages(urls[:3])
    answer = ask_pipeline(MODEL.card, request(), PIPELINE, links)
    whole = synthetic.prove(MODEL, synthetic.request(MODEL)).receipt
    assert {claim.receipt.trace_root for claim in answer.claims} == {whole.trace_root}
    for number, (link, receipt) in enumerate(zip(links, answer.receipts, strict=True)):
        found = auditor().audit(request(), receipt, partial(link.open, request(), receipt), "all")
        assert found.complete
        assert found.node == IDENTITIES[number].public


def test_the_one_that_lies_is_named(urls: list[str], stages: Stages) -> None:
    links = stages([urls[0], urls[3], urls[2]])
    liar = IDENTITIES[MIDDLE].public
    asked = [request(nonce=bytes([60 + number] * 32)) for number in range(3)]
    answer = ask_pipeline(MODEL.card, asked[0], PIPELINE, links)  # all receipts pass steps 1 to 5
    for number, (link, receipt) in enumerate(zip(links, answer.receipts, strict=True)):
        opened = partial(link.open, asked[0], receipt)
        if number != MIDDLE:
            assert auditor().audit(asked[0], receipt, opened, "all").complete
            continue
        with pytest.raises(VerificationError) as caught:
            auditor().audit(asked[0], receipt, opened, "all")
        assert (caught.value.node, caught.value.attributable) == (liar, True)
    with pytest.raises(VerificationError) as caught:
        ask_pipeline(MODEL.card, asked[1], PIPELINE, links)
    assert (caught.value.node, caught.value.step, caught.value.attributable) == (liar, 7, True)
    with pytest.raises(VerificationError) as caught:
        ask_pipeline(MODEL.card, asked[2], PIPELINE, links)
    assert (caught.value.node, caught.value.step) == (liar, 2)


def test_a_service_asks_for_its_token_and_refuses_nonsense(urls: list[str]) -> None:
    with httpx.Client(base_url=urls[0], trust_env=False, timeout=SOON) as client:
        assert client.get("/v1/stage").status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        about = client.get("/v1/stage")
        assert (about.content, about.headers["Proofcompute-Stage"]) == (PIPELINE.encode(), "0")
        for path in ("begin", "step", "finish", "sign", "open", "again", "give", "keep", "rows"):
            for body in (b"", b"\x80", b"\xff" * 64):
                refused = client.post(f"/v1/stage/{path}", content=body)
                assert refused.status_code == 400, path
        assert client.post("/v1/stage/step", content=bytes(65 << 20)).status_code == 400
    other = synthetic.request(MODEL, node=IDENTITIES[0].public)
    with HttpStage(urls[0], MODEL.program, token="secret", seconds=SOON) as link:
        with pytest.raises(ServiceError, match="addresses"):
            link.begin(other)
        with pytest.raises(ServiceError, match="not begun"):
            link.sign(bytes(32), [])
    with HttpStage("http://127.0.0.1:9", MODEL.program, seconds=SOON) as nowhere:
        with pytest.raises(ServiceError, match="cannot be reached"):
            nowhere.begin(request())


def test_clients_at_the_same_time_get_what_each_gets_alone(urls: list[str], stages: Stages) -> None:
    asked = [request(nonce=bytes([70 + n] * 32), max_tokens=3 + n) for n in range(4)]
    links = [stages(urls[:3]) for _ in asked]
    with ThreadPoolExecutor(len(asked)) as clients:
        found = list(clients.map(lambda i: ask_pipeline(MODEL.card, asked[i], PIPELINE, links[i]), range(4)))
    for one, answer in zip(asked, found, strict=True):
        alone = ask_pipeline(MODEL, one, PIPELINE, [stage(number) for number in STAGES])
        assert answer.receipts == alone.receipts


def test_the_calls_that_bring_traces_back_refuse_nonsense(urls: list[str], stages: Stages) -> None:
    (link,) = stages([urls[MIDDLE]])
    receipts, roots = answered()[1].receipts, answered()[1].roots
    with pytest.raises(ServiceError, match="not begun"):
        link.give(bytes(32), 1, [b""])
    with pytest.raises(ServiceError, match="not begun"):
        link.keep(bytes(32))
    with pytest.raises(ServiceError, match="not of this stage"):
        link.again(request(), receipts[0], roots)
    asked = request(nonce=bytes([1] * 32))
    never = ask_pipeline(MODEL, asked, PIPELINE, [stage(number) for number in STAGES])
    with pytest.raises(NotKeptError):
        link.rows(asked, never.receipts[MIDDLE], 0, 1)


def test_every_receipt_is_opened_after_all_stages_were_killed(
    services: list[Service], stages: Stages
) -> None:
    """SIGKILL leaves nothing but the files of model, pipeline and identity."""
    links = stages([service.url for service in services[:3]])
    asked = [request(nonce=bytes([90 + n] * 32), max_tokens=4) for n in range(2)]
    answers = [ask_pipeline(MODEL.card, one, PIPELINE, links) for one in asked]
    for service in services[:3]:
        service.kill()
    for service in services[:3]:
        service.start()
    for service in services[:3]:
        service.wait()
    for link, receipt in zip(links, answers[0].receipts, strict=True):
        with pytest.raises(NotKeptError):
            link.open(asked[0], receipt, auditor().challenge(asked[0], receipt, 1))
    for one, answer, handed in zip(asked, answers, (None, answers[1].handed), strict=True):
        opens = StageOpener(MODEL.card, one, PIPELINE, links, answer.receipts, answer.roots, handed)
        for at in reversed(STAGES):
            found = auditor().audit(one, answer.receipts[at], partial(opens.open, at), "all")
            assert (found.complete, found.node) == (True, IDENTITIES[at].public)


def test_the_command_serves_a_stage_and_ends(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model")
    IDENTITIES[0].save(tmp_path / "identity")
    named = [f"{stage.end}={stage.node.hex()}" for stage in PIPELINE.stages]
    assert call("pipeline", *named, "-o", str(tmp_path / "pipeline")).status == 0
    assert (tmp_path / "pipeline").read_bytes() == PIPELINE.encode()
    shown = call("inspect", str(tmp_path / "pipeline"))
    assert PIPELINE.digest.hex() in shown.out
    assert call("pipeline", "2=00", "-o", str(tmp_path / "other")).status == 2
    command = [sys.executable, "-m", "proofcompute", "stage", str(tmp_path / "model"), "--stage", "0"]
    command += ["--identity", str(tmp_path / "identity"), "--pipeline", str(tmp_path / "pipeline")]
    made = subprocess.Popen(
        [*command, "--port", "0", "--device", "numpy"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert made.stdout is not None
        assert made.stdout.readline().startswith("serving stage 0, segments 0..2, at http://127.0.0.1:")
        made.send_signal(signal.SIGTERM)
        assert made.wait(SOON) == 0
    finally:
        made.kill()
        made.communicate(timeout=SOON)
