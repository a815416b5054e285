"""Clients audit through a gateway, and take nothing that an audit of the gateway needs."""

from __future__ import annotations

import asyncio
from typing import Any

import proofcompute as pc
from client.standin import KERNELS, model
from gateway.standing import gateway, honest, standing
from proofcompute.client.checked import Checked
from proofcompute.openai import OpenCall
from proofcompute.prover.opener import CHALLENGES

OPEN = "/v1/proofs/open"


def challenged(*cells: int, late: int = 0) -> tuple[list[tuple[int, Any]], int]:
    """Ask, and send challenges of so many cells each through the gateway.

    The node refuses the first ``late`` of them. Returns what came of each, and how many reached the node.
    """
    node = honest("north")
    made, kept, came = gateway({"north": node}), list[Checked](), list[OpenCall]()
    usual, opens = made.receipt, node.open

    def receipt(member: Any, record: Any, checked: Checked) -> Any:
        kept.append(checked)
        return usual(member, record, checked)

    def open_(node: Any, call: OpenCall) -> Any:
        came.append(call)
        return (429, {}, b"{}") if len(came) <= late else opens(node, call)

    made.receipt, node.open = receipt, open_  # type: ignore[method-assign]

    async def run() -> list[tuple[int, Any]]:
        async with standing(made) as ask:
            assert (await ask()).status == 200
            (checked,) = kept
            auditor = pc.Auditor(model(), device=KERNELS)
            drawn = {n: auditor.challenge(checked.request, checked.receipt, n) for n in set(cells)}
            found = []
            for n in cells:
                body = OpenCall(checked.request, checked.receipt, drawn[n]).encode()
                said = await ask(body, OPEN)
                found.append((said.status, None if said.status == 200 else said.json))
            return found

    return asyncio.run(run()), len(came)


def leaves_challenges() -> None:
    """A client cannot use up the challenges that a node answers, so that it refuses one of an auditor."""
    found, reached = challenged(1, 2, 3, 4)
    assert [status for status, _ in found] == [200, 429, 429, 429]
    assert {said["error"]["code"] for _, said in found[1:]} == {"challenge_limit"}
    assert reached < CHALLENGES


def test_a_client_leaves_the_challenges_of_a_receipt_to_auditors() -> None:
    leaves_challenges()


def test_the_same_challenge_is_passed_on_again() -> None:
    found, reached = challenged(1, 2, 1)
    assert [status for status, _ in found] == [200, 429, 200]
    assert reached == 2


def test_a_challenge_that_the_node_refuses_counts_for_nothing() -> None:
    found, reached = challenged(1, 2, 3, late=1)
    assert [status for status, _ in found] == [429, 200, 429]
    assert reached == 2
