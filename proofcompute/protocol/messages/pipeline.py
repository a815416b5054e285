"""Define pipelines: which node runs which segments of a model that several nodes serve in a row
(docs/spec/pipelines.md).

A request addresses a pipeline by its digest, where it would name a node's key. So what a node is asked to run
is fixed by whoever asks, and no node can claim segments that were given to another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from proofcompute.commitments.hashing import message_digest
from proofcompute.commitments.signing import ED25519, scheme_of
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import MAX_PIPELINE, MAX_SEGMENTS

__all__ = ["MAX_STAGES", "Pipeline", "Stage"]

MAX_STAGES: Final = 64
"""Most nodes that serve one model together."""
KIND: Final = "proofcompute pipeline"
VERSION: Final = 1
SUITE: Final = "sha256"
"""Hash suite of a pipeline's digest, whatever suite a request has."""
KEY: Final = scheme_of(ED25519).key
"""Bytes of a node's public key."""


@dataclass(frozen=True)
class Stage:
    """The segments of one node: those from the end of the stage before it up to its own end."""

    end: int
    """The segment after the stage's last one."""
    node: bytes
    """Public key of the node that runs them, 32 bytes."""


@dataclass(frozen=True)
class Pipeline:
    """The nodes that serve a model in a row, each with consecutive segments.

    Raises InputError (FormatError) unless there are 2 to MAX_STAGES stages, of at least one segment each.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.stages) <= MAX_STAGES:
            raise FormatError(f"a pipeline has 2 to {MAX_STAGES} stages, not {len(self.stages)}")
        last = 0
        for stage in self.stages:
            if not (type(stage.end) is int and last < stage.end <= MAX_SEGMENTS):
                raise FormatError(
                    f"a stage ends at segment {stage.end!r}, after {last} and by {MAX_SEGMENTS}"
                )
            if len(stage.node) != KEY:
                raise FormatError(f"a node's public key has {KEY} bytes, not {len(stage.node)}")
            last = stage.end

    @staticmethod
    def of(ends: Sequence[int], nodes: Sequence[bytes]) -> Pipeline:
        """Return the pipeline whose stages end at the segments ``ends`` and are run by ``nodes``.

        Raises InputError if they are not as many, and the errors of the class.
        """
        if len(ends) != len(nodes):
            raise InputError(f"{len(ends)} stages for {len(nodes)} nodes")
        return Pipeline(tuple(Stage(end, node) for end, node in zip(ends, nodes, strict=True)))

    @property
    def end(self) -> int:
        """The end of the last stage, which is the number of the program's segments."""
        return self.stages[-1].end

    def segments(self, stage: int) -> range:
        """Return the segments of a stage. Raises IndexError if there is no such stage."""
        return range(self.stages[stage - 1].end if stage else 0, self.stages[stage].end)

    def value(self) -> wire.Value:
        """Return the value to encode inside other messages."""
        return tuple((stage.end, stage.node) for stage in self.stages)

    @staticmethod
    def from_value(value: wire.Value) -> Pipeline:
        """Decode a pipeline inside another message. Raises FormatError or LimitError if ``value`` is none."""
        stages = []
        for item in wire.as_list(value, "stages", max_n=MAX_STAGES):
            end, node = wire.as_list(item, "stage", n=2)
            stages.append(
                Stage(
                    wire.as_int(end, "end of a stage", 1, MAX_SEGMENTS), wire.as_bytes(node, "node key", KEY)
                )
            )
        return Pipeline(tuple(stages))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.value()))

    @staticmethod
    def decode(data: bytes) -> Pipeline:
        """Decode a pipeline. Raises FormatError or LimitError if ``data`` encodes none."""
        top = wire.as_list(wire.decode(data, limit=MAX_PIPELINE, what="pipeline"), "pipeline", n=3)
        wire.check_head(top, KIND, VERSION)
        return Pipeline.from_value(top[2])

    @cached_property
    def digest(self) -> bytes:
        """Digest by which a request addresses the pipeline: 32 bytes, as many as a key has."""
        return message_digest(SUITE, "pipeline", self.encode())
