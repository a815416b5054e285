"""Define the receipt, which a node signs for its answer (docs/spec/messages.md#receipt)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_NAME, MAX_RECEIPT, MAX_ROWS
from proofcompute.protocol.messages.pipeline import MAX_STAGES, Pipeline
from proofcompute.protocol.messages.request import named_bytes
from proofcompute.protocol.messages.signed import TAIL, Signed, decode_suite, decode_tail

__all__ = ["STOP_REASONS", "Receipt"]

STOP_REASONS = ("complete", "end", "stop", "length")
"""``complete`` for programs that do not generate; end token, stop string, or length for those that do."""
_OWN: Final = 9
"""Number of elements before the tail that all receipts have."""
_TOKEN: Final = 4
"""Bytes of a token in an output."""
_STAGED: Final = 3
"""Version of a receipt for one stage of a pipeline, which has one element more."""


@final
@dataclass(frozen=True, kw_only=True)
class Receipt(Signed):
    """A node's signed claim about one run; it takes less than 1 KiB besides the outputs."""

    WHAT: ClassVar[str] = "receipt"
    VERSION: ClassVar[int] = 2

    model_id: bytes
    outputs: tuple[tuple[str, bytes], ...]
    """Rows of each public output, little-endian; for a language model the generated tokens."""
    rows: int
    """Rows of the trace."""
    stop_reason: str
    trace_root: bytes
    pipeline: Pipeline | None = None
    """The pipeline that served the request together; None: this node alone did."""
    stage: int = 0
    """The stage of the pipeline for whose segments this receipt is; 0 without a pipeline."""

    @property
    def version(self) -> int:
        """Version of the message: 3 for a stage of a pipeline, 2 for a whole run."""
        return Receipt.VERSION if self.pipeline is None else _STAGED

    @property
    def tokens(self) -> int:
        """Tokens that were generated; 0 for a program that does not generate."""
        return 0 if self.stop_reason == "complete" else sum(len(data) for _, data in self.outputs) // _TOKEN

    @property
    def segments(self) -> range | None:
        """The segments that the node answers for; None: all."""
        return None if self.pipeline is None else self.pipeline.segments(self.stage)

    def _claims(self) -> tuple[wire.Value, ...]:
        part = () if self.pipeline is None else ((self.pipeline.value(), self.stage),)
        return (
            self.model_id,
            self.request_digest,
            self.outputs,
            self.rows,
            self.stop_reason,
            self.trace_root,
            *part,
        )

    @staticmethod
    def decode(data: bytes) -> Receipt:
        """Decode a receipt.

        Raises FormatError or LimitError if ``data`` encodes none, and UnsupportedError if its signature
        scheme is reserved.
        """
        top = wire.as_list(wire.decode(data, limit=MAX_RECEIPT, what="receipt"), "receipt")
        staged = len(top) == _OWN + 1 + TAIL
        top = wire.as_list(top, "receipt", n=_OWN + staged + TAIL)
        wire.check_head(top, f"proofcompute {Receipt.WHAT}", _STAGED if staged else Receipt.VERSION)
        reason = wire.as_str(top[7], "stop reason", MAX_NAME)
        if reason not in STOP_REASONS:
            raise FormatError(f"receipt: stop reason {reason!r} is none of {', '.join(STOP_REASONS)}")
        pipeline, stage = _part(top[_OWN]) if staged else (None, 0)
        return Receipt(
            suite=decode_suite(top[2]),
            model_id=wire.as_bytes(top[3], "model id", 32),
            request_digest=wire.as_bytes(top[4], "request digest", 32),
            outputs=tuple(named_bytes(v, "output") for v in wire.as_list(top[5], "outputs", max_n=64)),
            rows=wire.as_int(top[6], "rows", 1, MAX_ROWS),
            stop_reason=reason,
            trace_root=wire.as_bytes(top[8], "trace root", 32),
            pipeline=pipeline,
            stage=stage,
            **decode_tail(top[_OWN + staged :]),
        )


def _part(value: wire.Value) -> tuple[Pipeline, int]:
    """Decode a pipeline and a stage of it."""
    stages, stage = wire.as_list(value, "part of a pipeline", n=2)
    pipeline, number = Pipeline.from_value(stages), wire.as_int(stage, "stage", 0, MAX_STAGES - 1)
    if number >= len(pipeline.stages):
        raise FormatError(f"receipt: stage {number} of a pipeline of {len(pipeline.stages)}")
    return pipeline, number
