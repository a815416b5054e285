"""Mutants of what is checked of several nodes that serve a model in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import synthetic
from adversary.mutants import Mutant, never
from adversary.mutants_replay import network, samples
from adversary.mutation import Edit
from pipelines.line import IDENTITIES, MIDDLE, PIPELINE, answered, request
from proofcompute.client.pipeline import ask_pipeline
from proofcompute.protocol.boundaries import check_boundary, root_of
from proofcompute.protocol.messages import Boundary, Pipeline, Receipt, Request
from proofcompute.protocol.stages import stage_plans
from proofcompute.prover.stages import StageNode
from proofcompute.verifier import Verified, check_receipt
from proofcompute.verifier.replay import replay_stages
from proofcompute.verifier.stages import check_handed, check_stages

RECEIPTS, BOUNDARIES = "protocol.receipts", "protocol.boundaries"
STAGES, REPLAY = "verifier.stages", "verifier.replay"
RESULT = """raise VerificationError(8, f"the stage's arithmetic has no result: {e}") from e"""
MODEL = synthetic.model()
NOTHING_FOUND = Verified(1, 1, 1, 1, "length", b"", 0.0, 0)


@dataclass(frozen=True)
class Checked:
    """A check of what the nodes of a pipeline sent."""

    check: Callable[[], object]

    def verify(self) -> Verified:
        self.check()
        return NOTHING_FOUND


def signed(receipt: bytes, by: int, **changes: object) -> bytes:
    """A receipt with other fields, signed by the node of a stage."""
    changed = replace(Receipt.decode(receipt), **changes, signature=b"")  # type: ignore[arg-type]
    return changed.signed(IDENTITIES[by].sign(changed.signed_digest)).encode()


def all_signed(**changes: object) -> list[bytes]:
    """The honest receipts of all stages, with other fields."""
    return [signed(receipt, stage, **changes) for stage, receipt in enumerate(answered()[1].receipts)]


def of_another_pipeline() -> Checked:
    """A node serves its stage of a pipeline that nobody asked for."""
    stages = list(PIPELINE.stages)
    stages[0] = replace(stages[0], node=IDENTITIES[2].public)
    receipt = signed(answered()[1].receipts[MIDDLE], MIDDLE, pipeline=Pipeline(tuple(stages)))
    return Checked(lambda: check_receipt(MODEL, request(), receipt, pipeline=PIPELINE))


def of_anothers_stage() -> Checked:
    receipt = signed(answered()[1].receipts[MIDDLE], MIDDLE, stage=0)
    return Checked(lambda: check_receipt(MODEL, request(), receipt, pipeline=PIPELINE))


def a_stage_left_out() -> Checked:
    receipts = answered()[1].receipts[:2]
    return Checked(lambda: check_stages(MODEL, request(), PIPELINE, receipts))


def one_stage_twice() -> Checked:
    """A node that has two stages signs for one of them, twice."""
    first, last = IDENTITIES[0], IDENTITIES[2]
    pipeline = Pipeline.of([2, 3, 4], [first.public, first.public, last.public])
    asked = replace(request(), node=pipeline.digest)
    nodes = [
        StageNode(MODEL, identity, pipeline, stage, device=synthetic.KERNELS)
        for stage, identity in enumerate((first, first, last))
    ]
    one, _, three = ask_pipeline(MODEL, asked, pipeline, nodes).receipts
    return Checked(lambda: check_stages(MODEL, asked, pipeline, (one, one, three)))


def of_two_runs() -> Checked:
    """Each receipt is that of a run, but not of the same one."""
    receipts = (answered()[1].receipts[0], *answered("another weight")[1].receipts[1:])
    return Checked(lambda: check_stages(MODEL, request(), PIPELINE, receipts))


def other_roots() -> Checked:
    answer = answered()[1]
    return Checked(
        lambda: check_stages(MODEL, request(), PIPELINE, answer.receipts, (bytes(32), *answer.roots[1:]))
    )


def handed_on_otherwise() -> Checked:
    """A node signed other roots when it handed rows on than in its receipt."""
    answer, asked = answered()[1], request()
    lied = said(roots=(bytes(32),))
    return Checked(lambda: check_handed(MODEL, asked, PIPELINE, answer.claims[0], answer.roots, lied))


def said(**changes: object) -> bytes:
    """A boundary of the first stage over all rows, with some fields changed, signed by its node."""
    answer = answered()[1]
    honest = Boundary(
        suite="sha256",
        model_id=MODEL.model_id,
        request_digest=request().digest,
        stage=0,
        rows=answer.claims[0].receipt.rows,
        roots=(answer.roots[2],),
        node=IDENTITIES[0].public,
    )
    return replace(honest, **changes).signed(IDENTITIES[0]).encode()  # type: ignore[arg-type]


def boundary(**changes: object) -> Checked:
    plan, rows = stage_plans(MODEL.program, PIPELINE)[0], answered()[1].claims[0].receipt.rows
    data = said(**changes)
    return Checked(lambda: check_boundary(data, MODEL.model_id, request(), PIPELINE, plan, rows))


def replayed(receipts: Sequence[bytes], roots: Sequence[bytes]) -> Checked:
    return Checked(
        lambda: replay_stages(MODEL, request(), PIPELINE, receipts, roots, kernels=synthetic.KERNELS)
    )


def another_root() -> Checked:
    """All stages sign for another root of keys and values of the second block."""
    answer = answered()[1]
    roots = (*answer.roots[:3], bytes(32), *answer.roots[4:])
    rows = answer.claims[0].receipt.rows
    return replayed(all_signed(trace_root=root_of(MODEL.program, "sha256", rows, roots)), roots)


def another_token() -> Checked:
    """All stages sign for another last token, which no row is computed from."""
    answer = answered()[1]
    ((name, data),) = answer.claims[0].receipt.outputs
    outputs = ((name, data[:-4] + (1).to_bytes(4, "little")),)
    return replayed(all_signed(outputs=outputs), answer.roots)


def no_result() -> Checked:
    """Inputs for which the arithmetic has no result, and receipts all the same."""
    model, pipeline = network(), Pipeline.of([1, 2], [i.public for i in IDENTITIES[:2]])
    nodes = [
        StageNode(model, IDENTITIES[stage], pipeline, stage, device=synthetic.KERNELS) for stage in range(2)
    ]
    asked, large = (
        Request(model.model_id, (("x", samples(value).tobytes()),), bytes(32), node=pipeline.digest)
        for value in (1.0, 3e38)
    )
    answer = ask_pipeline(model, asked, pipeline, nodes)
    receipts = [
        signed(receipt, stage, request_digest=large.digest) for stage, receipt in enumerate(answer.receipts)
    ]
    return Checked(
        lambda: replay_stages(model, large, pipeline, receipts, answer.roots, kernels=synthetic.KERNELS)
    )


STAGE_MUTANTS: dict[str, Mutant] = {
    "pipeline of a receipt": Mutant(
        ("protocol/receipts:check_stage: 2: the receipt is not for {}",),
        (never(RECEIPTS, "receipt.pipeline != pipeline"),),
        of_another_pipeline,
    ),
    "stage of a receipt": Mutant(
        ("protocol/receipts:check_stage: 2: the node signed for stage {}, which is another node's",),
        (never(RECEIPTS, "pipeline is not None and pipeline.stages[receipt.stage].node != receipt.node"),),
        of_anothers_stage,
    ),
    "model of a boundary": Mutant(
        ("protocol/boundaries:check_boundary: 3: another model",),
        (never(BOUNDARIES, "found.model_id != model_id"),),
        lambda: boundary(model_id=bytes(32)),
    ),
    "rows and groups of a boundary": Mutant(
        ("protocol/boundaries:check_boundary: 5: other rows or groups were handed on",),
        (never(BOUNDARIES, "(found.stage, found.rows, len(found.roots)) != expected"),),
        lambda: boundary(rows=3),
    ),
    "receipts of all stages": Mutant(
        ("verifier/stages:check_stages: 10: a stage has no receipt",),
        (never(STAGES, "len(receipts) != len(pipeline.stages)"),),
        a_stage_left_out,
    ),
    "a receipt for each stage": Mutant(
        ("verifier/stages:check_stages: 10: the stage has no receipt",),
        (never(STAGES, "claim.receipt.stage != stage"),),
        one_stage_twice,
    ),
    "one run of all stages": Mutant(
        ("verifier/stages:check_stages: 7: stages 0 and {} signed for other runs",),
        (never(STAGES, "(mine.trace_root, mine.outputs) != (first.trace_root, first.outputs)"),),
        of_two_runs,
    ),
    "roots of all stages": Mutant(
        ("verifier/stages:check_roots: 7: the roots do not hash to the trace root",),
        (Edit(STAGES, "receipt.rows, roots) != receipt.trace_root", "receipt.rows, roots) == b''"),),
        other_roots,
    ),
    "rows that were handed on": Mutant(
        ("verifier/stages:check_handed: 7: the node commits to other rows of {} than it handed on",),
        (never(STAGES, "root != roots[group]"),),
        handed_on_otherwise,
    ),
    "replayed root of a stage": Mutant(
        ("verifier/replay:_stage: 7: another root of this stage",),
        (never(REPLAY, "root != roots[group]"),),
        another_root,
    ),
    "replayed output of a stage": Mutant(
        ("verifier/replay:_stage: 9: the model gives another output of this stage",),
        (never(REPLAY, "rows.tobytes() != statement.outputs[name].tobytes()"),),
        another_token,
    ),
    "replayed arithmetic of a stage": Mutant(
        ("verifier/replay:_stage: 8: the stage's arithmetic has no result: {}",),
        (
            Edit(REPLAY, RESULT, "return {}"),
            Edit(REPLAY, "handed |= _stage(", "handed |= {} if handed == {} and plan.stage else _stage("),
        ),
        no_result,
    ),
}
