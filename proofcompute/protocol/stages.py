"""Derive what each stage of a pipeline reads, writes and hands on (docs/spec/pipelines.md#stages)."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.errors import MismatchError
from proofcompute.program.program import Program
from proofcompute.protocol.messages import Pipeline

__all__ = ["StagePlan", "stage_plans"]


@dataclass(frozen=True)
class StagePlan:
    """What one stage has to do with the committed groups of a program."""

    stage: int
    segments: range
    reads: tuple[int, ...]
    """Groups of earlier stages that its segments read, in program order."""
    writes: tuple[int, ...]
    """Groups that its segments write."""
    hands: tuple[int, ...]
    """Groups that it writes and a later stage reads; it hands their rows on."""
    emits: tuple[str, ...]
    """Public outputs that its segments emit."""

    @property
    def holds(self) -> tuple[int, ...]:
        """Groups whose rows its node must keep, since its cells open them, in program order."""
        return tuple(sorted((*self.reads, *self.writes)))


def stage_plans(program: Program, pipeline: Pipeline) -> tuple[StagePlan, ...]:
    """Return the plan of each stage.

    Raises MismatchError unless the pipeline's last stage ends with the program's last segment.
    """
    if pipeline.end != len(program.segments):
        raise MismatchError(f"the pipeline has {pipeline.end} segments, the program {len(program.segments)}")
    spans = [pipeline.segments(stage) for stage in range(len(pipeline.stages))]
    touched = [{g for i in span for g, _ in program.plans[i].groups} for span in spans]
    written = [{program.group_of[t] for i in span for t in program.plans[i].writes} for span in spans]
    return tuple(
        StagePlan(
            stage=stage,
            segments=span,
            reads=tuple(sorted(touched[stage] - written[stage])),
            writes=tuple(sorted(written[stage])),
            hands=tuple(sorted(written[stage].intersection(*[set().union(*touched[stage + 1 :])]))),
            emits=tuple(t for i in span for t in program.plans[i].emits),
        )
        for stage, span in enumerate(spans)
    )
