"""An attached module takes the place of another in a service, and its receipts are audited."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request as HttpRequest  # noqa: E402
from starlette.responses import JSONResponse  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402
from torch import nn  # noqa: E402

import proofcompute as pc  # noqa: E402
from aten.networks import example  # noqa: E402
from proofcompute.openai import KeptCall, OpenCall  # noqa: E402


class _Service(nn.Module):  # type: ignore[misc]
    """A service whose model is a part of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def infer(self, body: dict[str, Any]) -> dict[str, Any]:
        y = self.model(torch.tensor(body["x"]))
        return {
            "y": y.tolist(),
            "receipt": self.model.last.receipt.hex(),
            "digest": self.model.last.digest.hex(),
        }


def test_a_service_goes_on_as_it_is_and_is_audited_over_http(tmp_path: Path) -> None:
    module, x = example("mlp", 3)
    service = _Service(module).eval()
    attached = pc.attach(module, x, store=tmp_path / "traces", retention=3600, device="numpy")
    service.model = attached
    assert dict(service.named_parameters()).keys() == {
        f"model.module.{n}" for n, _ in module.named_parameters()
    }

    def infer(request: HttpRequest) -> JSONResponse:
        return JSONResponse(service.infer({"x": x[: int(request.query_params["n"])].tolist()}))

    app = Starlette(routes=[Route("/infer", infer), Mount("/proofs", pc.openings(attached))])
    try:
        with TestClient(app) as client:
            found = client.get("/infer", params={"n": 2}).json()
            exact = module(x[:2]).detach().numpy()
            assert np.linalg.norm(np.array(found["y"]) - exact) < 0.01 * np.linalg.norm(exact)
            base = "/proofs/v1/proofs"
            request, receipt = KeptCall.decode(client.get(f"{base}/kept/{found['digest']}").content)
            assert receipt.hex() == found["receipt"]
            # what was asked is what the client sent, and what it got is what the receipt says
            assert request.inputs[0][1] == x[:2].numpy().tobytes()
            card = pc.ModelCard.decode(client.get(f"{base}/card/{attached.model.model_id.hex()}").content)
            claim = pc.check_receipt(card, request, receipt)
            assert claim.receipt.outputs[0][1] == np.array(found["y"], np.float32).tobytes()
            assert claim.receipt.retention == 3600

            def opened(challenge: pc.Challenge) -> bytes:
                return client.post(
                    f"{base}/open", content=OpenCall(request, receipt, challenge).encode()
                ).content

            auditor = pc.Auditor(attached.key(), device="numpy", node=attached.identity.public)
            assert auditor.audit(request, receipt, opened, "all").cells == 2
    finally:
        attached.close()
    with pytest.raises(pc.StoppedError):
        attached(x)


def test_threads_have_calls_of_their_own() -> None:
    module, x = example("mlp", 4)
    attached = pc.attach(module, x, precision="w8a8", device="numpy")
    found: dict[int, Any] = {}

    def call(i: int) -> None:
        result = attached(x[: i + 1])
        found[i] = result, attached.last

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(found) == [0, 1, 2, 3]
        for i, (result, last) in found.items():
            assert result.shape == (i + 1, 4)
            receipt = pc.Receipt.decode(last.receipt)
            assert receipt.request_digest == last.request.digest
            assert receipt.outputs[0][1] == result.numpy().tobytes()
        with pytest.raises(pc.InputError, match="has not called the module"):
            _ = attached.last
    finally:
        attached.close()


def test_the_first_call_compiles_where_there_is_no_example() -> None:
    module, x = example("mlp", 2)
    attached = pc.attach(module, precision="w8a8", device="numpy")
    with pytest.raises(pc.InputError, match="compiled by its first call"):
        _ = attached.model
    with pytest.raises(pc.InputError, match="compiled by its first call"):
        pc.openings(attached)
    try:
        assert attached(x).shape == (2, 4)
        assert attached(x[:1]).shape == (1, 4)
        with pytest.raises(pc.InputError, match="wrapped with f32"):
            attached(x[:, :5])
        other = pc.attach(module, x, precision="w8a8", device="numpy")
        with pytest.raises(pc.InputError, match="different identities"):
            pc.openings(attached, other)
        other.close()
        attached.train()
        with pytest.raises(pc.InputError, match="call eval"):
            attached(x)
    finally:
        attached.close()
    with pytest.raises(pc.InputError, match=r"give a torch.nn.Module"):
        pc.attach(lambda x: x)
    with pytest.raises(pc.InputError, match="give the modules"):
        pc.openings()
