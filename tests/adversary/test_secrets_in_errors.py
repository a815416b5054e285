"""No error of a check, or of reading or making a key, leads to a secret: frames, locals, closures, causes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from adversary.leaks import found, frames, of_the_key, pieces, secrets_of, shown
from adversary.setting import KERNELS, case, honest, key, model
from jobs import cases as jobs
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import ProofcomputeError, VerificationError
from proofcompute.errors.sealed import Secret, sealed
from proofcompute.jobs import ProductKey
from proofcompute.verifier import Key, keygen, write_key
from proofcompute.verifier.partial import PartialKey, partial_path, progress_of

SEED = hashlib.sha256(b"a seed that looks like nothing else").digest()


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        call()
    return caught.value


# -- the walk finds what is there --------------------------------------------------------------------------
def test_the_walk_finds_secrets_where_they_are() -> None:
    spec = next(s for s in model().program.weights if s.kind == "matrix")
    s = key().columns.s(spec.name, spec.rows)

    def leaking(how: int) -> None:
        if how == 0:
            raise ValueError(s)
        try:
            raise KeyError(key().columns.seed)
        except KeyError as e:
            if how == 1:
                raise VerificationError(8, "the product check failed") from e
            raise ValueError from None

    for how in range(3):
        assert found(raised(lambda how=how: leaking(how)), of_the_key())  # type: ignore[misc]


# -- models ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("name", ["project", "rescale", "largest_square"])
def test_whatever_happens_inside_a_check(
    error: type[BaseException], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = case(honest())

    def fail(*_: object) -> None:
        raise error("inside")

    monkeypatch.setattr(type(KERNELS), name, fail)
    caught = raised(lambda: good.verify())
    assert type(caught) is error
    assert str(caught) == "inside"
    assert found(caught, of_the_key()) == []


# -- products ----------------------------------------------------------------------------------------------
def test_a_failed_check_of_a_product() -> None:
    rng = np.random.default_rng(4)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((6, 9), (9, 7)))
    c = a.astype(np.int32) @ b.astype(np.int32)
    c[2, 3] += 1
    for device in ("numpy", "cpu"):
        secret = ProductKey(b, seed=SEED, device=device)
        known = [SEED, *pieces(secret._used._s), *pieces(secret._used._v)]
        for claim in (c, c + (1 << 30)):
            assert found(raised(lambda secret=secret, claim=claim: secret.check(a, claim)), known) == []  # type: ignore[misc]
        assert "_s" not in repr(secret)


def test_a_failed_check_of_a_job() -> None:
    done = jobs.run()
    secret = ProductKey(done.b, seed=SEED, suite="sha256", device=jobs.DEVICE)
    known = [SEED, *pieces(secret._used._s), *pieces(secret._used._v)]
    c = done.proof.c.copy()
    c[2, 3] += 1
    wrong = jobs.recommitted(done, c)
    for attack in (
        lambda: jobs.audit(wrong, b=secret),
        lambda: jobs.audit(done, b=secret, opening=jobs.opened(done)[:-9]),
        lambda: jobs.audit(done, b=secret, receipt=done.receipt.encode()[:-1]),
        lambda: jobs.audit(done, b=secret, node=bytes(32)),
    ):
        error = raised(attack)
        assert isinstance(error, ProofcomputeError)
        assert found(error, known) == []


# -- files -------------------------------------------------------------------------------------------------
def test_a_damaged_key_or_identity(tmp_path: Path) -> None:
    path = tmp_path / "key"
    holder = keygen(model(), KERNELS, seed=SEED)
    secrets = secrets_of(holder.columns, holder.program)
    holder.save(path)
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 25)):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert found(raised(lambda: Key.load(path)), secrets) == []
        assert found(raised(lambda changed=changed: Key.decode(bytes(changed))), secrets) == []  # type: ignore[misc]
    node = NodeIdentity(SEED)
    node.save(tmp_path / "node")
    with (tmp_path / "node").open("ab") as file:
        file.write(b"#")
    assert found(raised(lambda: NodeIdentity.load(tmp_path / "node")), [node.seed]) == []
    for saved in (holder.save, node.save):
        place = tmp_path / "none" / "file"
        assert found(raised(lambda saved=saved, place=place: saved(place)), secrets) == []  # type: ignore[misc]


class Stops:
    """A model that stops after some weights, with an error of its own."""

    def __init__(self, after: int) -> None:
        self.card = model().card
        self._left = after

    def weight(self, name: str) -> Any:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("stopped")
        return model().weights[name]


def test_a_key_that_is_not_finished(tmp_path: Path) -> None:
    path, seed = tmp_path / "key", SEED
    secrets = secrets_of(keygen(model(), KERNELS, seed=seed).columns, model().program)
    with PartialKey.begin(path, model().card, 2, seed) as begun:
        assert not any(s in data for data in shown(begun) for s in secrets)
    assert found(raised(lambda: write_key(Stops(0), KERNELS, path)), secrets) == []
    assert found(raised(lambda: write_key(Stops(3), KERNELS, path)), secrets) == []
    there = partial_path(path)
    with there.open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"###")
    assert found(raised(lambda: write_key(Stops(9), KERNELS, path)), secrets) == []
    with there.open("r+b") as file:
        file.write(b"\xff")
    assert found(raised(lambda: progress_of(there)), secrets) == []


def test_a_node_that_cannot_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    from Crypto.PublicKey import ECC

    node = NodeIdentity(SEED)
    seen: list[BaseException] = [raised(lambda: node.sign(cast(bytes, "text")))]

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ECC, "construct", fail)
    seen += [raised(lambda: node.sign(bytes(32))), raised(lambda: node.public)]
    for error in seen:
        assert found(error, [SEED]) == []
        assert {f.f_code.co_name for f in frames(error)}.isdisjoint({"sign", "public", "new", "construct"})


# -- sealed ------------------------------------------------------------------------------------------------
def test_sealed_gives_results_and_errors_back() -> None:
    @sealed
    def double(x: int, *, fail: BaseException | None = None) -> int | None:
        if fail is not None:
            raise fail
        return 2 * x if x else None

    assert double(2) == 4
    assert double(0) is None
    assert double.__name__ == "double"
    for error in (ValueError("a"), KeyboardInterrupt(), ExceptionGroup("g", [ValueError("b")])):
        caught = raised(lambda error=error: double(1, fail=error))  # type: ignore[misc]
        assert caught is error
        assert [f.f_code.co_name for f in frames(caught)][-1] == "call"
        assert caught.__context__ is None


def test_objects_that_hold_secrets_do_not_show_them() -> None:
    seed = SEED
    holder = keygen(model(), KERNELS, seed=seed)
    secrets = secrets_of(holder.columns, holder.program)
    for thing in (holder, holder.columns, Secret(seed), NodeIdentity(seed), holder.log):
        assert not any(s in data for data in shown(thing) for s in secrets)
