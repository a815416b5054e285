"""Runs a service of two models on a device, and checks what it answers and opens over HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

import proofcompute as pc
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.openai import OpenCall, ProofField, call_of, read_json
from proofcompute.prover.reporting import RunnerState
from proofcompute.serving import Service, ServiceLimits
from serving.running import SOON, TERMS, Running, chat_model
from synthetic import KERNELS, NODE


def asked(sent: dict[str, Any], proof: ProofField, model: pc.Model) -> pc.Request:
    """Returns the request that a client derives from its own body."""
    call = call_of(read_json(json.dumps(sent).encode(), 1 << 20), endpoint="chat")
    with pc.Prompter(model) as prompter:
        (found,) = call.requests(prompter, nonce=proof.nonce, date=proof.date, node=proof.node)
    return found


def two_models(kernels: Kernels) -> None:
    """Asks two models at once; each receipt must be the CPU's, and a full audit of it must pass."""
    models = {"tiny": chat_model(0), "other": chat_model(1)}
    service = Service(models, NODE, kernels, terms=TERMS, limits=ServiceLimits(client_openings=2))
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
