"""Decoding steps of every family are recorded in full, and repeated steps give the bytes of NumPy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import synthetic
from cuda_rig.requests import run
from importers import families
from importers.test_compiled_families import worded
from proofcompute.arithmetic.backends.numba import NumbaKernels, mapping
from proofcompute.arithmetic.backends.numba.runtime import cache, threads
from proofcompute.arithmetic.backends.numba.steps import calls, crew, repeating
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.testing.requests import token_request

PRECISIONS = ("w8a16", "w8a8", "w16a16")


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How each repeated step ended."""
    found: list[bool] = []

    def lead(*arguments: Any) -> bool:
        found.append(original(*arguments))
        return found[-1]

    original = crew.lead
    monkeypatch.setattr(crew, "lead", lead)
    return found


def staggered(m: Model, asked: Sequence[Request], kernels: NumbaKernels) -> list[bytes]:
    """Receipts of requests that come one after the other and leave when they have ended."""
    node = synthetic.node(m, kernels, chunk=64)
    sessions: list[Any] = []
    while len(sessions) < len(asked) or any(s.running for s in sessions):
        if len(sessions) < len(asked):
            sessions.append(node.engine.add(asked[len(sessions)]))
        assert not node.engine.step().failed
    return [node.commit(s, keep=False).encode() for s in sessions]


@pytest.mark.parametrize("case", families.FAMILIES)
def test_a_family_is_recorded_in_full(
    case: str, led: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A new family whose steps are not recorded fails here, and is named by the call that lacks an entry."""
    lacking: set[str] = set()

    def record(
        recording: Any, name: str, arguments: Sequence[Any], named: Mapping[str, Any], result: Any
    ) -> None:
        before = recording.possible
        original(recording, name, arguments, named, result)
        if before and not recording.possible:
            lacking.add(name)

    original = calls.record
    monkeypatch.setattr(repeating, "record", record)
    monkeypatch.setattr(repeating, "_COMPILED", 0)  # else only after some steps
    number = families.FAMILIES.index(case)
    checkpoint = worded(families.opened(case, tmp_path))
    m = compile_decoder(checkpoint, synthetic.KERNELS, PRECISIONS[number % len(PRECISIONS)])
    asked = [token_request(m, 2 + i % 3, 3 + (i + number) % 4) for i in range(9)]
    _, expected = run(m, asked, synthetic.KERNELS)
    for size in (1, 2):
        monkeypatch.setattr(threads, "size", lambda size=size: size)
        assert run(m, asked, NumbaKernels())[1] == expected
        assert not lacking
        assert len(led) >= 4  # all requests at once, and then fewer
        assert staggered(m, asked, NumbaKernels()) == expected
        assert len(led) >= 9
        assert all(led)
        led.clear()


def test_loops_are_compiled_for_answers_that_are_long_enough(
    led: list[bool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A step is recorded at once if its loops are compiled, and otherwise after some steps."""
    compiled: list[bool] = []

    def generated(name: str, make: Any, signature: Any, worth: bool) -> Any:
        compiled.append(worth)
        return original(name, make, signature, worth) if worth else None

    original = cache.generated
    monkeypatch.setattr(mapping, "generated", generated)
    monkeypatch.setattr(mapping, "_known", {})
    m = compile_decoder(worded(families.opened("gemma", tmp_path)), synthetic.KERNELS, "w8a16")
    kernels = NumbaKernels()
    asked = [token_request(m, 3, repeating._COMPILED - 1)]
    assert run(m, asked, kernels)[1] == run(m, asked, synthetic.KERNELS)[1]
    assert compiled
    assert not any(compiled)
    assert not led
    asked = [token_request(m, 3, repeating._COMPILED + 5)]
    expected = run(m, asked, synthetic.KERNELS)[1]
    assert run(m, asked, kernels)[1] == expected
    assert any(compiled)
    assert len(led) == 3  # after the prompt's token, sixteen plain steps, and one that is recorded
    led.clear()
    assert run(m, asked, kernels)[1] == expected
    assert len(led) == repeating._COMPILED + 3
    assert all(led)
