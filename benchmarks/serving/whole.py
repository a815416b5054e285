"""Measures opening every cell, which an auditor pays for, beside running the request."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.timing import alternating, ratios
from proofcompute.models.model import Model
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

__all__ = ["LENGTHS", "whole"]

LENGTHS: Final = ((64, 448), (512, 1))
"""Tokens of the prompt and of the answer."""


def whole(
    model: Model, kernels: Kernels, rounds: int, lengths: tuple[tuple[int, int], ...] = LENGTHS
) -> list[dict[str, Any]]:
    """Return the seconds of running requests of some lengths, and of opening every cell of the answer."""
    subject = Subject(model, kernels)
    rows = []
    for prompt, tokens in lengths:
        request = token_request(model, prompt, tokens)
        done = subject.finish(request)
        bytes_ = len(subject.open(done).opening)  # compiles
        running, opening = alternating(
            lambda request=request: subject.execute(request),  # type: ignore[misc]
            lambda done=done: subject.open(done),  # type: ignore[misc]
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
