"""Measures opening every cell, which an auditor pays for, beside running the request."""

from __future__ import annotations

from io import RawIOBase
from statistics import median
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.timing import alternating, ratios
from proofcompute.models.model import Model
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.messages import Challenge
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Run, Subject

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["LENGTHS", "whole"]

LENGTHS: Final = ((64, 448), (512, 1))
"""Tokens of the prompt and of the answer."""


class _Sent(RawIOBase):
    """A stream that does to an opening what a node does before it sends it: each part is copied once.

    Nothing is collected, since no node holds an opening of several hundred megabytes in memory.
    """

    size = 0
    """Bytes written."""

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        part = bytes(data)
        self.size += len(part)
        return len(part)


def _opened(run: Run) -> int:
    """Open every cell of a run, and return the bytes of the opening."""
    sent = _Sent()
    run.node.remember(run.receipt, run.stored)
    challenge = Challenge(run.receipt.digest, all_cells(run.claim))
    run.node.open(run.request, run.receipt, challenge, cast(BinaryIO, sent))
    return sent.size


def whole(
    model: Model, kernels: Kernels, rounds: int, lengths: tuple[tuple[int, int], ...] = LENGTHS
) -> list[dict[str, Any]]:
    """Return the seconds of running requests of some lengths, and of opening every cell of the answer."""
    subject = Subject(model, kernels)
    rows = []
    for prompt, tokens in lengths:
        request = token_request(model, prompt, tokens)
        done = subject.finish(request)
        bytes_ = _opened(done)  # compiles
        running, opening = alternating(
            lambda request=request: subject.execute(request),  # type: ignore[misc]
            lambda done=done: _opened(done),  # type: ignore[misc]
            rounds,
        )
        rows.append(
            {
                "prompt": prompt,
                "tokens": tokens,
                "cells": done.claim.statement.cells,
                "opening_bytes": bytes_,
                "running_seconds": median(running),
                "opening_seconds": median(opening),
                "over_running": median(ratios(running, opening)),
                "rounds": {"running": running, "opening": opening},
            }
        )
    return rows
