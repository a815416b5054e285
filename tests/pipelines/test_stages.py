"""Several nodes serve one model in a row, and an audit names the one that erred."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from adversary.mutation import Edit, apply
from pipelines.liars import NO_TOKENS, Liar
from pipelines.line import (
    IDENTITIES,
    MIDDLE,
    PIPELINE,
    answered,
    ask,
    audit,
    auditor,
    links,
    opening,
    request,
)
from proofcompute.client.pipeline import ask_pipeline
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.frontier import Frontier
from proofcompute.errors import (
    BusyError,
    FormatError,
    InputError,
    MismatchError,
    VerificationError,
)
from proofcompute.program.types import Reads
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import Boundary, Pipeline, Receipt
from proofcompute.protocol.stages import stage_plans
from proofcompute.prover.stage_steps import RUNS
from proofcompute.prover.stages import HandedError, StageNode
from proofcompute.testing import random_network, sample_request
from proofcompute.verifier.replay import replay_stages
from proofcompute.verifier.stages import check_handed, check_stages

MODEL = synthetic.model()


def test_a_pipeline_answers_as_one_node_does() -> None:
    """Tokens, rows and trace root are those of a single node: splitting changes no receipt's claim."""
    _, answer = answered()
    whole = synthetic.prove(MODEL, synthetic.request(MODEL)).receipt
    for stage, claim in enumerate(answer.claims):
        mine = claim.receipt
        assert (mine.trace_root, mine.outputs, mine.rows) == (whole.trace_root, whole.outputs, whole.rows)
        assert (mine.stage, mine.node) == (stage, IDENTITIES[stage].public)
        assert Receipt.decode(mine.encode()) == mine
    assert sum(claim.statement.cells for claim in answer.claims) == 3 * whole.rows + 8


@pytest.mark.parametrize("stage", range(3))
def test_each_stage_is_audited_by_key_and_by_weights(stage: int) -> None:
    nodes, answer = answered()
    for holds in (synthetic.key(), MODEL):
        found = audit(nodes, answer, stage, holds)
        assert found.complete
        assert found.node == IDENTITIES[stage].public


@pytest.mark.parametrize("cells", [3, pc.Sample(2, 3, 4), pc.Sample(1, 5, 0)])
def test_drawn_cells_are_those_of_the_stage(cells: int | pc.Sample) -> None:
    nodes, answer = answered()
    for stage, receipt in enumerate(answer.receipts):
        challenge = auditor().challenge(request(), receipt, cells)
        assert {cell.segment for cell in challenge.cells} <= set(PIPELINE.segments(stage))
        data = opening(nodes[stage], request(), receipt, challenge)
        assert auditor().check(request(), receipt, challenge, data).cells > 0


def test_cells_of_another_stage_do_not_exist() -> None:
    nodes, answer = answered()
    with pytest.raises(FormatError, match="another node's"):
        auditor().challenge(request(), answer.receipts[0], [pc.Cell(2, 0, 1)])
    challenge = pc.Challenge(answer.claims[0].receipt.digest, (pc.Cell(2, 0, 1),))
    with pytest.raises(FormatError, match="another node's"):
        opening(nodes[0], request(), answer.receipts[0], challenge)


def test_a_lie_in_a_segment_is_the_fault_of_its_node() -> None:
    nodes, answer = answered("another weight")
    for stage in (0, 2):
        assert audit(nodes, answer, stage).complete
    with pytest.raises(VerificationError) as caught:
        audit(nodes, answer, MIDDLE)
    assert caught.value.node == IDENTITIES[MIDDLE].public
    assert caught.value.attributable
    assert caught.value.step in (8, 9)


def test_a_replay_names_the_first_stage_that_erred() -> None:
    _, answer = answered()
    found = replay_stages(
        MODEL, request(), PIPELINE, answer.receipts, answer.roots, kernels=synthetic.KERNELS
    )
    assert [one.node for one in found] == [identity.public for identity in IDENTITIES]
    _, lied = answered("another weight")
    with pytest.raises(VerificationError) as caught:
        replay_stages(MODEL, request(), PIPELINE, lied.receipts, lied.roots, kernels=synthetic.KERNELS)
    assert (caught.value.step, caught.value.node) == (7, IDENTITIES[MIDDLE].public)


def test_who_hands_on_other_rows_than_it_commits_to_has_signed_both() -> None:
    with pytest.raises(VerificationError) as caught:
        ask(links("hands on other rows than it commits to"))
    assert caught.value.node == IDENTITIES[MIDDLE].public
    assert (caught.value.step, caught.value.attributable) == (7, True)


@pytest.mark.parametrize(
    ("lie", "step"),
    [
        ("hands on other rows than it signs", 7),
        ("another's segments", 2),
        ("another pipeline", 2),
        ("shows what nobody signed", 10),
    ],
)
def test_a_liar_is_named(lie: str, step: int) -> None:
    with pytest.raises(VerificationError) as caught:
        ask(links(lie))
    assert (caught.value.step, caught.value.node) == (step, IDENTITIES[MIDDLE].public)


def test_a_token_that_a_stage_did_not_emit_is_not_signed_by_it() -> None:
    with pytest.raises(MismatchError, match="emitted"):
        ask(links("emits another token", 2))


@pytest.mark.parametrize("generation", [None, pc.Generation(8, stops=("no such text",))])
@pytest.mark.parametrize("lie", list(NO_TOKENS))
def test_what_is_no_token_is_the_fault_of_who_emitted_it(lie: str, generation: pc.Generation | None) -> None:
    asked = request() if generation is None else request(generation=generation)
    with pytest.raises(VerificationError, match="no token") as caught:
        ask(links(lie, 2), asked)
    assert (caught.value.step, caught.value.node) == (5, IDENTITIES[2].public)


def test_without_the_check_what_is_no_token_is_the_fault_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: an honest stage is asked to read it, and refuses."""
    check = "check_indices(self.program, {self.program.inputs[0][0]: last})"
    apply(monkeypatch, [Edit("client.pipeline", check, "pass")])
    with pytest.raises(InputError):
        ask(links("emits a token after the last", 2))


def test_stages_that_emit_nothing_do_not_go_on_for_ever() -> None:
    with pytest.raises(VerificationError, match="no stage emitted") as caught:
        ask(links("emits nothing", 2))
    assert caught.value.step == 5


# -- what whole receipts and stages have to do with each other ---------------------------------------------
def test_a_stages_receipt_stands_for_no_whole_run() -> None:
    _, answer = answered()
    for receipt in answer.receipts:
        with pytest.raises(VerificationError):
            pc.check_receipt(MODEL, request(), receipt)
        with pytest.raises(VerificationError):
            pc.replay(MODEL, request(), receipt, kernels=synthetic.KERNELS)
    with pytest.raises(InputError, match="replay_stages"):
        auditor(MODEL).replay(request(), answer.receipts[0])


def test_a_whole_receipt_stands_for_no_stage() -> None:
    asked = request()
    run = synthetic.prove(MODEL, synthetic.request(MODEL))
    whole = replace(run.receipt, request_digest=asked.digest, node=IDENTITIES[0].public, signature=b"")
    whole = whole.signed(IDENTITIES[0].sign(whole.signed_digest))
    with pytest.raises(VerificationError, match="stage of pipeline"):
        pc.check_receipt(MODEL, asked, whole.encode(), pipeline=PIPELINE)


def test_the_request_addresses_the_pipeline() -> None:
    other = synthetic.request(MODEL, node=IDENTITIES[0].public)
    _, answer = answered()
    with pytest.raises(MismatchError, match="addresses"):
        pc.check_receipt(MODEL, other, answer.receipts[0], pipeline=PIPELINE)
    with pytest.raises(MismatchError, match="addresses"):
        links()[0].begin(other)
    with pytest.raises(MismatchError, match="addresses another node"):
        synthetic.node(MODEL).answer(request())
    short = Pipeline.of([1, 3], [IDENTITIES[0].public, IDENTITIES[1].public])
    with pytest.raises(MismatchError, match="segments"):
        ask_pipeline(MODEL, replace(request(), node=short.digest), short, links()[:2])


def test_evidence_about_a_stage_is_decided_again() -> None:
    nodes, lied = answered("another weight")
    by = pc.NodeIdentity(bytes([77] * 32))
    receipt, asked = lied.receipts[MIDDLE], request()
    challenge = auditor().challenge(asked, receipt, "all")
    data = opening(nodes[MIDDLE], asked, receipt, challenge)
    with pytest.raises(VerificationError) as caught:
        auditor().check(asked, receipt, challenge, data)
    bundle = auditor().evidence(by, asked, receipt, caught.value, challenge=challenge, opening=data)
    for holds in (synthetic.key(), MODEL):
        verdict = pc.verify_evidence(bundle, holds, kernels=synthetic.KERNELS)
        assert (verdict.finding, verdict.node) == (pc.Finding.CONTRADICTED, IDENTITIES[MIDDLE].public)


def test_an_honest_stage_is_not_accused_of_the_others_lie() -> None:
    """Its trace root is that of a run with a lie in it; a judge with the weights must not replay that."""
    _, lied = answered("another weight")
    by = pc.NodeIdentity(bytes([77] * 32))
    receipt, asked = lied.receipts[2], request()
    accused = VerificationError(7, "another trace root")
    bundle = auditor(MODEL).evidence(by, asked, receipt, accused)
    verdict = pc.verify_evidence(bundle, MODEL, kernels=synthetic.KERNELS)
    assert verdict.finding is not pc.Finding.CONTRADICTED
    assert any("other stages" in text for text in verdict.unchecked)


# -- what nodes refuse ---------------------------------------------------------------------------------------
def _first_step() -> tuple[list[Liar], Handed]:
    nodes = links()
    for node in nodes:
        node.begin(request())
    found = nodes[0].step(request().digest, 12, (), ())
    return nodes, Handed(found.boundary, tuple(found.handed.values()))


def test_rows_that_were_changed_on_their_way_are_not_computed_with() -> None:
    nodes, handed = _first_step()
    rows = np.frombuffer(handed.rows[0], "<f4") + np.float32(1)
    with pytest.raises(VerificationError, match="changed on their way") as caught:
        nodes[1].step(request().digest, 12, (), [handed._replace(rows=(rows.tobytes(),))])
    assert not caught.value.attributable
    with pytest.raises(InputError, match="not begun"):
        nodes[1].step(request().digest, 12, (), [handed])


@pytest.mark.parametrize("value", [np.float32(-0.0), np.float32(np.nan)])
def test_rows_that_no_node_may_commit_are_refused(value: np.float32) -> None:
    """An honest node's openings would be rejected for them."""
    nodes, handed = _first_step()
    rows = np.frombuffer(handed.rows[0], "<f4").copy()
    rows[3] = value
    with pytest.raises(FormatError, match="-0 or a number"):
        nodes[1].step(request().digest, 12, (), [handed._replace(rows=(rows.tobytes(),))])


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"rows": 11}, 5),
        ({"stage": 2}, 5),
        ({"roots": (bytes(32), bytes(32))}, 5),
        ({"model_id": bytes(32)}, 3),
        ({"request_digest": bytes(32)}, 4),
        ({"node": IDENTITIES[2].public}, 2),
    ],
)
def test_a_boundary_is_that_of_its_stage(change: dict[str, object], step: int) -> None:
    nodes, handed = _first_step()
    said = replace(Boundary.decode(handed.boundary), **change)  # type: ignore[arg-type]
    forged = handed._replace(boundary=said.signed(IDENTITIES[0]).encode())
    with pytest.raises(VerificationError) as caught:
        nodes[1].step(request().digest, 12, (), [forged])
    assert caught.value.step == step


def test_a_step_takes_what_comes_next() -> None:
    for tokens, what in (((0,) * 9, "more tokens"), ((1 << 20,), "index")):
        nodes, handed = _first_step()
        with pytest.raises(InputError, match=what):
            nodes[1].step(request().digest, 12, tokens, [handed])
    nodes, handed = _first_step()
    with pytest.raises(InputError, match=r"rows 12\.\.13"):
        nodes[0].step(request().digest, 13, (), [])
    nodes, handed = _first_step()
    with pytest.raises(InputError, match="0 stages"):
        nodes[1].step(request().digest, 12, (), [])
    nodes, handed = _first_step()
    with pytest.raises(FormatError, match=r"bytes of x\.1"):
        nodes[1].step(request().digest, 12, (), [handed._replace(rows=(handed.rows[0][:-4],))])


def test_a_node_signs_no_other_root_than_it_computed() -> None:
    nodes, answer = links(), answered()[1]
    asked = request()
    run_through(nodes)
    for node in nodes:
        node.finish(asked.digest, answer.outputs)
    for group in range(len(answer.roots)):
        roots = list(answer.roots)
        roots[group] = bytes(32)
        node, error = (nodes[0], MismatchError) if group < 2 else (nodes[1], MismatchError)
        with pytest.raises(HandedError if group == 2 else error):
            node.sign(asked.digest, roots)
    with pytest.raises(InputError, match="roots of"):
        nodes[0].sign(asked.digest, answer.roots[:-1])


def run_through(nodes: list[Liar]) -> None:
    """Compute all rows of the request, as the honest answer has them."""
    answer = answered()[1].tokens
    for node in nodes:
        node.begin(request())
    for end in range(12, 12 + len(answer)):
        handed: list[Handed] = []
        for node in nodes:
            tokens = () if end == 12 else (answer[end - 13],)
            found = node.step(request().digest, end, tokens, handed)
            handed = [Handed(found.boundary, tuple(found.handed.values()))]


def test_an_answer_of_other_tokens_or_rows_is_not_finished() -> None:
    nodes, answer = links(), answered()[1]
    run_through(nodes)
    ((name, rows),) = answer.outputs.items()
    for wrong, what in ((rows[:-1], "go on"), (np.roll(rows, 1), "tokens from which"), (rows[:0], "empty")):
        with pytest.raises(InputError, match=what):
            nodes[0].finish(request().digest, {name: wrong})
    with pytest.raises(InputError, match="other outputs"):
        nodes[0].finish(request().digest, {})
    with pytest.raises(InputError, match="not finished"):
        nodes[0].sign(request().digest, answer.roots)


def test_a_node_has_only_so_many_requests() -> None:
    (node, *_) = links()
    for number in range(RUNS):
        node.begin(request(nonce=bytes([number] * 32)))
    node.begin(request(nonce=bytes([0] * 32)))  # anew
    with pytest.raises(BusyError):
        node.begin(request(nonce=bytes([200] * 32)))


def test_a_node_runs_its_own_stage_only() -> None:
    with pytest.raises(MismatchError, match="another node's"):
        StageNode(MODEL, IDENTITIES[0], PIPELINE, 1, device=synthetic.KERNELS)
    with pytest.raises(InputError, match="stage 3"):
        StageNode(MODEL, IDENTITIES[0], PIPELINE, 3, device=synthetic.KERNELS)
    part = MODEL.part(PIPELINE.segments(1))
    assert set(part.weights) < set(MODEL.weights)
    assert all(name.startswith("block.1") or name == "rope" for name in part.weights)
    with pytest.raises(InputError, match="segments"):
        MODEL.part(range(3, 9))


# -- checks of all stages ------------------------------------------------------------------------------------
def test_all_stages_have_signed_for_one_run() -> None:
    _, answer = answered()
    check_stages(MODEL, request(), PIPELINE, answer.receipts, answer.roots)
    for receipts, roots, step in (
        (answer.receipts[:2], None, 10),
        ((answer.receipts[1], *answer.receipts[1:]), None, 2),
        (answer.receipts, answer.roots[:-1], 7),
        (answer.receipts, (bytes(32), *answer.roots[1:]), 7),
    ):
        with pytest.raises(VerificationError) as caught:
            check_stages(MODEL, request(), PIPELINE, receipts, roots)
        assert caught.value.step == step


def test_what_anybody_could_make_up_accuses_nobody() -> None:
    _, answer = answered()
    claim, asked = answer.claims[0], request()
    _, handed = _first_step()
    with pytest.raises(InputError, match="nothing is shown"):  # of fewer rows
        check_handed(MODEL, asked, PIPELINE, claim, answer.roots, handed.boundary)
    false = replace(Boundary.decode(handed.boundary), rows=claim.receipt.rows).encode()
    with pytest.raises(InputError, match="nothing is shown"):  # its signature does not hold
        check_handed(MODEL, asked, PIPELINE, claim, answer.roots, false)
    with pytest.raises(InputError, match="nothing is shown"):
        check_handed(MODEL, asked, PIPELINE, claim, answer.roots[::-1], handed.boundary)
    honest = replace(
        Boundary.decode(handed.boundary), rows=claim.receipt.rows, roots=(answer.roots[2],)
    ).signed(IDENTITIES[0])
    check_handed(MODEL, asked, PIPELINE, claim, answer.roots, honest.encode())
    lied = replace(honest, roots=(bytes(32),)).signed(IDENTITIES[0])
    with pytest.raises(VerificationError) as caught:
        check_handed(MODEL, asked, PIPELINE, claim, answer.roots, lied.encode())
    assert caught.value.attributable


# -- other programs ------------------------------------------------------------------------------------------
def test_networks_that_are_no_decoders_are_split_too() -> None:
    model = random_network([8, 16, 16, 4])
    segments = len(model.program.segments)
    assert segments == 3
    pipeline = Pipeline.of([1, segments], [IDENTITIES[0].public, IDENTITIES[1].public])
    nodes = [
        StageNode(model.part(pipeline.segments(i)), IDENTITIES[i], pipeline, i, device=synthetic.KERNELS)
        for i in range(2)
    ]
    asked = replace(sample_request(model, 5), node=pipeline.digest)
    answer = ask_pipeline(model, asked, pipeline, nodes)
    whole = pc.Node(model, IDENTITIES[0], device=synthetic.KERNELS).answer(replace(asked, node=b""))
    assert Receipt.decode(whole.receipt).trace_root == answer.claims[0].receipt.trace_root
    for name, rows in whole.outputs.items():
        assert rows.tobytes() == answer.outputs[name].tobytes()
    assert answer.tokens == ()


def test_the_frontier_has_the_roots_of_trees() -> None:
    rng = np.random.default_rng(3)
    for suite in hashing.SUITES:
        leaves = rng.integers(0, 256, (70, 32)).astype(np.uint8)
        grown, at = Frontier(suite), 0
        assert grown.root() == merkle.Tree(suite, leaves[:0], hashing.hash_rows).root
        for step in (1, 1, 2, 3, 1, 25, 0, 37):
            grown.add(leaves[at : at + step])
            at += step
            assert (grown.size, grown.root()) == (
                at,
                merkle.Tree(suite, leaves[:at], hashing.hash_rows).root,
            )
    with pytest.raises(FormatError):
        Frontier("sha256").add(np.zeros((2, 31), np.uint8))


def test_plans_of_stages() -> None:
    plans = stage_plans(MODEL.program, PIPELINE)
    assert [(p.reads, p.writes, p.hands, p.emits) for p in plans] == [
        ((), (0, 1, 2), (2,), ()),
        ((2,), (3, 4), (4,), ()),
        ((4,), (), (), MODEL.program.outputs),
    ]
    assert Reads.PREFIX in {mode for plan in MODEL.program.plans for _, mode in plan.groups}
