"""Samples with runs: what is drawn, with which chances it finds what, and what a file of a policy holds."""

from __future__ import annotations

import io
import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

import proofcompute as pc
import synthetic
from adversary.mutation import Edit, apply
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError, InputError
from proofcompute.limits import MAX_CELLS
from proofcompute.protocol.cells import draw_cells, drawn_as, public_challenge, segment_rows
from proofcompute.protocol.samples import run_count, run_span
from proofcompute.testing import Run
from proofcompute.verifier import chances, verify_public
from proofcompute.verifier.policy import AuditPolicy

TRIALS = 1000


@pytest.fixture(scope="module")
def run() -> Run:
    """23 rows in four segments, of which the last has 12 rows."""
    return synthetic.prove(synthetic.model(), synthetic.request(synthetic.model(), max_tokens=12))


def drawn(run: Run, sample: pc.Sample, trial: int = 0) -> tuple[Cell, ...]:
    return draw_cells(run.claim, sample, b"runs" + trial.to_bytes(28, "little"))


# -- what is drawn -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("rows", "most"), [(1, 1), (7, 3), (23, 5), (23, 100), (512, 256), (513, 256)])
def test_runs_cover_a_segment_and_are_alike(rows: int, most: int) -> None:
    count = run_count(rows, most)
    spans = [run_span(rows, count, i) for i in range(count)]
    assert [x for a, b in spans for x in range(a, b)] == list(range(rows))
    lengths = {b - a for a, b in spans}
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1


def test_each_run_is_one_of_the_runs_of_a_segment_of_its_own(run: Run) -> None:
    lengths, firsts = segment_rows(run.claim.statement), run.claim.statement.first_rows
    assert lengths == (23, 23, 23, 12)
    for trial in range(100):
        cells = drawn(run, pc.Sample(3, 5), trial)
        assert len({c.segment for c in cells}) == 3
        for segment, a, b in cells:
            n, first = lengths[segment], firsts[segment]
            count = run_count(n, 5)
            assert (a - first, b - first) in [run_span(n, count, i) for i in range(count)]


def test_what_is_asked_beyond_the_trace_is_all_of_it(run: Run) -> None:
    cells = drawn(run, pc.Sample(9, 1000, 1000))
    assert cells == tuple(Cell(s, f, 23) for s, f in enumerate(run.claim.statement.first_rows))


def test_cells_in_a_run_are_not_named_again_and_the_rest_is_in_order(run: Run) -> None:
    for trial in range(50):
        cells = drawn(run, pc.Sample(2, 12, 30), trial)
        asked = pc.Challenge(run.receipt.digest, cells)  # refuses overlaps, and any other order
        assert pc.Challenge.decode(asked.encode()) == asked
        covered = {(c.segment, x) for c in cells for x in range(c.a, c.b)}
        alone = {(c.segment, c.a) for c in draw_cells(run.claim, 30, b"runs" + trial.to_bytes(28, "little"))}
        assert alone <= covered


def test_a_long_run_is_cut_into_cells_that_fit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.protocol.cells.longest_cell", lambda *_: 5)
    for trial in range(20):
        cells = drawn(run, pc.Sample(2, 12), trial)
        assert all(2 <= c.b - c.a <= 5 for c in cells)
        assert drawn_as(run.claim.statement, cells).fields() in {(2, 12, 0), (2, 11, 0)}
    monkeypatch.setattr("proofcompute.protocol.cells.longest_cell", lambda *_: 1)
    assert drawn_as(run.claim.statement, drawn(run, pc.Sample(2, 12))).runs == 2


def test_more_cells_than_a_challenge_has_are_refused_before_they_are_listed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proofcompute.protocol.cells.MAX_CELLS", 8)
    assert len(drawn(run, pc.Sample(4, 5, 4))) <= 8
    with pytest.raises(InputError, match="up to 9 cells"):
        drawn(run, pc.Sample(4, 5, 5))


def test_a_draw_is_known_from_its_cells(run: Run) -> None:
    statement = run.claim.statement
    for trial in range(30):
        found = drawn_as(statement, drawn(run, pc.Sample(2, 6, 3), trial))
        assert found.runs == 2
        assert found.rows in (5, 6)  # never more than was asked for: chances are not overstated
        assert found.cells <= 3
    assert drawn_as(statement, draw_cells(run.claim, 7)) == pc.Sample(cells=7)


def test_every_row_is_in_a_run_as_often_as_any_other_of_its_segment(run: Run) -> None:
    """Within 4.5 standard deviations, of all 81 cells."""
    sample = pc.Sample(2, 5)
    times = dict.fromkeys(pc.draw_cells(run.claim, 1000), 0)
    for trial in range(TRIALS):
        for segment, a, b in drawn(run, sample, trial):
            for row in range(a, b):
                times[Cell(segment, row, row + 1)] += 1
    for cell, n in times.items():
        count = run_count(segment_rows(run.claim.statement)[cell.segment], 5)
        p = 2 / 4 / count
        assert abs(n - TRIALS * p) < 4.5 * (TRIALS * p * (1 - p)) ** 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: pc.Sample(),
        lambda: pc.Sample(3),
        lambda: pc.Sample(0, 3),
        lambda: pc.Sample(-1, 3),
        lambda: pc.Sample(cells=MAX_CELLS + 1),
        lambda: pc.Sample(1, 1 << 30),
        lambda: pc.Sample(True, 1),
        lambda: pc.Sample.parse("3"),
        lambda: pc.Sample.parse("3x"),
        lambda: pc.Sample.parse("0x5"),
        lambda: pc.Sample.parse("3x5x2"),
        lambda: pc.Sample.parse("3x-5"),
        lambda: pc.Sample.parse("9999999x5"),
        lambda: pc.Sample.parse("٣x٥"),
    ],
)
def test_what_is_no_sample_is_refused(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]


# -- whole audits ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sample", [pc.Sample(2, 6), pc.Sample(4, 40), pc.Sample(1, 7, 5)], ids=str)
def test_an_audit_of_runs(run: Run, sample: pc.Sample) -> None:
    auditor = pc.Auditor(synthetic.key(), device=synthetic.KERNELS)
    found = auditor.audit(run.request, run.data, run.open, sample)
    rows = segment_rows(run.claim.statement)
    assert found.segments == rows
    if found.complete:
        assert (found.detects_one, found.detects_share(0.5)) == (1, 1)
    else:
        assert found.detects_one <= chances.one(rows, sample)
        assert found.detects_one == pytest.approx(chances.one(rows, sample), rel=0.4)
        assert 0 < found.detects_share(0.3) < 1


def test_a_public_proof_of_runs(run: Run) -> None:
    sample = pc.Sample(2, 6, 2)
    opening = run.open(public_challenge(run.claim, sample))
    found = verify_public(
        run.model, run.request, run.data, sample, io.BytesIO(opening), kernels=synthetic.KERNELS
    )
    assert found.grinding_bits(0.5) > found.grinding_bits(0.1) > 0
    with pytest.raises(pc.VerificationError) as caught:
        verify_public(run.model, run.request, run.data, 7, io.BytesIO(opening), kernels=synthetic.KERNELS)
    assert caught.value.step == 6


def test_public_runs_follow_from_the_receipt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they drawn without it, everybody would know them before anything is computed."""
    other = synthetic.prove(
        synthetic.model(), synthetic.request(synthetic.model(), "Hello. world", max_tokens=12)
    )

    def chosen() -> set[tuple[Cell, ...]]:
        return {public_challenge(r.claim, pc.Sample(2, 2)).cells for r in (run, other)}

    assert len(chosen()) == 2
    apply(
        monkeypatch,
        [Edit("protocol.cells", 'Xof("runs", seed, digest)', 'Xof("runs", seed)')],
    )
    assert len(chosen()) == 1


# -- chances -----------------------------------------------------------------------------------------------
SHAPES: list[tuple[Sequence[int], pc.Sample]] = [
    ((3, 3, 2), pc.Sample(2, 2)),
    ((3, 3, 2), pc.Sample(1, 2, 2)),
    ((4, 1, 3), pc.Sample(2, 3, 1)),
    ((2, 2, 2), pc.Sample(3, 1)),
    ((4, 4), pc.Sample(5, 9)),
]


def draws(rows: Sequence[int], sample: pc.Sample) -> list[tuple[float, frozenset[tuple[int, int]]]]:
    """Every draw of runs, with its probability, as the cells that it covers."""
    found = []
    sets = list(itertools.combinations(range(len(rows)), min(sample.runs, len(rows))))
    for segments in sets:
        counts = [run_count(rows[s], sample.rows) for s in segments]
        for places in itertools.product(*map(range, counts)):
            covered = frozenset(
                (s, x)
                for s, count, i in zip(segments, counts, places, strict=True)
                for x in range(*run_span(rows[s], count, i))
            )
            found.append((1 / len(sets) / math.prod(counts), covered))
    return found


def exact(rows: Sequence[int], sample: pc.Sample, bad: frozenset[tuple[int, int]]) -> float:
    """The probability to hit altered cells, by counting."""
    runs = sum(p for p, covered in draws(rows, sample) if not covered & bad)
    total, c = sum(rows), min(sample.cells, sum(rows))
    return 1 - runs * math.comb(total - len(bad), c) / math.comb(total, c)


def places(rows: Sequence[int]) -> list[tuple[int, int]]:
    return [(s, x) for s, n in enumerate(rows) for x in range(n)]


@pytest.mark.parametrize(("rows", "sample"), SHAPES, ids=str)
def test_chances_are_those_of_counting(rows: Sequence[int], sample: pc.Sample) -> None:
    every = places(rows)
    assert chances.one(rows, sample) == pytest.approx(min(exact(rows, sample, frozenset([c])) for c in every))
    layers = [frozenset((s, x) for x in range(n)) for s, n in enumerate(rows)]
    assert chances.segment(rows, sample) == pytest.approx(min(exact(rows, sample, bad) for bad in layers))
    longest = frozenset((s, 0) for s, n in enumerate(rows) if n == max(rows))
    assert chances.row(rows, sample) == pytest.approx(exact(rows, sample, longest))
    spans = [(0, n // 2) for n in rows]
    halves = frozenset((s, x) for s, (a, b) in enumerate(spans) for x in range(a, b))
    assert chances.where(rows, sample, spans) == pytest.approx(exact(rows, sample, halves))


@pytest.mark.parametrize(("rows", "sample"), SHAPES, ids=str)
def test_a_share_is_found_so_often_wherever_it_is(rows: Sequence[int], sample: pc.Sample) -> None:
    every = places(rows)
    for m in range(len(every) + 1):
        worst = min(exact(rows, sample, frozenset(bad)) for bad in itertools.combinations(every, m))
        said = chances.share(rows, sample, m / len(every))
        assert said <= worst + 1e-12
        assert said >= worst * 0.4 - 1e-12
        if m == len(every):
            assert said == 1


def test_many_segments_and_runs_need_no_large_numbers() -> None:
    rows = [512] * 4000
    assert chances.runs_missed([0.5] * 4000, 2000) == pytest.approx(0.5**2000)
    assert chances.segment(rows, pc.Sample(2000, 512)) == pytest.approx(0.5)
    assert chances.one(rows, pc.Sample(2000, 64)) == pytest.approx(1 / 16)


# -- policies ----------------------------------------------------------------------------------------------
POLICIES = [
    AuditPolicy(whole=1),
    AuditPolicy(0.02, 0.98, pc.Sample(3, 256)),
    AuditPolicy(0, 0.25, pc.Sample(3, 256, 4)),
    AuditPolicy(1e-12, 0.5, pc.Sample(cells=16)),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_policy_has_one_encoding(policy: AuditPolicy, tmp_path: Path) -> None:
    policy.save(tmp_path / "policy")
    assert AuditPolicy.load(tmp_path / "policy") == policy
    assert AuditPolicy.decode(policy.encode()).encode() == policy.encode()


def test_a_policy_draws_as_it_says() -> None:
    policy, rng = AuditPolicy(0.1, 0.6, pc.Sample(3, 256)), random.Random(0)
    made = [policy.choose(rng.randrange) for _ in range(5 * TRIALS)]
    for what, p in (("all", 0.1), (policy.sample, 0.6), (None, 0.3)):
        n = 5 * TRIALS
        assert abs(made.count(what) - n * p) < 4 * (n * p * (1 - p)) ** 0.5  # type: ignore[arg-type]
    assert not policy.always
    assert AuditPolicy(0.02, 0.98, pc.Sample(3, 256)).always


@pytest.mark.parametrize("bound", [0, (1 << 32) - 1])
def test_a_policy_of_certainty_never_spares(bound: int) -> None:
    assert AuditPolicy(whole=1).choose(lambda _: bound) == "all"
    assert AuditPolicy(0.5, 0.5, pc.Sample(cells=1)).choose(lambda _: bound) is not None
    assert AuditPolicy(0, 1e-12, pc.Sample(cells=1)).choose(lambda _: bound) == (
        None if bound else pc.Sample(cells=1)
    )


@pytest.mark.parametrize(
    "fields",
    [
        (0.5, 0.6, pc.Sample(cells=1)),
        (0, 0, None),
        (-0.1, 0, None),
        (1.5, 0, None),
        (float("nan"), 0, None),
        (True, 0, None),
        (0.5, 0.5, None),
        (0.5, 0, pc.Sample(cells=1)),
    ],
    ids=str,
)
def test_what_is_no_policy_is_refused(fields: tuple[float, float, pc.Sample | None]) -> None:
    with pytest.raises(InputError):
        AuditPolicy(*fields)


def test_bytes_that_are_no_policy_are_refused() -> None:
    good: tuple[object, ...] = ("proofcompute audit policy", 1, 1 << 31, 1 << 31, (3, 256, 0))
    assert AuditPolicy.decode(wire.encode(good)) == AuditPolicy(0.5, 0.5, pc.Sample(3, 256))
    for at, value in (
        (0, "proofcompute terms"),
        (1, 2),
        (2, (1 << 32) + 1),
        (2, (1 << 31) + 1),
        (3, -1),
        (3, 0),
        (4, ()),
        (4, (3, 256)),
        (4, (0, 256, 0)),
        (4, (0, 0, 0)),
        (4, (3, 256, MAX_CELLS + 1)),
        (4, b""),
    ):
        changed = [*good[:at], value, *good[at + 1 :]]
        with pytest.raises(FormatError):
            AuditPolicy.decode(wire.encode(changed))
    with pytest.raises(FormatError):
        AuditPolicy.decode(wire.encode(good) + b"\0")
