"""The demo's cheats on the synthetic model: which cells they cannot avoid, and how often they are found."""

from __future__ import annotations

from collections import Counter

import pytest

import synthetic
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import Cell, InputError, VerificationError
from proofcompute.protocol.cells import count_cells
from proofcompute.protocol.messages import Generation, Request
from proofcompute.prover.node import Node
from proofcompute.testing import CHEATS, Cheat, bad_cells, detects, measured
from proofcompute.testing.cheats import WINDOW
from proofcompute.verifier.auditor import Auditor

PROMPT, TOKENS = 12, 8
ROWS = PROMPT + TOKENS - 1
HOT = Sampling(temperature=1.5)
BY_NAME = {c.name: c for c in CHEATS}


def parties(precision: str = "w8a16") -> tuple[Node, Auditor]:
    node = Node(synthetic.model(precision=precision), synthetic.NODE, device=synthetic.KERNELS)
    return node, Auditor(synthetic.key(precision=precision), device=synthetic.KERNELS)


def found(cheat: Cheat, asked: Request, precision: str = "w8a16") -> dict[Cell, VerificationError]:
    """Bad cells of a cheat, and why they are bad."""
    node, auditor = parties(precision)
    return bad_cells(node, auditor, asked, cheat.run(node, asked).encode())


def counted(cheat: Cheat, sampling: Sampling = HOT, **request: object) -> tuple[Counter[int], int]:
    """Bad cells of each segment, and all cells that there are."""
    m = synthetic.model()
    asked = synthetic.request(m, "Hello, world", max_tokens=TOKENS, sampling=sampling, **request)
    node, auditor = parties()
    receipt = cheat.run(node, asked)
    bad = bad_cells(node, auditor, asked, receipt.encode())
    assert all(e.step == 9 and e.cell == c for c, e in bad.items())
    claim = auditor.claim(asked, receipt.encode())
    assert count_cells(claim) == 3 * receipt.rows + len(receipt.outputs[0][1]) // 4
    return Counter(c.segment for c in bad), receipt.rows


BLOCK0, BLOCK1, HEAD = 1, 2, 3


def test_cheats_that_change_the_computation_alter_whole_segments() -> None:
    for name in ("other weights", "lower precision"):
        bad, rows = counted(BY_NAME[name])
        assert set(bad) == {BLOCK0, BLOCK1} | ({HEAD} if bad[HEAD] else set())
        assert bad[BLOCK0] == bad[BLOCK1] == rows
    bad, rows = counted(BY_NAME["skipped layer"])
    assert bad == Counter({BLOCK1: rows})
    bad, rows = counted(BY_NAME["shortened context"])
    assert bad[BLOCK0] == rows - WINDOW
    assert set(bad) == {BLOCK0, BLOCK1}


def test_another_seed_alters_the_tokens_that_come_out_differently() -> None:
    bad, _ = counted(BY_NAME["other sampler seed"])
    assert set(bad) == {HEAD}
    assert 1 <= bad[HEAD] <= TOKENS
    bad, _ = counted(BY_NAME["other sampler seed"], Sampling())
    assert not bad  # a greedy answer needs no seed, so there is nothing to cheat with


@pytest.mark.parametrize("sampling", [HOT, Sampling(), synthetic.SAMPLED])
def test_an_edited_token_alters_one_cell_wherever_it_is_moved(sampling: Sampling) -> None:
    bad, _ = counted(BY_NAME["edited answer"], sampling)
    assert bad == Counter({HEAD: 1})
    bad, _ = counted(BY_NAME["edit moved back"], sampling)
    assert bad == Counter({BLOCK1: 1})


@pytest.mark.parametrize("tokens", [1, 2])
def test_the_shortest_answers_can_be_edited(tokens: int) -> None:
    m = synthetic.model()
    asked = synthetic.request(m, "Hello, world", max_tokens=tokens)
    bad = found(BY_NAME["edit moved back"], asked)
    assert list(bad) == [Cell(BLOCK1, PROMPT - 1, PROMPT)]


def test_a_full_audit_catches_every_cheat() -> None:
    m = synthetic.model()
    asked = synthetic.request(m, "Hello, world", max_tokens=TOKENS, sampling=HOT)
    node, auditor = parties()
    for cheat in CHEATS:
        data = cheat.run(node, asked).encode()
        asked_all = auditor.challenge(asked, data, "all")
        with pytest.raises(VerificationError) as e:
            auditor.check(asked, data, asked_all, node.open(asked, data, asked_all))
        assert e.value.step == 9, cheat.name
    assert auditor.attempts == 2 * len(CHEATS)  # what is rejected is read again, to see whether it was signed


def test_a_precision_that_is_the_lowest_already_cannot_be_lowered() -> None:
    m = synthetic.model(precision="w8a8")
    asked = synthetic.request(m, "Hello", max_tokens=2)
    assert found(BY_NAME["lower precision"], asked, "w8a8") == {}


def test_chance_agrees_with_the_formula() -> None:
    m = synthetic.model()
    run = synthetic.prove(m, synthetic.request(m, max_tokens=TOKENS))
    total, draws = count_cells(run.claim), 1500
    for count, rows in ((1, 1), (8, 1), (8, 5), (30, 3)):
        bad = {Cell(BLOCK0, row, row + 1) for row in range(rows)}
        p = detects(total, rows, count)
        assert measured(run.claim, bad, count, draws) == pytest.approx(p, abs=5 * (p / draws) ** 0.5)
    assert detects(10, 0, 5) == 0
    assert detects(10, 10, 1) == detects(10, 6, 5) == 1
    assert detects(10, 1, 10) == 1
    assert detects(10, 1, 3) == pytest.approx(0.3)


def test_only_language_models_can_be_cheated_with() -> None:
    m = synthetic.model()
    asked = synthetic.request(m)
    object.__setattr__(asked, "generation", None)
    with pytest.raises(InputError, match="language models"):
        BY_NAME["other sampler seed"].run(synthetic.node(m), asked)
    assert isinstance(synthetic.request(m).generation, Generation)
