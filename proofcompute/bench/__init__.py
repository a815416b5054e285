"""Measurements for researchers: what proving and verifying cost, and how they grow.

:func:`measure` runs the sweeps that a :class:`Settings` names and returns :class:`Results`, which are plain
data: figures, the rounds that they follow from, the facts of the machine, what others did to it meanwhile,
and the command that reproduces them. Every figure is a median, every comparison a ratio taken within one run
with both sides in turn, and no clock runs before everything is compiled. Times of different runs or machines
do not compare; ratios do, roughly. :class:`Record` keeps the results in a directory, step by step, so that a
run which was interrupted goes on.
"""

from __future__ import annotations

from proofcompute.bench.own import Own
from proofcompute.bench.record import Record
from proofcompute.bench.results import Results
from proofcompute.bench.runner import measure, planned
from proofcompute.bench.settings import Lengths, Settings

__all__ = ["Lengths", "Own", "Record", "Results", "Settings", "measure", "planned"]
