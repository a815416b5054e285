"""Every attack of the tables: the step that rejects it, who is to blame, and what the error tells.

Each is verified twice: cell after cell with NumPy, and with compiled code, cells beside one another.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from adversary.attacks import ATTACKS
from adversary.leaks import leaks
from adversary.setting import KERNELS
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.attacks.case import Case
from proofcompute.attacks.closings import CLOSINGS
from proofcompute.attacks.hints import HINTS
from proofcompute.attacks.openings import OPENINGS, UNREADABLE
from proofcompute.attacks.receipts import RECEIPTS
from proofcompute.attacks.rows import ROWS_AND_PROOFS
from proofcompute.errors import VerificationError
from proofcompute.verifier import Key

VERIFY = importlib.import_module("proofcompute.verifier.verify")
BESIDE = NumbaKernels()


def rejection(attack: Case, kernels: Kernels) -> VerificationError:
    """The error of an attack, which must not lead to anything secret."""
    with pytest.raises(VerificationError) as caught:
        attack.verify(kernels)
    if isinstance(attack.holder, Key):
        assert leaks(caught.value, attack.holder) == []
    return caught.value


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_rejected_at_its_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, step = ATTACKS[name]
    attack = build()
    error = rejection(attack, KERNELS)
    assert error.step == step
    if name in RECEIPTS and step < 6:  # what the receipt says is judged before the opening is read
        assert replace(attack, opening=b"").rejection().step == step
    if name in {**OPENINGS, **HINTS, **ROWS_AND_PROOFS}:
        assert error.attributable == (name not in UNREADABLE)
    if name in CLOSINGS:
        assert not error.attributable
    monkeypatch.setattr(threads, "size", lambda: 3)
    monkeypatch.setattr(VERIFY, "_PARALLEL_LEAST", 0)  # no cell is too short for a thread
    found = rejection(attack, BESIDE)
    assert (found.step, found.cell, str(found)) == (error.step, error.cell, str(error))
