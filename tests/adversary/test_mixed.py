"""Mixtures of experts and latent attention: what an audit accepts, what it rejects, and how much it opens."""

from __future__ import annotations

from functools import cache

import pytest

from adversary.mixed import BLOCK_1, LIES, audited, chosen, forged, key, model, request
from adversary.setting import KERNELS, NODE
from proofcompute.attacks.case import single_cells
from proofcompute.attacks.taken_apart import Opening
from proofcompute.errors import Cell, VerificationError
from proofcompute.protocol.messages import Receipt
from proofcompute.prover.node import Node
from proofcompute.testing.forging import Forgery, forge

CASES = ["deepseek_v3", "deepseek_v2-groups", "qwen2_moe", "gpt_oss", "mixtral-window"]


@cache
def built(name: str) -> Forgery:
    return LIES[name].build()


@pytest.mark.parametrize("case", CASES)
def test_an_honest_answer_passes(case: str) -> None:
    m = model(case)
    honest = forge(m, request(m), KERNELS, NODE)
    for holder in (key(case), m):
        assert audited(honest, holder=holder).verify().complete


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_a_node_commits_to_what_the_definition_gives(case: str, device: str) -> None:
    m = model(case)
    answer = Node(m, identity=NODE, device=device).answer(request(m))
    expected = forge(m, request(m), KERNELS, NODE).receipt
    assert Receipt.decode(answer.receipt).trace_root == expected.trace_root


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_at_its_step(name: str) -> None:
    lie = LIES[name]
    assert audited(built(name)).rejection().step in lie.own
    for holder in (key(), model()):
        assert audited(built(name), holder=holder, using=model()).rejection().step == 9


@pytest.mark.parametrize("name", LIES)
def test_the_cells_that_a_lie_altered_are_rejected(name: str) -> None:
    lie, found = LIES[name], []
    for cell in single_cells(built(name)):
        try:
            audited(built(name), cell, using=model()).verify()
        except VerificationError as e:
            found.append((cell, e.step))
    assert {step for _, step in found} == {9}
    assert {c.segment for c, _ in found} == {BLOCK_1}
    rows = {c.a for c, _ in found}
    assert rows >= set(lie.rows())
    if lie.exactly:
        assert rows == set(lie.rows())


def test_dropping_a_correction_changes_some_choices() -> None:
    assert built("correction of a router dropped").receipt.trace_root != forged().receipt.trace_root


def test_a_cell_opens_sets_of_the_chosen_experts_only() -> None:
    honest, cell = forged(), Cell(BLOCK_1, 2, 3)
    challenge = honest.challenge(cell)
    (part,) = Opening.parse(honest.open(challenge), honest, challenge).parts
    assert part.tables == ()
    used, opened = len(set(chosen()[cell.a].tolist())), 0
    for site, hint in zip(model().program.plans[BLOCK_1].sites, part.hints, strict=True):
        if ".experts." in site.weight:
            assert used <= len(hint) <= used * site.x_limbs * site.w_limbs < site.groups
            opened += sum(len(packed) for packed in hint)
    experts = sum(s.nbytes for s in model().program.weights if s.name.startswith("block.1.ffn.experts."))
    assert 0 < opened < experts / 16
    held = forged().challenge(cell, hints=False)
    assert len(honest.open(held)) < experts
