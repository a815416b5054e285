"""Work out the shape of an opening's part, the length of everything in it, from what its cell needs."""

from __future__ import annotations

from proofcompute.commitments.merkle import proof_length
from proofcompute.freivalds.product import set_count
from proofcompute.program.plans import SegmentPlan, cached_per_plan
from proofcompute.program.program import Program
from proofcompute.protocol.hints import widest
from proofcompute.protocol.messages.opening import GroupShape, HintShape, PartShape, TableShape
from proofcompute.protocol.needs import GroupRows, Needs, TableRows
from proofcompute.protocol.pieces import cut

__all__ = ["part_shape"]


def part_shape(
    program: Program, need: Needs, size: int, rows: int, *, tables: bool, hints: bool
) -> PartShape:
    """Return the shape of the part for ``need``, of a cell of ``rows`` rows in a trace of ``size`` rows.

    ``tables`` and ``hints`` say whether the challenge asks for table rows and hints.
    """
    wanted, products = need.tables if tables else (), _most_sets(need.plan) if hints else ()
    # A product with several matrices has sets for each of them that some row chooses.
    most = [(sets * min(groups, each * rows), sets * rows * bits) for sets, groups, each, bits in products]
    return PartShape(
        tuple([_group(program, group, size) for group in need.groups]),
        tuple([_table(program, table) for table in wanted]),
        tuple([HintShape(count, 2 * count + bits // 8) for count, bits in most]),
    )


def _group(program: Program, group: GroupRows, size: int) -> GroupShape:
    here = cut(program, group).here
    rows = program.group_bytes(group.group) * (here.b - here.a)
    return GroupShape(rows, proof_length(size, group.a, group.b))


def _table(program: Program, table: TableRows) -> TableShape:
    spec = program.weight[table.weight]
    return TableShape(spec.row_bytes, tuple([proof_length(spec.rows, i, i + 1) for i in table.ids]))


@cached_per_plan
def _most_sets(plan: SegmentPlan) -> tuple[tuple[int, int, int, int], ...]:
    """Return for each product of a segment the most sets of one matrix, the matrices, and for each row of the
    program the product's rows and the most bits of a set.
    """
    return tuple(
        (
            set_count(site.d, site.x_limbs, site.w_limbs),
            site.groups,
            site.rows,
            widest(site.bound) * site.m * site.rows,
        )
        for site in plan.sites
    )
