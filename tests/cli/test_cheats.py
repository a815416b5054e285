"""The demo's cheats on the synthetic model: which cells they cannot avoid, and how often they are found."""

from __future__ import annotations

from collections import Counter

import pytest

import synthetic
from proofcompute.demo import CHEATS, Auditor, Cheat, detects, measured
from proofcompute.demo.cheats import WINDOW
from proofcompute.errors import Cell, InputError
from proofcompute.kernels import Sampling
from proofcompute.messages import Generation, all_cells, count_cells

PROMPT, TOKENS = 12, 8
ROWS = PROMPT + TOKENS - 1
HOT = Sampling(temperature=1.5)
BY_NAME = {c.name: c for c in CHEATS}


def auditor(precision: str = "w8a16") -> Auditor:
    return Auditor(
        synthetic.model(precision=precision), synthetic.key(precision=precision), synthetic.KERNELS
    )


def bad_cells(cheat: Cheat, sampling: Sampling = HOT, **request: object) -> tuple[Counter[int], int]:
    """Bad cells of each segment, and all cells that there are."""
    m = synthetic.model()
    asked = synthetic.request(m, "Hello, world", max_tokens=TOKENS, sampling=sampling, **request)
    receipt, trace = cheat.run(m, asked, synthetic.KERNELS, synthetic.NODE)
    bad = auditor().bad_cells(asked, receipt, trace)
    assert all(e.step == 9 and e.cell == c for c, e in bad.items())
    assert count_cells(receipt) == 3 * receipt.rows + len(receipt.outputs[0][1]) // 4
    return Counter(c.segment for c in bad), receipt.rows


BLOCK0, BLOCK1, HEAD = 1, 2, 3


def test_cheats_that_change_the_computation_alter_whole_segments() -> None:
    for name in ("other weights", "lower precision"):
        bad, rows = bad_cells(BY_NAME[name])
        assert set(bad) == {BLOCK0, BLOCK1} | ({HEAD} if bad[HEAD] else set())
        assert bad[BLOCK0] == bad[BLOCK1] == rows
    bad, rows = bad_cells(BY_NAME["skipped layer"])
    assert bad == Counter({BLOCK1: rows})
    bad, rows = bad_cells(BY_NAME["shortened context"])
    assert bad[BLOCK0] == rows - WINDOW
    assert set(bad) == {BLOCK0, BLOCK1}


def test_another_seed_alters_the_tokens_that_come_out_differently() -> None:
    bad, _ = bad_cells(BY_NAME["other sampler seed"])
    assert set(bad) == {HEAD}
    assert 1 <= bad[HEAD] <= TOKENS
    bad, _ = bad_cells(BY_NAME["other sampler seed"], Sampling())
    assert not bad  # a greedy answer needs no seed, so there is nothing to cheat with


@pytest.mark.parametrize("sampling", [HOT, Sampling(), synthetic.SAMPLED])
def test_an_edited_token_alters_one_cell_wherever_it_is_moved(sampling: Sampling) -> None:
    bad, _ = bad_cells(BY_NAME["edited answer"], sampling)
    assert bad == Counter({HEAD: 1})
    bad, _ = bad_cells(BY_NAME["edit moved back"], sampling)
    assert bad == Counter({BLOCK1: 1})


@pytest.mark.parametrize("tokens", [1, 2])
def test_the_shortest_answers_can_be_edited(tokens: int) -> None:
    m = synthetic.model()
    asked = synthetic.request(m, "Hello, world", max_tokens=tokens)
    receipt, trace = BY_NAME["edit moved back"].run(m, asked, synthetic.KERNELS, synthetic.NODE)
    bad = auditor().bad_cells(asked, receipt, trace)
    assert list(bad) == [Cell(BLOCK1, PROMPT - 1, PROMPT)]


def test_a_full_audit_catches_every_cheat() -> None:
    m = synthetic.model()
    asked = synthetic.request(m, "Hello, world", max_tokens=TOKENS, sampling=HOT)
    judge = auditor()
    for cheat in CHEATS:
        receipt, trace = cheat.run(m, asked, synthetic.KERNELS, synthetic.NODE)
        found = judge.audit(asked, receipt, trace, all_cells(receipt))
        assert found is not None
        assert found.step == 9, cheat.name
    assert judge.attempts == len(CHEATS)


def test_a_precision_that_is_the_lowest_already_cannot_be_lowered() -> None:
    m = synthetic.model(precision="w8a8")
    asked = synthetic.request(m, "Hello", max_tokens=2)
    receipt, trace = BY_NAME["lower precision"].run(m, asked, synthetic.KERNELS, synthetic.NODE)
    assert auditor("w8a8").bad_cells(asked, receipt, trace) == {}


def test_chance_agrees_with_the_formula() -> None:
    m = synthetic.model()
    run = synthetic.prove(m, synthetic.request(m, max_tokens=TOKENS))
    total, draws = count_cells(run.receipt), 1500
    for count, rows in ((1, 1), (8, 1), (8, 5), (30, 3)):
        bad = {Cell(BLOCK0, row, row + 1) for row in range(rows)}
        p = detects(total, rows, count)
        assert measured(run.receipt, bad, count, draws) == pytest.approx(p, abs=5 * (p / draws) ** 0.5)
    assert detects(10, 0, 5) == 0
    assert detects(10, 10, 1) == detects(10, 6, 5) == 1
    assert detects(10, 1, 10) == 1
    assert detects(10, 1, 3) == pytest.approx(0.3)


def test_only_language_models_can_be_cheated_with() -> None:
    m = synthetic.model()
    asked = synthetic.request(m)
    object.__setattr__(asked, "generation", None)
    with pytest.raises(InputError, match="language models"):
        BY_NAME["other sampler seed"].run(m, asked, synthetic.KERNELS, synthetic.NODE)
    assert isinstance(synthetic.request(m).generation, Generation)
