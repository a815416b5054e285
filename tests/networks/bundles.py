"""Bundles of evidence in files, for the adapters of networks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from adversary.evidence import AUDITOR, bundle, good, judge_key, lie
from proofcompute.networks.work import Work

__all__ = ["AUDITOR", "KINDS", "judge_key", "saved", "work"]

KINDS = ("accepted", "contradicted")


@cache
def _encoded(kind: str) -> bytes:
    return bundle(good() if kind == "accepted" else lie()).encode()


def saved(folder: Path, kind: str) -> Path:
    """A file with a bundle of evidence."""
    path = folder / kind
    path.write_bytes(_encoded(kind))
    return path


def work(folder: Path, kind: str) -> Work:
    """What the bundle says."""
    return Work.of(saved(folder, kind))
