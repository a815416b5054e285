"""Making a key of the synthetic model, interrupted at a weight."""

from __future__ import annotations

from pathlib import Path

import pytest

import synthetic
from proofcompute.models.card import ModelCard, Weight, WeightReader
from proofcompute.verifier import Key, write_key
from proofcompute.verifier.partial import partial_path

SEED = bytes([7] * 32)
WEIGHTS = [s.name for s in synthetic.model().program.weights]


class Stopped(Exception):
    """The process ends here."""


class Reader:
    """Weights of the synthetic model, one at a time; stops before a weight, and notes what was asked for."""

    def __init__(self, stop: str | None = None, model: WeightReader | None = None) -> None:
        self.model = model or synthetic.model()
        self.stop = stop
        self.asked: list[str] = []

    @property
    def card(self) -> ModelCard:
        return self.model.card

    def weight(self, name: str) -> Weight:
        if name == self.stop:
            raise Stopped
        self.asked.append(name)
        return self.model.weight(name)


def make(path: Path, reader: WeightReader, seed: bytes | None = SEED, columns: int = 2) -> Key:
    return write_key(reader, synthetic.KERNELS, path, columns=columns, seed=seed)


def interrupted(path: Path, stop: str = WEIGHTS[5], seed: bytes | None = SEED) -> bytes:
    with pytest.raises(Stopped):
        make(path, Reader(stop), seed)
    return partial_path(path).read_bytes()
