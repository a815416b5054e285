"""Count what an auditor does, for Prometheus, and give the numbers over HTTP.

What is counted is this process's own work. How long the oldest due job has waited is read from the ledger
whenever somebody asks, so that it is true of all auditors together, also of those that died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isnan
from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from proofcompute.auditing.desk import Desk
from proofcompute.auditing.events import JobEvent
from proofcompute.auditing.working import Worked
from proofcompute.errors import InputError, StorageError
from proofcompute.ledger import Job, Ledger

__all__ = ["AuditorMetrics", "serving_metrics"]

_PREFIX: Final = "proofcompute_auditor"
_UNKNOWN: Final = float("nan")


@final
class AuditorMetrics:
    """All numbers of one auditor, as :class:`proofcompute.auditing.DeskEvents`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter(
            f"{_PREFIX}_jobs", "Jobs by what became of them", ("kind", "event"), registry=self.registry
        )
        self.audits = Counter(
            f"{_PREFIX}_audits",
            "Answers and canaries by what they came to",
            ("node", "outcome"),
            registry=self.registry,
        )
        self.spent = self._gauge("spent", "What this run cost", "amount")
        self.budget = self._gauge("budget", "What this run may cost, where it is bounded", "amount")
        self.oldest = self._gauge("oldest_job_seconds", "Seconds for which the oldest due job waits")
        self.ledger_up = self._gauge("ledger_up", "1 if the ledger can be read, else 0")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def watch(self, desk: Desk, ledger: Ledger) -> None:
        """Read a desk's costs and a ledger's jobs whenever the numbers are asked for."""
        costs: dict[str, Callable[[], float]] = {
            "tokens": lambda: desk.spent.tokens,
            "seconds": lambda: desk.passed,
            "bytes": lambda: desk.spent.nbytes,
        }
        for amount, cost in costs.items():
            self.spent.labels(amount).set_function(cost)
        budget = desk.budget
        for amount, most in (
            ("tokens", budget.tokens),
            ("seconds", budget.seconds),
            ("bytes", budget.nbytes),
        ):
            if most is not None:
                self.budget.labels(amount).set(most)
        self.oldest.set_function(lambda: _waited(ledger))
        self.ledger_up.set_function(lambda: float(not isnan(_waited(ledger))))

    def job(self, job: Job, event: JobEvent) -> None:
        """See :class:`proofcompute.auditing.DeskEvents`."""
        self.jobs.labels(job.kind, event).inc()

    def worked(self, job: Job, worked: Worked) -> None:
        """See :class:`proofcompute.auditing.DeskEvents`."""
        node = "" if job.node is None else job.node.hex()
        for outcome, number in worked.states.items():
            self.audits.labels(node, outcome).inc(number)


def _waited(ledger: Ledger) -> float:
    """Return how long the oldest due job waits; NaN while the ledger is away, so that the rest is given."""
    try:
        return ledger.jobs.oldest()
    except StorageError:
        return _UNKNOWN


@contextmanager
def serving_metrics(metrics: AuditorMetrics, host: str, port: int) -> Iterator[int]:
    """Give the numbers at ``/metrics`` while the block runs; gives the port, which the system chooses for 0.

    There is no key and no bound on connections: the address is for the network of Prometheus alone.

    Raises InputError if the address cannot be listened at.
    """
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as e:
        raise InputError(f"cannot listen at {host}:{port} for metrics: {e}") from e
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
