"""The body by which a challenger asks for an opening."""

from __future__ import annotations

import pytest

from client.standin import KERNELS, NODE, model
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError
from proofcompute.openai import OpenCall
from proofcompute.protocol.messages import Challenge
from proofcompute.prover.node import Node
from proofcompute.testing import byte_request


def call() -> OpenCall:
    request = byte_request(model(), max_tokens=2)
    receipt = Node(model(), NODE, device=KERNELS).answer(request).receipt
    return OpenCall(request, receipt, Challenge(bytes(32), (Cell(0, 0, 1),)))


def test_a_call_is_read_as_it_was_written() -> None:
    assert OpenCall.decode(call().encode()) == call()


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_another_element_is_refused(at: int) -> None:
    fields = list(wire.as_list(wire.decode(call().encode(), limit=1 << 20, what="call"), "call"))
    fields[at] = 7
    with pytest.raises(FormatError):
        OpenCall.decode(wire.encode(tuple(fields)))
