"""Functions written with NumPy: results as NumPy's, audits, and what is refused by line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as cp
import numpy as np
import pytest

import proofcompute as pc
from proofcompute.functions import Proved

F32 = np.float32
rng = np.random.default_rng(0)
W1 = (rng.standard_normal((80, 40)) / 9).astype(F32)
W2 = rng.standard_normal((40, 6)) / 6
GAMMA, BETA = 1 + 0.1 * rng.standard_normal(24).astype(F32), 0.1 * rng.standard_normal(24).astype(F32)
QKV = (rng.standard_normal((16, 48)) / 4).astype(F32)
OUT = (rng.standard_normal((16, 16)) / 4).astype(F32)
TABLE = rng.standard_normal((11, 16)).astype(F32)


def numbers(*shape: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def perceptron(x: Any) -> Any:
    h = cp.maximum(x @ W1, 0)
    z = h @ W2
    e = cp.exp(z - cp.max(z, axis=1, keepdims=True))
    return e / cp.sum(e, axis=1, keepdims=True)


def layer_norm(x: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5) * GAMMA + BETA


def attention(x: Any) -> Any:
    """Causal attention of two heads over each row's own sequence [rows, steps, 16]."""
    n, steps, d = x.shape
    q, k, v = (
        np.transpose(part.reshape(n, steps, 2, d // 2), (0, 2, 1, 3)) for part in np.split(x @ QKV, 3, axis=2)
    )
    scores = q @ k.swapaxes(2, 3) / np.sqrt(d // 2)
    ahead = np.triu(np.ones((steps, steps)), 1) > 0
    weights = softmax(np.where(ahead, -np.inf, scores))
    mixed = np.einsum("nhqk,nhkd->nqhd", weights, v).reshape(n, -1, d)
    return mixed @ OUT + x


def embedding(ids: Any) -> Any:
    rows = np.take(TABLE, ids, axis=0)
    last = TABLE[ids[:, -1]]
    return np.concatenate([rows.mean(axis=1), last], axis=1), np.argmax(rows @ OUT[:, :3], axis=2)


def assorted(x: Any, y: Any) -> Any:
    a = np.stack([x, y], axis=1)
    b = np.clip(a, -1, 1)[:, ::-1, 1:]
    c = np.where(x > y, np.tanh(x), np.log1p(np.abs(y)))
    d = np.cumsum(c, axis=1) + np.linspace(0, 1, 5) * np.arange(5)[None] ** 2
    e = np.expand_dims(x, 2) * np.eye(5)[None] + np.zeros_like(x)[:, :, None]
    wide = np.broadcast_to(np.squeeze(x[:, :1], axis=1)[:, None], (x.shape[0], 5))
    whole = (x * 3).astype(np.int32) // 2 + (y * 7).astype("int32") % 5
    return b, d, e.std(axis=(1, 2)), wide - y // 0.3 + y % 0.7, whole, x.sum(1), (x > 0) & ~(y > 0)


IDS = np.random.default_rng(2).integers(0, 11, (4, 5))
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[Any, ...]]] = {
    "perceptron": (perceptron, {"W1": W1, "W2": W2}, (numbers(5, 80),)),
    "layer norm": (layer_norm, {"GAMMA": GAMMA, "BETA": BETA}, (numbers(3, 24),)),
    "attention": (attention, {"QKV": QKV, "OUT": OUT}, (numbers(3, 7, 16),)),
    "embedding": (embedding, {"TABLE": TABLE, "OUT": OUT}, (IDS,)),
    "assorted": (assorted, {}, (numbers(4, 5), numbers(4, 5, seed=3))),
}


def made(function: Callable[..., Any], weights: dict[str, Any], **options: Any) -> Proved:
    return pc.proved(weights=weights, device="numpy", **options)(function)


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_numpy_and_a_full_audit_accepts(name: str) -> None:
    function, weights, batch = CASES[name]
    f = made(function, weights)
    results, proof = f(*batch)
    rights = function(*batch)
    several = isinstance(rights, tuple)
    assert several == isinstance(results, tuple)
    for found, right in zip(results if several else [results], rights if several else [rights], strict=True):
        assert found.shape == right.shape
        assert found.dtype.kind == right.dtype.kind
        if right.dtype.kind == "f":
            np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-3 * np.abs(right).max())
        else:
            np.testing.assert_array_equal(found, right)
    assert 0 < f.report().error < 1e-3
    verified = pc.Auditor(f.key(), device="numpy").audit(proof.request, proof.receipt, proof.open, "all")
    assert verified.cells == verified.total == len(batch[0]) * f.report().segments


def test_a_changed_weight_is_caught() -> None:
    f = made(*CASES["perceptron"][:2])
    f(numbers(2, 80))
    auditor = pc.Auditor(f.key(), device="numpy")
    name = next(w.name for w in f.model.program.weights if w.kind == "matrix")
    w = f.model.matrix(name)
    q = w.q.copy()
    q[0, 0, 0] ^= 1
    changed = replace(f.model, weights={**f.model.weights, name: replace(w, q=q)})
    node = pc.Node(changed, device="numpy")
    request = pc.array_request(f.model, numbers(2, 80), node=node.public)
    answer = node.answer(request)
    with pytest.raises(pc.VerificationError):
        auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")


def test_rows_of_later_calls_are_any_number_of_the_same_shape() -> None:
    f = made(*CASES["perceptron"][:2])
    with pytest.raises(pc.InputError, match="not made yet"):
        f.report()
    first, _ = f(numbers(5, 80))
    again, _ = f(numbers(9, 80)[:2])
    assert again.shape == (2, 6)
    np.testing.assert_array_equal(f(numbers(5, 80)[3:4])[0], first[3:4])
    model = f.model.model_id
    with pytest.raises(pc.InputError, match="was traced with float32"):
        f(numbers(5, 79))
    with pytest.raises(pc.InputError, match="argument x is float64"):
        f(numbers(5, 80).astype(np.float64))
    other = made(*CASES["perceptron"][:2])
    other(numbers(3, 80))
    assert other.model.model_id == model


def test_precisions() -> None:
    errors = {}
    for precision in ("w8a8", "w16a16", "auto"):
        f = made(*CASES["perceptron"][:2], precision=precision)
        f(numbers(3, 80))
        errors[precision] = f.report().error
    assert errors["w16a16"] < 1e-4 < errors["w8a8"] < 0.05
    assert errors["auto"] < 0.004
    with pytest.raises(pc.InputError, match="none of"):
        made(perceptron, {"W1": W1, "W2": W2}, precision="w4a4")


def test_weights_are_copied_and_may_be_of_a_closure() -> None:
    w = W1.copy()

    @pc.proved(weights={"w": w}, device="numpy")
    def product(x: Any) -> Any:
        """Multiply."""
        return np.dot(x, w)

    assert (product.__name__, product.__doc__) == ("product", "Multiply.")
    kept = w.copy()
    with pytest.raises(pc.InputError, match="no free variable 'v'"):
        made(perceptron, {"W1": W1, "v": W2})
    y, _ = product(numbers(4, 80))
    w += 1
    again, _ = product(numbers(4, 80))
    np.testing.assert_array_equal(y, again)
    np.testing.assert_allclose(y, numbers(4, 80) @ kept, rtol=1e-3, atol=1e-3)


def _branch(x: Any) -> Any:
    if x[:, 0] > 0:  # here
        return x
    return -x


def _loop(x: Any) -> Any:
    return np.stack([row * 2 for row in x])  # here


def _mean_of_rows(x: Any) -> Any:
    y = x * 2
    return y - y.mean(axis=-2)  # here


def _joined(x: Any) -> Any:
    return np.concatenate([x, x], axis=0)  # here


def _all_sum(x: Any) -> Any:
    return x / np.sum(x)  # here


def _in_place(x: Any) -> Any:
    y = x + 1
    y[:, 0] = 3  # here
    return y


def _added_in_place(x: Any) -> Any:
    y = x * 1
    y += 1  # here
    return y


def _outside(x: Any) -> Any:
    return np.linalg.norm(x, axis=1)  # here


def _unnamed(x: Any) -> Any:
    return x[:, :16] @ OUT  # here


def _first_row(x: Any) -> Any:
    return x - x[0]  # here


def _transposed(x: Any) -> Any:
    return x.T  # here


def _gram(x: Any) -> Any:
    return x @ np.swapaxes(x, 0, 1)  # here


def _merged(x: Any) -> Any:
    return x.reshape(-1)  # here


def _row_number(x: Any) -> Any:
    return x / x.shape[0]  # here


def _moved_rows(x: Any) -> Any:
    return x[:, :3].sum(axis=1) + x[:, :3]  # here


def _entries_of_rows(x: Any) -> Any:
    return x + np.ones((3, 24))  # here


def _python_number(x: Any) -> Any:
    return x * float(x[:, 0].sum(axis=0) if x.ndim == 1 else x[0, 0])  # here


def _equation(x: Any) -> Any:
    return np.einsum("nd,nd->d", x, x)  # here


def _narrowed(x: Any) -> Any:
    return x.astype(np.int32).astype(np.int8)  # here


REFUSED = {
    _loop: "depends on numbers in an array",
    _branch: "depends on numbers in an array",
    _mean_of_rows: "mean along axis 0 mixes rows",
    _joined: "joining along axis 0 mixes rows",
    _all_sum: "sum over all axes mixes rows",
    _in_place: "changed in place",
    _added_in_place: "changed in place",
    _outside: "numpy.linalg, which is none of the functions",
    _unnamed: "not named in weights",
    _first_row: "an index takes rows apart",
    _transposed: "moves the axis of rows",
    _gram: "mixes rows",
    _merged: "a reshape mixes rows|keeps rows apart",
    _row_number: "the number of rows is not known",
    _moved_rows: "its rows would become axis 1",
    _entries_of_rows: "3 entries along the axis of rows",
    _python_number: "an index takes rows apart",
    _equation: "mixes rows",
    _narrowed: "does not hold all of its numbers",
}


def _other_arguments(x: Any) -> Any:
    return np.add(x, 1, out=np.zeros((3, 24), np.float32))  # here


def _method_of_a_function(x: Any) -> Any:
    return np.maximum.reduce(x, axis=1)  # here


REFUSED |= {_other_arguments: "add with these arguments", _method_of_a_function: "numpy.maximum.reduce"}


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_what_cannot_be_proved_is_refused_by_line(function: Callable[..., Any]) -> None:
    lines, start = inspect.getsourcelines(function)
    (line,) = [start + i for i, text in enumerate(lines) if "# here" in text]
    with pytest.raises(pc.InputError, match=REFUSED[function]) as caught:
        made(function, {})(numbers(1 if function is _branch else 3, 24))
    assert str(caught.value).startswith(f"{__file__}:{line}: ")


def test_a_result_that_is_the_same_for_all_rows_is_refused() -> None:
    def constant(x: Any) -> Any:
        return np.zeros((4, 2))

    with pytest.raises(pc.InputError, match="no rows"):
        made(constant, {})(numbers(3, 24))


def test_a_row_may_be_one_number() -> None:
    half = np.float16(0.5) * np.ones(1, np.float16)

    def parabola(x: Any, y: Any) -> Any:
        return half * x**2 - abs(y)

    x, y = numbers(6), np.arange(6, dtype=np.int32) - 3
    found, _ = made(parabola, {"half": half})(x, y=y)
    np.testing.assert_allclose(found, 0.5 * x**2 - abs(y), rtol=1e-5)


def test_results_that_are_not_finite() -> None:
    state = iter([False, True])

    def changing(x: Any) -> Any:
        return x / (x * 0) if next(state) else x * 1

    def infinite(x: Any) -> Any:
        return x / (x - x)

    with np.errstate(all="ignore"):
        with pytest.raises(pc.ExecutionError, match="must be finite"):
            made(changing, {})(numbers(3, 8))
        with pytest.raises(pc.ExecutionError, match="must be finite"):
            made(infinite, {})(numbers(3, 8))
        state = iter([True, False])
        f = made(changing, {})
        f(numbers(3, 8))
    assert f.report().error == np.inf


class Shared:
    """An array of another library, which shares its memory by DLPack."""

    def __init__(self, x: np.ndarray[Any, Any]) -> None:
        self.x = x

    def __array_namespace__(self) -> Any:
        return SimpleNamespace(from_dlpack=lambda x: Shared(np.from_dlpack(x)))

    def __dlpack__(self, *args: Any, **options: Any) -> Any:
        return self.x.__dlpack__(*args, **options)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()

    def __matmul__(self, other: Shared) -> Shared:
        return Shared(self.x @ other.x)


def test_arrays_of_another_library_come_back_as_such() -> None:
    weight = Shared(W1)

    def product(x: Any) -> Any:
        return x @ weight

    y, proof = made(product, {"weight": weight})(Shared(numbers(3, 80)))
    assert isinstance(y, Shared)
    np.testing.assert_allclose(y.x, numbers(3, 80) @ W1, rtol=1e-3, atol=1e-3)
    assert proof.request.inputs[0][1] == numbers(3, 80).tobytes()


def test_a_library_is_replaced_by_what_its_module_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's functions refuse foreign arrays; the copy never calls them."""
    library = ModuleType("cupy")
    library.tanh = np.tanh  # type: ignore[attr-defined]
    monkeypatch.setitem(globals(), "cp", library)

    def bounded(x: Any) -> Any:
        return cp.tanh(x)

    y, _ = made(bounded, {})(numbers(3, 8))
    np.testing.assert_allclose(y, np.tanh(numbers(3, 8)), rtol=1e-6)
    assert cp is library
