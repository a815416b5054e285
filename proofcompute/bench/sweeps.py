"""Runs the sweeps over models, suites, columns and audit budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from statistics import median
from typing import NamedTuple

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.bench.own import Own
from proofcompute.bench.results import BudgetRow, ColumnsRow, SizeRow, SuiteRow
from proofcompute.bench.settings import OWN, SHAPES, Lengths, Settings
from proofcompute.bench.timing import alternating, phases, ratios, repeated
from proofcompute.freivalds.soundness import floored, soundness_bits, with_collisions
from proofcompute.importers import import_checkpoint, packaged_smollm2
from proofcompute.protocol.cells import count_cells, draw_cells
from proofcompute.protocol.messages import Request
from proofcompute.testing.models import random_decoder
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject
from proofcompute.verifier import keygen

__all__ = ["Bench"]


class _Overhead(NamedTuple):
    """Seconds of each round of running and of committing."""

    run: list[float]
    commit: list[float]

    @property
    def share(self) -> float:
        """The share that hashing the trace and signing add to a run."""
        return median(ratios(self.run, self.commit))


class Bench:
    """The sweeps, which share models that are made once."""

    def __init__(self, settings: Settings, kernels: Kernels, own: Own) -> None:
        self.settings = settings
        self.kernels = kernels
        self.own = own
        self.subject = cache(self._subject)

    def _subject(self, size: str, precision: str) -> Subject:
        if size == OWN:
            return Subject(self.own.model(precision, self.kernels), self.kernels)
        if size == "demo":
            return Subject(import_checkpoint(packaged_smollm2(), self.kernels, precision), self.kernels)
        return Subject(random_decoder(SHAPES[size], precision, self.kernels), self.kernels)

    def _request(self, subject: Subject, lengths: Lengths, suite: str = "sha256") -> Request:
        """Return a request of the caller's prompt, or of random tokens."""
        given = None if self.own.prompt is None else self.own.tokens(subject.model, lengths.prompt)
        return token_request(subject.model, lengths.prompt, lengths.tokens, suite, given)

    @property
    def middle(self) -> tuple[str, str]:
        """The size and precision for the sweeps of suites, columns and budgets; it is always available."""
        sizes = [s for s in self.settings.sizes if s != "demo"]
        if not sizes:
            sizes = ["demo"] if self.own.prompt is not None else ["tiny"]
        wanted = self.settings.precisions
        return sizes[len(sizes) // 2], "w8a16" if "w8a16" in wanted else wanted[0]

    def size(self, step: str, size: str, precision: str, lengths: Lengths) -> SizeRow:
        """Measure one model at one precision; the model is not kept, so memory stays that of one model."""
        subject = self._subject(size, precision)
        request = self._request(subject, lengths)
        run = subject.finish(request)
        audit = subject.open(run)
        check = subject.verifier(run, audit)
        verified = check()
        prefill = self._overhead(subject, Lengths(lengths.prompt, 1))
        whole = self._overhead(subject, lengths)
        beside, verify = self._beside(subject, request, check)
        tokens = verified.rows + 1 - lengths.prompt
        return SizeRow(
            step=step,
            model=_title(size, subject),
            precision=precision,
            prompt=lengths.prompt,
            tokens=tokens,
            weights=sum(w.limbs * w.rows * w.width for w in subject.model.program.weights),
            key_bytes=len(subject.key().body()),
            rows=verified.rows,
            cells=verified.total,
            receipt_bytes=len(run.data),
            opening_bytes=len(audit.opening),
            execute_seconds=median(whole.run),
            prefill_tokens_per_second=lengths.prompt / median(prefill.run),
            decode_tokens_per_second=(tokens - 1) / max(median(whole.run) - median(prefill.run), 1e-9),
            commit_overhead_prefill=prefill.share,
            commit_overhead=whole.share,
            verify_over_execute=median(ratios(beside, verify)),
            rounds={**_rounds(prefill, whole), "run beside": beside, "verify": verify},
        )

    def suite(self, step: str, suite: str) -> SuiteRow:
        """Measure one hash suite on the middle model."""
        size, precision = self.middle
        subject, lengths = self.subject(size, precision), self.settings.lengths[0]
        request = self._request(subject, lengths, suite)
        run = subject.finish(request)
        check = subject.verifier(run, subject.open(run))
        prefill = self._overhead(subject, Lengths(lengths.prompt, 1), suite)
        whole = self._overhead(subject, lengths, suite)
        beside, verify = self._beside(subject, request, check)
        return SuiteRow(
            step=step,
            suite=suite,
            model=f"{_title(size, subject)} {precision}",
            commit_overhead_prefill=prefill.share,
            commit_overhead=whole.share,
            verify_over_execute=median(ratios(beside, verify)),
            rounds={**_rounds(prefill, whole), "run beside": beside, "verify": verify},
        )

    def column(self, step: str, columns: int) -> ColumnsRow:
        """Measure one number of columns on the middle model."""
        size, precision = self.middle
        subject = self.subject(size, precision)
        request = self._request(subject, self.settings.lengths[0])
        run = subject.finish(request)
        check = subject.verifier(run, subject.open(run), columns)
        beside, verify = self._beside(subject, request, check)
        making = repeated(lambda: keygen(subject.model, self.kernels, columns=columns), self.settings.rounds)
        return ColumnsRow(
            step=step,
            columns=columns,
            model=f"{_title(size, subject)} {precision}",
            soundness_bits=floored(with_collisions(soundness_bits(columns, 1))),  # results are rounded
            key_bytes=len(subject.key(columns).body()),
            keygen_seconds=median(making),
            verify_over_execute=median(ratios(beside, verify)),
            rounds={"run beside": beside, "verify": verify, "keygen": making},
        )

    def budget_list(self) -> Sequence[int | None]:
        """Return the budgets; None stands for all cells."""
        return [*self.settings.budgets, None]

    def budget(self, step: str, cells: int | None) -> BudgetRow | None:
        """Measure an audit of uniform cells, or of all, on the middle model; None if it has too few cells."""
        size, precision = self.middle
        subject = self.subject(size, precision)
        run = subject.finish(self._request(subject, self.settings.lengths[0]))
        if cells is not None and cells >= count_cells(run.claim):
            return None
        # a full audit asks for cells in ranges
        audit = subject.open(run, None if cells is None else draw_cells(run.claim, cells, bytes(32)))
        check = subject.verifier(run, audit)
        beside, verify = self._beside(subject, run.request, check)
        verified = check()
        return BudgetRow(
            step=step,
            cells=verified.cells,
            total=verified.total,
            model=f"{_title(size, subject)} {precision}",
            opening_bytes=len(audit.opening),
            verify_over_execute=median(ratios(beside, verify)),
            detects_one=verified.detects_one,
            detects_1_percent=verified.detects_share(0.01),
            detects_10_percent=verified.detects_share(0.1),
            detects_50_percent=verified.detects_share(0.5),
            rounds={"run beside": beside, "verify": verify},
        )

    def _overhead(self, subject: Subject, lengths: Lengths, suite: str = "sha256") -> _Overhead:
        """Time running a request, and hashing its trace and signing."""
        request = self._request(subject, lengths, suite)
        subject.commit(subject.execute(request))
        return _Overhead(*phases(lambda: subject.execute(request), subject.commit, self.settings.rounds))

    def _beside(
        self, subject: Subject, request: Request, check: Callable[[], object]
    ) -> tuple[list[float], list[float]]:
        """Time running a request and verifying, in turn."""
        return alternating(lambda: subject.execute(request), check, self.settings.rounds)


def _rounds(prefill: _Overhead, whole: _Overhead) -> dict[str, list[float]]:
    return {
        "prefill": prefill.run,
        "commit prefill": prefill.commit,
        "run": whole.run,
        "commit": whole.commit,
    }


def _title(size: str, subject: Subject) -> str:
    named = str(subject.model.manifest.get("name") or size)
    return named if size in ("demo", OWN) else size
