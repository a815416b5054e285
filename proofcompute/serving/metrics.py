"""Count what a service does, for Prometheus."""

from __future__ import annotations

from typing import Final, final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from proofcompute.prover.runner import Runner

__all__ = ["Metrics", "ModelMetrics", "Responses"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_PREFIX: Final = "proofcompute"


class Responses:
    """The numbers of whatever answers over HTTP, in a registry of its own."""

    TYPE = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.responses = self.counter("responses", "Responses", "route", "status")
        self.refusals = self.counter("refusals", "Requests refused", "reason")
        self.disconnects = self.counter("disconnects", "Clients that left or were too slow", "why")

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Add a counter."""
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self.registry)


@final
class Metrics(Responses):
    """All numbers of one service."""

    def __init__(self) -> None:
        super().__init__()
        self.openings = self.counter("openings", "Openings", "model", "outcome")
        self.opening_seconds = self._histogram("opening_seconds", "Seconds of an opening", _SECONDS)
        self.answers = self.counter("answers", "Answers by outcome", "model", "outcome")
        self.tokens = self.counter("tokens", "Tokens generated", "model")
        self.rows = self.counter("rows", "Rows computed", "model")
        self.step_rows = self._histogram("step_rows", "Rows of a step", _ROWS)
        self.step_seconds = self._histogram("step_seconds", "Seconds of a step", _SECONDS)
        self.first_token = self._histogram(
            "first_token_seconds", "Seconds from a request to its first token", _SECONDS
        )
        self.queued = self._gauge("queued", "Requests that wait")
        self.live = self._gauge("live", "Requests that are computed")
        self.trace_bytes = self._gauge("trace_bytes", "Most bytes of the traces of what is computed")
        self.kept_bytes = self._gauge("kept_trace_bytes", "Bytes of traces kept for openings")
        self.mismatches = self._gauge(
            "recomputation_mismatches", "Answers that gave another trace root when they were computed again"
        )
        self.healthy = self._gauge("healthy", "1 if the model's device works, else 0")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, ("model",), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, ("model",), registry=self.registry, buckets=buckets)

    def watch(self, name: str, runner: Runner) -> None:
        """Read the load of a model's runner whenever the numbers are asked for."""
        self.queued.labels(name).set_function(lambda: runner.load.queued)
        self.live.labels(name).set_function(lambda: runner.load.live)
        self.trace_bytes.labels(name).set_function(lambda: runner.load.trace_bytes)
        self.kept_bytes.labels(name).set_function(lambda: runner.opener.traces.nbytes)
        self.mismatches.labels(name).set_function(lambda: runner.opener.mismatches)
        self.healthy.labels(name).set_function(lambda: float(runner.failure is None))


@final
class ModelMetrics:
    """The numbers of one model, as :class:`proofcompute.RunnerEvents`."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._rows = metrics.rows.labels(name)
        self._tokens = metrics.tokens.labels(name)
        self._step_rows = metrics.step_rows.labels(name)
        self._step_seconds = metrics.step_seconds.labels(name)
        self._first_token = metrics.first_token.labels(name)
        self._answers, self._name = metrics.answers, name

    def stepped(self, rows: int, tokens: int, seconds: float) -> None:
        """See :class:`proofcompute.RunnerEvents`."""
        self._rows.inc(rows)
        self._tokens.inc(tokens)
        self._step_rows.observe(rows)
        self._step_seconds.observe(seconds)

    def first_token(self, seconds: float) -> None:
        """See :class:`proofcompute.RunnerEvents`."""
        self._first_token.observe(seconds)

    def ended(self, outcome: str) -> None:
        """See :class:`proofcompute.RunnerEvents`."""
        self._answers.labels(self._name, outcome).inc()
