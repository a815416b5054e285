"""A node that does not answer now, or not this client, contradicts nobody, and no answer passes meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from client.lies import CHAT, ask, transport
from client.standin import Service
from client.test_transport import _one_prompter as _one_prompter
from proofcompute.errors import VerificationError


@dataclass
class Down(Service):
    """A node, or a proxy before it, that answers GET of some paths with a status."""

    path: str = ""
    said: int = 0

    def respond(self, method: str, path: str, *rest: Any) -> Any:
        honest = super().respond(method, path, *rest)
        return (self.said, {}, b"not now") if self.said and self.path in path else honest


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("body", [CHAT, {**CHAT, "stream": True}], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ["/proofs/terms", "/proofs/card/"])
@pytest.mark.parametrize("status", [401, 403, 407, 408, 425, 429, 500, 502, 503, 599])
def test_what_cannot_be_read_is_an_error_of_the_transport(
    status: int, path: str, body: dict[str, Any], library: ModuleType
) -> None:
    node = Down(path=path, said=status)
    through = transport(node, library)
    with pytest.raises(library.ReadError, match=f"cannot be read: status {status}"):
        ask(through, body, library=library)
    assert not list(through.checked)
    assert not list(through.contradictions)
    node.said = 0
    again = transport(node, library)
    assert ask(again, body, library=library)
    assert len(list(again.checked)) == 1


@pytest.mark.parametrize("path", ["/proofs/terms", "/proofs/card/"])
@pytest.mark.parametrize("status", [400, 405, 410])
def test_a_refusal_for_good_is_a_contradiction(status: int, path: str) -> None:
    through = transport(Down(path=path, said=status))
    with pytest.raises(VerificationError, match="does not publish"):
        ask(through)
    assert len(list(through.contradictions)) == 1
