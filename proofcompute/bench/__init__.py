"""Measures, for researchers, what proving and verifying cost, and how the costs grow.

:func:`measure` runs the sweeps that a :class:`Settings` names and returns :class:`Results`, which are plain
data: figures, the rounds from which they follow, facts about the machine, its load by other processes, and
the command that reproduces them. Every figure is a median, every comparison a ratio taken within one run with
both sides in turn, and everything is compiled before a clock starts. Times of different runs or machines are
not comparable; ratios are, roughly. :class:`Record` keeps the results in a directory, step by step, so that
an interrupted run can continue.
"""

from __future__ import annotations

from proofcompute.bench.own import Own
from proofcompute.bench.record import Record
from proofcompute.bench.results import Results
from proofcompute.bench.runner import measure, planned
from proofcompute.bench.settings import Lengths, Settings

__all__ = ["Lengths", "Own", "Record", "Results", "Settings", "measure", "planned"]
