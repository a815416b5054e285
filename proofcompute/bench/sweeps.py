"""Sweeps over sizes, precisions, hash suites, columns and audit budgets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median

from proofcompute.bench.results import BudgetRow, ColumnsRow, SizeRow, SuiteRow
from proofcompute.bench.settings import SHAPES, Settings
from proofcompute.bench.subject import Subject, synthetic, token_request
from proofcompute.bench.timing import alternating, phases, seconds
from proofcompute.freivalds import soundness_bits
from proofcompute.importers import import_gguf, packaged_smollm2
from proofcompute.kernels import Kernels
from proofcompute.messages import count_cells, draw_cells
from proofcompute.verifier import keygen

__all__ = ["Bench"]


class Bench:
    """The sweeps; models are made once and shared by them."""

    def __init__(self, settings: Settings, kernels: Kernels) -> None:
        self.settings = settings
        self.kernels = kernels
        self.subject = cache(self._subject)

    def _subject(self, size: str, precision: str) -> Subject:
        if size == "demo":
            return Subject(import_gguf(packaged_smollm2(), self.kernels, precision), self.kernels)
        return Subject(synthetic(SHAPES[size], precision, self.kernels), self.kernels)

    @property
    def middle(self) -> tuple[str, str]:
        """The size and precision on which suites, columns and budgets are swept."""
        size = [s for s in self.settings.sizes if s != "demo"] or ["tiny"]
        wanted = self.settings.precisions
        return size[len(size) // 2], "w8a16" if "w8a16" in wanted else wanted[0]

    def size(self, size: str, precision: str) -> SizeRow:
        """One model at one precision; it is not kept, so that memory stays that of one model."""
        subject = self._subject(size, precision)
        s = self.settings
        request = token_request(subject.model, s.prompt, s.tokens)
        run = subject.finish(request)
        audit = subject.open(run)
        check = subject.verifier(run, audit)
        verified = check()
        prefill, overhead_prefill = self._overhead(subject, "sha256", 1)
        execute, overhead = self._overhead(subject, "sha256", s.tokens)
        _, _, ratio = alternating(lambda: subject.execute(request), check, s.rounds)
        return SizeRow(
            model=_title(size, subject),
            precision=precision,
            weights=sum(w.limbs * w.rows * w.width for w in subject.model.program.weights),
            key_bytes=len(subject.key().body()),
            rows=verified.rows,
            cells=verified.total,
            receipt_bytes=len(run.data),
            opening_bytes=len(audit.opening),
            execute_seconds=execute,
            prefill_tokens_per_second=s.prompt / prefill,
            decode_tokens_per_second=(s.tokens - 1) / max(execute - prefill, 1e-9),
            commit_overhead_prefill=overhead_prefill,
            commit_overhead=overhead,
            verify_over_execute=ratio,
        )

    def suite(self, suite: str) -> SuiteRow:
        """One hash suite on the middle model."""
        size, precision = self.middle
        subject, s = self.subject(size, precision), self.settings
        request = token_request(subject.model, s.prompt, s.tokens, suite)
        run = subject.finish(request)
        check = subject.verifier(run, subject.open(run))
        _, prefill = self._overhead(subject, suite, 1)
        _, overhead = self._overhead(subject, suite, s.tokens)
        _, _, ratio = alternating(lambda: subject.execute(request), check, s.rounds)
        return SuiteRow(suite, f"{_title(size, subject)} {precision}", prefill, overhead, ratio)

    def column(self, columns: int) -> ColumnsRow:
        """One number of columns on the middle model."""
        size, precision = self.middle
        subject, s = self.subject(size, precision), self.settings
        request = token_request(subject.model, s.prompt, s.tokens)
        run = subject.finish(request)
        check = subject.verifier(run, subject.open(run), columns)
        _, _, ratio = alternating(lambda: subject.execute(request), check, s.rounds)
        making = median(
            seconds(lambda: keygen(subject.model, self.kernels, columns=columns)) for _ in range(s.rounds)
        )
        return ColumnsRow(
            columns=columns,
            model=f"{_title(size, subject)} {precision}",
            soundness_bits=soundness_bits(columns, 1),
            key_bytes=len(subject.key(columns).body()),
            keygen_seconds=making,
            verify_over_execute=ratio,
        )

    def budget_list(self) -> Sequence[int]:
        """The budgets that the middle model has cells for, and all of its cells."""
        s = self.settings
        segments = SHAPES[self.middle[0]].layers + 1  # embedding and blocks run on every row
        total = segments * (s.prompt + s.tokens - 1) + s.tokens
        return [*(b for b in s.budgets if b < total), total]

    def budget(self, cells: int) -> BudgetRow:
        """One audit of uniform cells on the middle model."""
        size, precision = self.middle
        subject, s = self.subject(size, precision), self.settings
        run = subject.finish(token_request(subject.model, s.prompt, s.tokens))
        # all cells go in ranges, as a full audit asks for them
        chosen = None if cells == count_cells(run.claim) else draw_cells(run.claim, cells, bytes(32))
        audit = subject.open(run, chosen)
        check = subject.verifier(run, audit)
        _, _, ratio = alternating(lambda: subject.execute(run.request), check, s.rounds)
        verified = check()
        return BudgetRow(
            cells=verified.cells,
            total=verified.total,
            model=f"{_title(size, subject)} {precision}",
            opening_bytes=len(audit.opening),
            verify_over_execute=ratio,
            detects_one=verified.detects_one,
            detects_1_percent=verified.detects_share(0.01),
            detects_10_percent=verified.detects_share(0.1),
            detects_50_percent=verified.detects_share(0.5),
        )

    def _overhead(self, subject: Subject, suite: str, tokens: int) -> tuple[float, float]:
        """Seconds of running a request, and the share that hashing its trace and signing adds to that run."""
        request = token_request(subject.model, self.settings.prompt, tokens, suite)
        subject.commit(subject.execute(request))
        return phases(lambda: subject.execute(request), subject.commit, self.settings.rounds)


def _title(size: str, subject: Subject) -> str:
    return str(subject.model.manifest.get("name") or "demo") if size == "demo" else size
