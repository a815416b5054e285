"""Compiled code may take every number to lie where its type may: bytes of messages and files lie anywhere."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

import synthetic
from proofcompute.importers.decoder import compile_decoder
from proofcompute.kernels import Kernels
from proofcompute.messages import Challenge
from proofcompute.prover import RunDirectory, open_cells
from proofcompute.verifier import keygen, verify


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
    decoder = replace(synthetic.DECODER, width=30)
    m = compile_decoder(synthetic.checkpoint(3, decoder), synthetic.KERNELS, "w8a16")
    run = synthetic.prove(m, synthetic.request(m, "odd", max_tokens=4))
    directory = RunDirectory(tmp_path / "run")
    directory.begin(run.session.request)
    directory.finish(run.session, run.receipt)
    kernels = Strict()
    stored, _ = directory.stored(m, cast(Kernels, kernels))
    for challenge in (
        synthetic.challenge_all(run, hints=hints),
        Challenge(
            run.receipt.digest,
            tuple(
                c._replace(a=a, b=a + 1) for c in synthetic.challenge_all(run).cells for a in range(c.a, c.b)
            ),
            hints=hints,
            tables=hints,
        ),
    ):
        opening = io.BytesIO()
        open_cells(m, stored, run.receipt, challenge, opening, synthetic.NODE)
        opening.seek(0)
        holder = keygen(m, synthetic.KERNELS, seed=bytes(32)) if hints else m
        before = kernels.given
        verify(
            holder,
            run.session.request,
            run.receipt.encode(),
            challenge,
            opening,
            kernels=cast(Kernels, kernels),
        )
        assert kernels.given > before
