"""Measurements of no cost, for tests of what is done with them."""

from __future__ import annotations

from typing import Any

import pytest

from proofcompute.bench.results import SizeRow
from proofcompute.bench.sweeps import Bench


class Stub:
    """Measurements of no cost, which are counted; one of them may be stopped by its user."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.measured: list[str] = []
        self.stop_before = ""
        monkeypatch.setattr(Bench, "size", lambda _, step, size, precision, lengths: self(step, precision))

    def __call__(self, step: str, precision: str) -> SizeRow:
        if step == self.stop_before:
            raise KeyboardInterrupt
        self.measured.append(step)
        serial = float(len(self.measured))
        whole: dict[str, Any] = dict.fromkeys(
            ("weights", "key_bytes", "rows", "cells", "receipt_bytes", "opening_bytes"), 1
        )
        shares = ("commit_overhead_prefill", "commit_overhead", "verify_over_execute", "execute_seconds")
        rates = ("prefill_tokens_per_second", "decode_tokens_per_second")
        figures: dict[str, Any] = dict.fromkeys((*shares, *rates), 0.5)
        return SizeRow(
            step=step,
            model="m",
            precision=precision,
            prompt=1,
            tokens=1,
            **whole,
            **figures,
            rounds={
                what: [serial] * 3
                for what in ("prefill", "commit prefill", "run", "commit", "run beside", "verify")
            },
        )
