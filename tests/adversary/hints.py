"""Hints of the small model's honest answer."""

from __future__ import annotations

from functools import partial

from adversary.setting import target
from proofcompute.attacks import hints

TARGET = hints.last_cell(target())
"""The cell that makes the last answer token."""
hint_of = partial(hints.hint_of, target())
packed_sets = partial(hints.packed_sets, target())
with_hint = partial(hints.with_hint, target())
logits_of = partial(hints.logits_of, target())
