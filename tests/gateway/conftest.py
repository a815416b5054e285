"""All gateways of these tests share the process that renders templates."""

from __future__ import annotations

from typing import Any

import pytest

from client.standin import model_id, prompter
from gateway import standing
from proofcompute.client.pins import Served


@pytest.fixture(autouse=True)
def _one_prompter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.path.name in ("test_live.py", "test_killed.py"):  # their models are others
        return
    monkeypatch.setattr(
        Served, "prompter", property(lambda served: prompter(served.card.model_id != model_id()))
    )


@pytest.fixture
def synchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Challenges reach the stand-in of their node over its own transport, and not over a network."""
    import httpx2

    from proofcompute.client.challenger import Challenger
    from proofcompute.gateway import auditing

    def challenger(url: str, holds: Any, **options: Any) -> Challenger:
        inner = standing.SERVICES[url.removeprefix("http://").partition(".")[0]].transport(httpx2)
        return Challenger(url, holds, inner=inner, library=httpx2, **options)

    monkeypatch.setattr(auditing, "Challenger", challenger)
