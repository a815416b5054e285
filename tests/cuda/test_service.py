"""A service of two models on one device: receipts and openings over HTTP are those of the CPU."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import proofcompute as pc
from cuda_rig import EmulatedDevice, why_not
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.openai import OpenCall, ProofField, call_of, read_json
from proofcompute.prover.reporting import RunnerState
from proofcompute.serving import Service, ServiceLimits
from serving.running import SOON, TERMS, Running, chat_model
from synthetic import KERNELS, NODE

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

MODELS = {"tiny": 0, "other": 1}


def asked(sent: dict[str, Any], proof: ProofField, model: pc.Model) -> pc.Request:
    """The request that a client derives from its own body."""
    call = call_of(read_json(json.dumps(sent).encode(), 1 << 20), endpoint="chat")
    with pc.Prompter(model) as prompter:
        (found,) = call.requests(prompter, nonce=proof.nonce, date=proof.date, node=proof.node)
    return found


def test_two_models_on_one_device() -> None:
    models = {name: chat_model(seed) for name, seed in MODELS.items()}
    limits = ServiceLimits(client_openings=2)
    service = Service(models, NODE, CudaKernels(EmulatedDevice(90)), terms=TERMS, limits=limits)
    with Running(service) as node, httpx.Client(base_url=node.url, timeout=SOON) as http:

        def served(name: str) -> tuple[pc.Request, bytes]:
            message = {"role": "user", "content": f"hello {name}"}
            sent = {"model": name, "messages": [message], "max_tokens": 6, "ignore_eos": True, "seed": 1}
            found = http.post("/v1/chat/completions", json=sent)
            assert found.status_code == 200, found.text
            proof = ProofField.decode(found.json()["proofcompute"])
            request = asked(sent, proof, models[name])
            auditor = pc.Auditor(pc.keygen(models[name], KERNELS, columns=2))
            challenge = auditor.challenge(request, proof.receipt, cells="all")
            opening = http.post(proof.open, content=OpenCall(request, proof.receipt, challenge).encode())
            assert opening.status_code == 200, opening.text
            assert auditor.check(request, proof.receipt, challenge, opening.content).cells
            return request, proof.receipt

        with ThreadPoolExecutor(2) as pool:
            for (request, receipt), model in zip(pool.map(served, models), models.values(), strict=True):
                assert pc.Node(model, NODE, device=KERNELS, terms=TERMS).answer(request).receipt == receipt
        runners = [served.runner for served in service.models.values()]
        assert [runner.state for runner in runners] == [RunnerState.RUNNING] * 2
        assert runners[0].kernels is runners[1].kernels
