"""Whatever a stage has forgotten, its receipts are opened, from the rows that they commit to alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import encoders
import proofcompute as pc
import synthetic
from adversary.mutation import Edit, apply
from pipelines.forgetful import STAGES, Changed, Silent, audited, halves, honest, opener, stage
from pipelines.line import IDENTITIES, MIDDLE, PIPELINE, answered, auditor, request
from proofcompute.client.pipeline import ask_pipeline
from proofcompute.client.reopening import CHUNK, StageOpener
from proofcompute.errors import (
    BusyError,
    ExecutionError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    ServiceError,
    VerificationError,
)
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover.stage_runs import IDLE, StageRuns
from proofcompute.prover.stage_traces import AGAIN
from proofcompute.prover.stages import NotKeptError, StageNode
from proofcompute.testing import random_network, sample_request

MODEL = synthetic.model()


# -- every receipt is opened ---------------------------------------------------------------------------------
@pytest.mark.parametrize("number", STAGES)
def test_a_stage_that_has_forgotten_everything_opens_what_it_is_given_the_rows_of(number: int) -> None:
    """No other stage is needed where the client has kept the rows."""
    nodes: list[Any] = [Silent(), Silent(), Silent()]
    nodes[number] = stage(number)
    found = audited(opener(nodes, kept=True), number)
    assert (found.complete, found.node) == (True, IDENTITIES[number].public)


def test_the_stages_before_hand_their_rows_on_once_more() -> None:
    """A client that has kept receipts and roots alone goes to the first stage, which takes the request."""
    nodes = [stage(number) for number in STAGES]
    assert audited(opener(nodes, kept=False), 2).complete
    assert audited(opener(nodes, kept=False), MIDDLE).complete  # its trace is there by now


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_the_bytes_are_those_of_the_first_opening(device: str) -> None:
    nodes, answer = answered()
    for number in STAGES:
        challenge = auditor().challenge(request(), answer.receipts[number], "all")
        first = nodes[number].open(request(), answer.receipts[number], challenge)
        again = opener([stage(n, device=device) for n in STAGES], kept=False)
        assert again.open(number, challenge) == first


def test_traces_that_gave_way_come_back() -> None:
    """Three answers, and room for the trace of one."""
    nodes = [stage(number, trace_bytes=1) for number in STAGES]
    asked = [request(nonce=bytes([n + 1] * 32), max_tokens=3) for n in range(3)]
    answers = [ask_pipeline(MODEL, one, PIPELINE, nodes) for one in asked]
    assert all(len(node.opener.traces.digests) == 1 for node in nodes)
    for one, answer in zip(asked, answers, strict=True):
        opens = StageOpener(MODEL, one, PIPELINE, nodes, answer.receipts, answer.roots)
        for number in STAGES:
            receipt = answer.receipts[number]
            found = auditor().audit(one, receipt, lambda c, n=number, o=opens: o.open(n, c), "all")  # type: ignore[misc]
            assert found.complete


def test_rows_are_kept_only_if_they_are_wanted() -> None:
    nodes = [stage(number) for number in STAGES]
    assert ask_pipeline(MODEL, request(), PIPELINE, nodes, keep=False).handed == {}
    widths = {g: MODEL.program.group_bytes(g) for g in (2, 4)}
    rows = honest().claims[0].receipt.rows
    assert {g: len(data) for g, data in honest().handed.items()} == {g: rows * w for g, w in widths.items()}


def network() -> tuple[pc.Model, Request]:
    """More rows than are given or computed at a time."""
    model = random_network([8, 16, 16, 4])
    return model, sample_request(model, 2 * CHUNK + 88)


def encoder() -> tuple[pc.Model, Request]:
    """Every row depends on all rows, so that a stage computes all of them at once."""
    model = encoders.model()
    assert model.program.reads_all
    return model, encoders.request(model)


@pytest.mark.parametrize("made", [network, encoder])
def test_models_that_generate_nothing_open_again(made: Callable[[], tuple[pc.Model, Request]]) -> None:
    model, asked = made()
    pipeline, started = halves(model)
    asked = replace(asked, node=pipeline.digest)
    answer = ask_pipeline(model, asked, pipeline, started())
    opens = StageOpener(model, asked, pipeline, started(), answer.receipts, answer.roots)
    judge = pc.Auditor(model, device=synthetic.KERNELS, pipeline=pipeline)
    for number in (1, 0):
        found = judge.audit(asked, answer.receipts[number], partial(opens.open, number), 6)
        assert found.cells == 6


def test_rows_go_in_pieces_of_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of pictures are large; a single one goes by itself, however large it is."""
    width = MODEL.program.group_bytes(2)
    for nbytes, most in ((3 * width, 3), (1, 1)):
        monkeypatch.setattr("proofcompute.client.reopening._PIECE", nbytes)
        asked: list[int] = []
        first = Changed(stage(0), "rows", lambda found, asked=asked: asked.append(len(found[0])) or found)  # type: ignore[misc]
        assert audited(opener([first, stage(1), stage(2)], kept=False), MIDDLE).complete
        assert max(asked) == most * width
        assert sum(asked) == len(honest().handed[2])


# -- what a stage refuses ------------------------------------------------------------------------------------
def begun(node: StageNode, number: int) -> bytes:
    return node.again(request(), honest().receipts[number], honest().roots)


def test_nothing_is_computed_from_other_rows_than_the_committed_ones() -> None:
    node, answer = stage(MIDDLE), honest()
    rows = np.frombuffer(answer.handed[2], "<f4").copy()
    rows[-1] += 1
    handle = begun(node, MIDDLE)
    node.give(handle, answer.claims[0].receipt.rows, [rows.tobytes()])
    with pytest.raises(MismatchError, match=r"rows of x\.1 are not those"):
        node.keep(handle)
    assert node.engine.placed is not None
    with pytest.raises(InputError, match="not begun"):
        node.keep(handle)


def test_without_the_check_it_computes_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: a stage computes for whoever has a receipt, and takes the result for a fault of its own."""
    check = "if run.roots[group].root() != again.roots[group]:"
    apply(monkeypatch, [Edit("prover.stage_traces", check, "if False:")])
    node, answer = stage(MIDDLE), honest()
    rows = np.frombuffer(answer.handed[2], "<f4").copy()
    rows[-1] += 1
    handle = begun(node, MIDDLE)
    node.give(handle, answer.claims[0].receipt.rows, [rows.tobytes()])
    with pytest.raises(ExecutionError, match="memory and device"):
        node.keep(handle)


def foreign(receipt: bytes) -> bytes:
    """The receipt as somebody else would sign it, under the stage's name."""
    found = replace(Receipt.decode(receipt), signature=b"")
    return found.signed(pc.NodeIdentity(bytes([9] * 32)).sign(found.signed_digest)).encode()


REFUSED: dict[str, tuple[Callable[[], tuple[Request, bytes, tuple[bytes, ...]]], str]] = {
    "another request": (
        lambda: (request(nonce=bytes(32)), honest().receipts[MIDDLE], honest().roots),
        "not for this request",
    ),
    "another stage": (lambda: (request(), honest().receipts[0], honest().roots), "not of this stage"),
    "another signer": (
        lambda: (request(), foreign(honest().receipts[MIDDLE]), honest().roots),
        "not signed by this identity",
    ),
    "other roots": (
        lambda: (request(), honest().receipts[MIDDLE], (bytes(32), *honest().roots[1:])),
        "not those that the receipt",
    ),
    "fewer roots": (
        lambda: (request(), honest().receipts[MIDDLE], honest().roots[:-1]),
        "not those that the receipt",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_trace_is_brought_back_for_receipts_of_its_own_only(name: str) -> None:
    made, why = REFUSED[name]
    with pytest.raises(MismatchError, match=why):
        stage(MIDDLE).again(*made())


@pytest.mark.parametrize(
    ("name", "check", "without"),
    [
        (
            "another request",
            "(known.request_digest, known.model_id) != (request.digest, self._model.model_id)",
            "False",
        ),
        ("another stage", "(known.pipeline, known.stage) != (self._pipeline, self._plan.stage)", "False"),
        ("another signer", "require_signer(known, self._identity)", "pass"),
        ("other roots", "root_of(program, known.suite, known.rows, roots) != known.trace_root", "False"),
        ("fewer roots", "not whole or", "whole and"),
    ],
)
def test_without_a_check_it_is_begun_for_others(
    name: str, check: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutants: the node begins to compute for a receipt that it never signed like this."""
    edits = [Edit("prover.stage_traces", check, without)]
    if name == "another stage":  # which another node signed
        edits.append(Edit("prover.stage_traces", "require_signer(known, self._identity)", "pass"))
    apply(monkeypatch, edits)
    made, _ = REFUSED[name]
    asked, receipt, roots = made()
    assert len(stage(MIDDLE).again(asked, receipt, roots)) == 32


def test_rows_come_in_order_and_as_many_as_there_are() -> None:
    answer, width = honest(), MODEL.program.group_bytes(2)
    data, rows = answer.handed[2], answer.claims[0].receipt.rows
    for end, given, error, what in (
        (5, [], FormatError, "0 groups"),
        (5, [data[: 4 * width]], FormatError, "bytes of x.1"),
        (rows + 1, [data + data[:width]], InputError, "of a receipt of"),
    ):
        node = stage(MIDDLE)
        handle = begun(node, MIDDLE)
        with pytest.raises(error, match=what):
            node.give(handle, end, given)
        with pytest.raises(InputError, match="not begun"):
            node.give(handle, end, given)
    node = stage(MIDDLE)
    handle = begun(node, MIDDLE)
    node.give(handle, 5, [data[: 5 * width]])
    with pytest.raises(InputError, match=r"5 of .* rows were given"):
        node.keep(handle)


def test_rows_are_handed_on_to_who_knows_the_request() -> None:
    """They say what was asked; a receipt alone, which anybody may have seen, does not show them."""
    nodes, answer = answered()
    node = nodes[0].node
    rows = answer.claims[0].receipt.rows
    assert node.rows(request(), answer.receipts[0], 0, rows) == (answer.handed[2],)
    with pytest.raises(MismatchError):
        node.rows(request(nonce=bytes(32)), answer.receipts[0], 0, rows)
    for a, b in ((0, 0), (3, 2), (0, rows + 1), (-1, 2)):
        with pytest.raises(InputError, match="rows"):
            node.rows(request(), answer.receipts[0], a, b)
    with pytest.raises(NotKeptError):
        stage(0).rows(request(), answer.receipts[0], 0, rows)


def test_too_many_rows_are_not_handed_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, answer = answered()
    monkeypatch.setattr("proofcompute.prover.stage_traces._ROWS_BYTES", 2 * MODEL.program.group_bytes(2))
    assert nodes[0].node.rows(request(), answer.receipts[0], 1, 3)
    with pytest.raises(LimitError, match="at a time"):
        nodes[0].node.rows(request(), answer.receipts[0], 0, 3)


def test_a_stage_that_keeps_no_trace_opens_nothing() -> None:
    with pytest.raises(InputError, match="opens nothing"):
        stage(0, trace_bytes=0)


def test_a_fault_of_the_machine_is_no_fault_of_who_gave_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    node, answer = stage(MIDDLE), honest()
    handle = begun(node, MIDDLE)
    node.give(handle, answer.claims[0].receipt.rows, [answer.handed[2]])
    monkeypatch.setattr("proofcompute.prover.stored.StoredTrace.root", lambda _: bytes(32))
    with pytest.raises(ExecutionError, match="memory and device"):
        node.keep(handle)
    assert node.opener.mismatches == 1


# -- what is begun and left ----------------------------------------------------------------------------------
def test_what_nobody_ends_gives_way() -> None:
    now, dropped = [0.0], list[str]()
    runs = StageRuns[str](2, 100, dropped.append, clock=lambda: now[0])
    runs.begin(b"a", 40, lambda: "a")
    runs.begin(b"b", 40, lambda: "b")
    for _ in range(2):
        with pytest.raises(BusyError, match="2 requests of 80 bytes"):
            runs.begin(b"c", 10, lambda: "c")
        now[0] += IDLE / 2
    assert runs.get(b"a") == "a"  # so b is the one that nobody asks for
    runs.begin(b"c", 60, lambda: "c")
    assert (dropped, runs.held, len(runs)) == (["b"], 100, 2)
    with pytest.raises(LimitError, match="101 bytes"):
        runs.begin(b"d", 101, lambda: "d")
    runs.begin(b"c", 10, lambda: "anew")
    assert (dropped, runs.get(b"c"), runs.held) == (["b", "c"], "anew", 50)
    with pytest.raises(BusyError):
        runs.begin(b"d", 10, lambda: "d")
    for key in (b"a", b"c", b"c"):
        runs.drop(key)
    assert (runs.held, len(runs)) == (0, 0)
    with pytest.raises(InputError, match="not begun"):
        runs.get(b"a")


def test_what_cannot_be_made_takes_no_room() -> None:
    runs = StageRuns[str](1, 10, lambda _: None)

    def fails() -> str:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        runs.begin(b"a", 10, fails)
    assert (runs.held, len(runs)) == (0, 0)


def test_a_stage_has_room_for_so_many_bytes() -> None:
    small = stage(0, run_bytes=1000)
    with pytest.raises(LimitError, match="bytes"):
        small.begin(request())
    with pytest.raises(LimitError, match="bytes"):
        begun(small, 0)
    node = stage(0)
    for _ in range(AGAIN):
        begun(node, 0)
    with pytest.raises(BusyError):
        begun(node, 0)
    node.begin(request())  # what is computed again takes the room of no new request


# -- what a client refuses -----------------------------------------------------------------------------------
def test_a_stage_that_never_has_the_trace_is_left() -> None:
    class Forgetful(Changed):
        def open(self, *of: Any) -> bytes:
            raise NotKeptError("gone")

    nodes: list[Any] = [stage(0), Forgetful(stage(1), "", lambda x: x), stage(2)]
    with pytest.raises(ServiceError, match="stage 1 does not open"):
        audited(opener(nodes, kept=True), MIDDLE)

    class Empty(Changed):
        def rows(self, *of: Any) -> bytes:
            raise NotKeptError("gone")

    nodes = [Empty(stage(0), "", lambda x: x), stage(1), stage(2)]
    with pytest.raises(ServiceError, match="stage 0 does not hand rows on"):
        audited(opener(nodes, kept=False), MIDDLE)


def test_an_opener_has_what_belongs_together() -> None:
    nodes, answer = [stage(number) for number in STAGES], honest()
    with pytest.raises(InputError, match="2 links to 3 stages"):
        StageOpener(MODEL, request(), PIPELINE, nodes[:2], answer.receipts, answer.roots)
    with pytest.raises(VerificationError, match="roots"):
        StageOpener(MODEL, request(), PIPELINE, nodes, answer.receipts, answer.roots[::-1])


def test_a_lie_is_found_after_the_liar_has_started_again() -> None:
    """Its receipt commits to what it wrote; a trace brought back with the lie in it is rejected as before."""
    from pipelines.liars import altered

    _, lied = answered("another weight")
    span = PIPELINE.segments(MIDDLE)
    liar = StageNode(
        altered(MODEL, span).part(span), IDENTITIES[MIDDLE], PIPELINE, MIDDLE, device=synthetic.KERNELS
    )
    nodes = [stage(0), liar, stage(2)]
    for number in (0, 2):
        assert audited(opener(nodes, kept=False, answer=lied), number, lied).complete
    with pytest.raises(VerificationError) as caught:
        audited(opener(nodes, kept=False, answer=lied), MIDDLE, lied)
    assert (caught.value.node, caught.value.attributable) == (IDENTITIES[MIDDLE].public, True)
