"""Compiled code may take every number to lie where its type may: bytes of messages and files lie anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.importers.compiling import compile_decoder
from proofcompute.prover import RunDirectory
from proofcompute.prover.node import Node
from proofcompute.testing.models import TINY, random_checkpoint
from proofcompute.testing.subject import keep
from proofcompute.verifier import keygen


class Strict:
    """A backend that is given nothing but aligned arrays."""

    def __init__(self) -> None:
        self.given = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(synthetic.KERNELS, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            for x in self._arrays((*arguments, *named.values())):
                assert x.flags.aligned, name
                self.given += 1
            return cast(Callable[..., Any], found)(*arguments, **named)

        return call

    def _arrays(self, values: Iterable[Any]) -> Iterable[np.ndarray]:
        for value in values:
            if isinstance(value, np.ndarray):
                yield value
            elif isinstance(value, (tuple, list)):
                yield from self._arrays(value)


@pytest.mark.parametrize("hints", [True, False])
def test_prover_and_verifier_compute_on_aligned_numbers(hints: bool, tmp_path: Any) -> None:
    """Rows of 30 bytes with a scale behind them; cells of one row and of more; a trace in a file."""
    decoder = replace(TINY, width=30)
    m = compile_decoder(random_checkpoint(3, decoder), synthetic.KERNELS, "w8a16")
    honest = synthetic.node(m)
    session = honest.run(synthetic.request(m, "odd", max_tokens=4))
    run = keep(honest, session)
    directory = RunDirectory(tmp_path / "run")
    directory.begin(run.request)
    directory.finish(session, run.receipt)
    strict = Strict()
    kernels = cast(Kernels, strict)
    stored, receipt = directory.stored(m, kernels)
    node = Node(m, synthetic.NODE, device=kernels)
    node.remember(receipt, stored)
    whole = synthetic.challenge_all(run, hints=hints)
    rows = tuple(c._replace(a=a, b=a + 1) for c in whole.cells for a in range(c.a, c.b))
    for challenge in (whole, replace(whole, cells=rows)):
        holder = keygen(m, synthetic.KERNELS, seed=bytes(32)) if hints else m
        opening = node.open(run.request, receipt, challenge)
        before = strict.given
        synthetic.check(holder, run, challenge, opening, kernels)
        assert strict.given > before
