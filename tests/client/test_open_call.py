"""The body by which a challenger asks for an opening."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from client.standin import KERNELS, NODE, model
from proofcompute.attacks.taken_apart import joined
from proofcompute.errors import Cell, FormatError
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Challenge
from proofcompute.prover.node import Node
from proofcompute.testing import byte_request
from synthetic import frames


def call() -> OpenCall:
    request = byte_request(model(), max_tokens=2)
    receipt = Node(model(), NODE, device=KERNELS).answer(request).receipt
    return OpenCall(request, receipt, Challenge(bytes(32), (Cell(0, 0, 1),)))


def test_a_call_is_read_as_it_was_written() -> None:
    assert OpenCall.decode(call().encode()) == call()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: b"", "no request"),
        (lambda data: joined(frames(data)[:1]), "no receipt"),
        (lambda data: joined(frames(data)[:2]), "no challenge"),
        (lambda data: data + b"\0", "goes on"),
        (lambda data: data[:-1], "challenge"),
        (lambda data: joined([*frames(data)[1:], b""]), "request"),
    ],
)
def test_another_form_is_refused(change: Callable[[bytes], bytes], what: str) -> None:
    with pytest.raises(FormatError, match=what):
        OpenCall.decode(change(call().encode()))
