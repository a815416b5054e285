"""Cells checked beside one another on threads are judged as if one came after the other."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from adversary.cheats import CHEATS
from adversary.setting import BLOCK_0, BLOCK_1, case, honest
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.attacks.case import Case, single_cells
from proofcompute.errors import Cell, InputError, VerificationError
from proofcompute.verifier import Verified

KERNELS = NumbaKernels()
VERIFY = importlib.import_module("proofcompute.verifier.verify")


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three threads, and no cell too short for one."""
    monkeypatch.setattr(threads, "size", lambda: 3)
    monkeypatch.setattr(VERIFY, "_PARALLEL_LEAST", 0)


def judged(c: Case, progress: list[int] | None = None) -> Verified | VerificationError:
    try:
        return c.verify(KERNELS, None if progress is None else progress.append)
    except VerificationError as e:
        return e


def test_honest_cells_pass_with_progress_in_order() -> None:
    good, progress = case(honest()), list[int]()
    assert judged(good, progress) == case(honest()).verify()
    assert progress == [c.b - c.a for c in good.challenge.cells]


def test_of_two_faults_the_first_is_named() -> None:
    """The later one would be found sooner: a frame that is cut off, beside products that are wrong."""
    forgery = CHEATS["one layer skipped"].build()
    whole = case(forgery, *single_cells(forgery))
    named = set()
    for end in range(len(whole.opening) - 1, 0, -len(whole.opening) // 40):
        cut = replace(whole, opening=whole.opening[:end])
        found, expected = judged(cut), cut.rejection()
        assert isinstance(found, VerificationError)
        assert (found.step, found.cell, str(found)) == (expected.step, expected.cell, str(expected))
        named.add((found.step, found.cell))
    assert (8, Cell(BLOCK_1, 0, 1)) in named
    assert len(named) > 1


def test_cells_that_take_much_memory_are_not_checked_beside_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = case(honest(), Cell(BLOCK_0, 0, 8), Cell(BLOCK_1, 0, 8))
    monkeypatch.setattr(KERNELS, "map", None)
    with pytest.raises(TypeError):
        judged(good)
    monkeypatch.setattr(VERIFY, "_PARALLEL_MOST", 1000)
    assert isinstance(judged(good), Verified)


def test_a_cell_that_no_opening_may_hold_is_the_challenge_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before anything is read, though the node failed: it could not have opened the other cell."""
    forgery = CHEATS["one layer skipped"].build()
    bad = case(forgery, Cell(BLOCK_1, 0, 1), Cell(BLOCK_1, 1, 17))
    assert isinstance(judged(bad), VerificationError)
    openable = importlib.import_module("proofcompute.protocol.openable")
    for name in ("MAX_OPENING_PART", "MAX_CELL_OPENING"):
        with monkeypatch.context() as patch:
            patch.setattr(openable, name, 20_000)
            with pytest.raises(InputError, match="ask for fewer rows"):
                judged(replace(bad, opening=b""))
            with pytest.raises(InputError, match="ask for fewer rows"):
                case(forgery, Cell(BLOCK_1, 1, 17))
