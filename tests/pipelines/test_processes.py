"""Three processes serve a model in a row over HTTP; the middle one lies, and is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

import synthetic
from cli.driver import call
from pipelines.line import IDENTITIES, MIDDLE, PIPELINE, auditor, request
from proofcompute.client.pipeline import ask_pipeline
from proofcompute.client.stages import HttpStage
from proofcompute.errors import ServiceError, VerificationError
from proofcompute.serving import server

TESTS = Path(__file__).parents[1]
LIES = ("another weight", "hands on other rows than it commits to", "another's segments")
SOON = 120
MODEL = synthetic.model()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Addresses of three honest stages, and of a liar in the middle with another lie for each request."""
    folder = tmp_path_factory.mktemp("pipeline")
    MODEL.save(folder / "model")
    (folder / "pipeline").write_bytes(PIPELINE.encode())
    running: list[subprocess.Popen[str]] = []
    found: list[str] = []
    try:
        for stage, lies in ((0, ("honest",)), (1, ("honest",)), (2, ("honest",)), (MIDDLE, LIES)):
            port = server.check_address("127.0.0.1", 0)
            command = [sys.executable, "-m", "pipelines.process", str(folder / "model")]
            command += [str(folder / "pipeline"), str(stage), str(port), *lies]
            made = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True, env=_environment())
            running.append(made)
            found.append(f"http://127.0.0.1:{port}")
        for made in running:
            assert made.stdout is not None
            assert made.stdout.readline() == "ready\n"
        yield found
    finally:
        for made in running:
            made.kill()
            made.communicate(timeout=SOON)


def _environment() -> dict[str, str]:

    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


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
    for stage, (link, receipt) in enumerate(zip(links, answer.receipts, strict=True)):
        found = auditor().audit(request(), receipt, partial(link.open, request(), receipt), "all")
        assert found.complete
        assert found.node == IDENTITIES[stage].public


def test_the_one_that_lies_is_named(urls: list[str], stages: Stages) -> None:
    links = stages([urls[0], urls[3], urls[2]])
    liar = IDENTITIES[MIDDLE].public
    asked = [request(nonce=bytes([60 + number] * 32)) for number in range(3)]
    answer = ask_pipeline(MODEL.card, asked[0], PIPELINE, links)  # all receipts pass steps 1 to 5
    for stage, (link, receipt) in enumerate(zip(links, answer.receipts, strict=True)):
        opened = partial(link.open, asked[0], receipt)
        if stage != MIDDLE:
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
        for path in ("begin", "step", "finish", "sign", "open"):
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
        [*command, "--port", "0", "--device", "numpy"], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    try:
        assert made.stdout is not None
        assert made.stdout.readline().startswith("serving stage 0, segments 0..2, at http://127.0.0.1:")
        made.send_signal(signal.SIGTERM)
        assert made.wait(SOON) == 0
    finally:
        made.kill()
        made.communicate(timeout=SOON)
