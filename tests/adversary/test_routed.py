"""Products with matrices that each row chooses: what an audit accepts, and what it rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from adversary.routed import CHOSEN, EXPERTS, ROWS, audited, key, model, program, rows, sets_too_many
from adversary.setting import KERNELS
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.errors import ExecutionError, VerificationError
from proofcompute.models.model import Model
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.program.source import ComputeProducts, LinearCall
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.verifier import Key
from proofcompute.verifier.sources import HintProducts

F64 = npt.NDArray[np.float64]
LIMBS = [(1, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize(("limbs", "w_limbs"), LIMBS)
def test_an_honest_answer_passes_with_a_key_and_with_the_weights(limbs: int, w_limbs: int) -> None:
    m = model(limbs, w_limbs)
    assert decode_program(encode_program(m.program)) == m.program
    for holder in (key(limbs, w_limbs), m):
        assert audited(m, holder=holder).verify().cells == 2 * ROWS
    assert audited(m, holder=m).verify(NumbaKernels()).cells == 2 * ROWS


@pytest.mark.parametrize(("limbs", "w_limbs"), LIMBS)
def test_the_result_is_that_of_the_experts_chosen(limbs: int, w_limbs: int) -> None:
    m = model(limbs, w_limbs)
    request = Request(m.model_id, (("x", rows().tobytes()),), bytes(32))
    found = {d: dict(Node(m, device=d).answer(request).outputs)["y"] for d in ("numpy", "cpu")}
    assert found["numpy"].tobytes() == found["cpu"].tobytes()

    def dense(name: str, expert: int | None = None) -> F64:
        w = m.matrix(name) if expert is None else m.matrix(name).group(expert)
        q = w.q.astype(np.float64)
        whole = q[0] if len(q) == 1 else 256 * q[0] + q[1]
        found: F64 = whole * w.scale[:, None].astype(np.float64)
        return found

    def expert(i: int, x: F64) -> F64:
        bias = m.matrix("up").bias
        assert bias is not None
        g, u = np.split(dense("up", i) @ x + bias[i], 2)
        found: F64 = dense("down", i) @ (g / (1 + np.exp(-g)) * u)
        return found

    for x, y in zip(rows().astype(np.float64), found["numpy"], strict=True):
        s = dense("router") @ x + m.constant("bias")
        best = np.argsort(s)[::-1][:CHOSEN]
        share = np.exp(s[best]) / np.exp(s[best]).sum()
        np.testing.assert_allclose(
            y, sum(w * expert(i, x) for i, w in zip(best, share, strict=True)), atol=0.05
        )


def _other_expert(m: Model) -> dict[str, object]:
    q = m.matrix("up").q.copy()
    q[[0, 1]] = q[[1, 0]]
    return {"up": replace(m.matrix("up"), q=q)}


def _one_weight(m: Model) -> dict[str, object]:
    q = m.matrix("down").q.copy()
    q[:, 0, 0, 0] ^= 1
    return {"down": replace(m.matrix("down"), q=q)}


def _router(m: Model) -> dict[str, object]:
    return {"router": replace(m.matrix("router"), q=-m.matrix("router").q)}


def _bias(m: Model) -> dict[str, object]:
    return {"bias": -m.constant("bias")}


@pytest.mark.parametrize(
    ("change", "step", "segment"),
    [(_other_expert, 8, 1), (_one_weight, 8, 1), (_router, 8, 0), (_bias, 9, 0)],
)
@pytest.mark.parametrize("private", [True, False])
def test_a_consistent_lie_is_found(
    change: Callable[[Model], dict[str, object]], step: int, segment: int, private: bool
) -> None:
    m = model()
    liar = Model(m.card, {**m.weights, **change(m)})  # type: ignore[dict-item]
    with pytest.raises(VerificationError) as caught:
        audited(liar, m, holder=key() if private else m).verify()
    assert caught.value.cell is not None
    assert (caught.value.step, caught.value.cell.segment) == (step if private else 9, segment)


def test_all_matrices_are_checked_whichever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    m = model()
    checked: list[int | None] = []
    plain = HintProducts._product

    def seen(self: HintProducts, weight: str, rows: Any, used: int, group: int | None, *rest: Any) -> Any:
        if weight == "up":
            checked.append(group)
        return plain(self, weight, rows, used, group, *rest)

    monkeypatch.setattr(HintProducts, "_product", seen)
    assert audited(m).verify().cells == 2 * ROWS
    chosen = list(checked)
    assert len(chosen) > 2
    for wrong in chosen[:2]:
        q = m.matrix("up").q.copy()
        q[wrong, 0, 0, 0] ^= 1
        checked.clear()
        with pytest.raises(VerificationError, match="the product check failed"):
            audited(Model(m.card, {**m.weights, "up": replace(m.matrix("up"), q=q)}), m).verify()
        assert checked == 2 * chosen  # once to find the failure, and once to say where it is


def test_sets_beyond_those_of_the_chosen_matrices_are_rejected() -> None:
    with pytest.raises(VerificationError, match="sets that no row chose"):
        sets_too_many().verify()


def test_a_key_survives_its_encoding() -> None:
    k = key()
    again = Key.decode(k.encode())
    assert again.encode() == k.encode()
    assert again.columns.v("up", 12, 3).tobytes() == k.columns.v("up", 12)[3].tobytes()
    assert audited(model(), holder=again).verify().cells == 2 * ROWS


@pytest.mark.parametrize("number", [-1, EXPERTS])
def test_a_number_without_a_matrix_is_an_error(number: int) -> None:
    products = ComputeProducts(model().matrix)
    call = LinearCall("up", rows(1), 2)
    with pytest.raises(ExecutionError, match=r"a number is outside 0\.\.4"):
        products.experts(call, np.array([[0, number]], np.int32), KERNELS)


def test_a_cell_opens_no_more_than_its_rows_choose() -> None:
    (site, *_) = program().plans[1].sites
    assert (site.rows, site.groups) == (CHOSEN, EXPERTS)
    w = model().weights["up"]
    assert isinstance(w, Matrix)
    assert w.q.shape == (EXPERTS, 1, 12, 8)


def test_a_step_whose_work_follows_from_values_is_not_captured() -> None:
    assert not program().captured
    router = program().segments[:1]
    assert replace(program(), segments=router, outputs=("chosen", "share"), committed=()).captured
