"""Steps of several requests are computed together, and each gets what it gets alone, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

import encoders
import proofcompute as pc
import synthetic
from pipelines.forgetful import STAGES, halves, stage
from pipelines.line import PIPELINE, request
from proofcompute.arrays import Array
from proofcompute.client.pipeline import PipelineAnswer, ask_pipeline
from proofcompute.errors import DeviceError, ExecutionError, InputError
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import Request
from proofcompute.protocol.stage_calls import StepCall
from proofcompute.prover.stages import StageAnswer, StageNode
from proofcompute.serving.stage_work import StageWork

MODEL = synthetic.model()


class Heard:
    """A stage's node, and the calls of steps that it got with what it gave."""

    def __init__(self, node: StageNode) -> None:
        self.node, self.heard = node, list[tuple[StepCall, StageAnswer]]()

    def step(self, digest: bytes, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        found = self.node.step(digest, end, tokens, handed)
        self.heard.append((StepCall(digest, end, tuple(tokens), tuple(handed)), found))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def asked() -> list[Request]:
    """Requests of different lengths, one of which draws its tokens."""
    return [
        request(nonce=bytes([1] * 32), max_tokens=2),
        request(nonce=bytes([2] * 32), max_tokens=6),
        request(nonce=bytes([3] * 32), max_tokens=4, sampling=pc.Sampling(temperature=1.5, top_k=20)),
    ]


def alone(one: Request) -> tuple[PipelineAnswer, list[list[tuple[StepCall, StageAnswer]]]]:
    nodes: list[Any] = [Heard(stage(number)) for number in STAGES]
    answer = ask_pipeline(MODEL, one, PIPELINE, nodes)
    return answer, [node.heard for node in nodes]


def same(found: StageAnswer | Exception, wanted: StageAnswer) -> bool:
    assert isinstance(found, StageAnswer), found
    return (found.boundary, found.handed, plain(found.emitted)) == (
        wanted.boundary,
        wanted.handed,
        plain(wanted.emitted),
    )


def plain(emitted: Mapping[str, Array]) -> dict[str, tuple[Any, ...]]:
    return {name: (rows.dtype, rows.shape, rows.tobytes()) for name, rows in emitted.items()}


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("shift", [0, 2])
def test_what_is_computed_together_is_what_each_gets_alone(shift: int, device: str) -> None:
    """Prompts beside prompts, or beside tokens of others that have begun two steps before.

    What each gets alone is that of the definition.
    """
    runs = [alone(one) for one in asked()]
    begins = [number * shift for number in range(len(runs))]
    nodes = [stage(number, device=device) for number in STAGES]
    for node in nodes:
        for one in asked():
            node.begin(one)
    lengths = [len(heard[0]) for _, heard in runs]
    together = 0
    for turn in range(max(a + n for a, n in zip(begins, lengths, strict=True))):
        active = [i for i, (a, n) in enumerate(zip(begins, lengths, strict=True)) if a <= turn < a + n]
        together += len(active) > 1
        for number, node in enumerate(nodes):
            pairs = [runs[i][1][number][turn - begins[i]] for i in active]
            for found, (_, wanted) in zip(node.steps([call for call, _ in pairs]), pairs, strict=True):
                assert same(found, wanted)
    assert together
    for one, (answer, _) in zip(asked(), runs, strict=True):
        for node, receipt in zip(nodes, answer.receipts, strict=True):
            node.finish(one.digest, answer.outputs)
            assert node.sign(one.digest, answer.roots) == receipt


def test_programs_that_read_all_rows_are_computed_together_too() -> None:
    model = encoders.model()
    assert model.program.reads_all
    pipeline, started = halves(model)
    texts = (encoders.TOKENS, encoders.TOKENS * 4)
    both = [replace(encoders.request(model, text), node=pipeline.digest) for text in texts]
    runs = []
    for one in both:
        heard: list[Any] = [Heard(node) for node in started()]
        ask_pipeline(model, one, pipeline, heard)
        runs.append([node.heard for node in heard])
    for number, node in enumerate(started()):
        for one in both:
            node.begin(one)
        pairs = [run[number][0] for run in runs]
        for found, (_, wanted) in zip(node.steps([call for call, _ in pairs]), pairs, strict=True):
            assert same(found, wanted)


def test_a_part_of_rows_that_all_depend_on_each_other_fails_alone() -> None:
    model = encoders.model()
    pipeline, started = halves(model)
    node, both = started()[0], []
    for text in (encoders.TOKENS, encoders.TOKENS * 4):
        both.append(replace(encoders.request(model, text), node=pipeline.digest))
        node.begin(both[-1])
    rows = len(encoders.TOKENS)  # all of the first, and some of the second
    first, second = node.steps([StepCall(one.digest, rows, (), ()) for one in both])
    assert isinstance(first, StageAnswer)
    assert isinstance(second, InputError)
    assert "takes all of them" in str(second)


# -- what goes wrong -----------------------------------------------------------------------------------------
def first_calls(node: StageNode) -> list[StepCall]:
    for one in asked():
        node.begin(one)
    return [StepCall(one.digest, 12, (), ()) for one in asked()]


def test_a_request_that_is_wrong_fails_alone() -> None:
    node = stage(0)
    calls = first_calls(node)
    calls[1] = calls[1]._replace(end=40)
    found = node.steps([*calls, StepCall(bytes(32), 12, (), ())])
    assert [type(one) for one in found] == [StageAnswer, InputError, StageAnswer, InputError]
    with pytest.raises(InputError, match="not begun"):  # it is forgotten, and the others are not
        node.step(*calls[1])
    assert len(node.steps([c._replace(end=13, tokens=(5,)) for c in (calls[0], calls[2])])) == 2


def test_rows_without_a_result_fail_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    node, wanted = stage(0), stage(0)
    calls = first_calls(node)
    bad, compute = node._steps.begun.get(calls[1].digest).run, node.engine.compute

    def fails(runs: Sequence[Any], most: int | None = None) -> Any:
        if bad in runs:
            raise ExecutionError("no result")
        return compute(runs, most)

    monkeypatch.setattr(node.engine, "compute", fails)
    found = node.steps(calls)
    assert isinstance(found[1], ExecutionError)
    for number in (0, 2):
        wanted.begin(asked()[number])
        assert same(found[number], wanted.step(*calls[number]))


def test_a_device_at_fault_ends_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    node = stage(0)
    calls = first_calls(node)

    def fails(*_: Any) -> Any:
        raise DeviceError("it is gone")

    monkeypatch.setattr(node.engine, "compute", fails)
    with pytest.raises(DeviceError):
        node.steps(calls)
    assert len(node._steps.begun) == 0


def test_a_request_has_one_step_at_a_time() -> None:
    node = stage(0)
    calls = first_calls(node)
    with pytest.raises(InputError, match="one step at a time"):
        node.steps([calls[0], calls[0]])


# -- the service's thread ------------------------------------------------------------------------------------
class Counted:
    """A node that notes which calls it is given together."""

    def __init__(self, error: Exception | None = None) -> None:
        self.given, self.error = list[list[bytes]](), error

    def steps(self, calls: Sequence[StepCall]) -> list[StageAnswer | Exception]:
        self.given.append([call.digest for call in calls])
        if self.error is not None:
            raise self.error
        refused = InputError("refused")
        return [refused if call.end == 9 else StageAnswer(call.digest, {}, {}) for call in calls]


def call(letter: bytes, end: int = 1) -> StepCall:
    return StepCall(letter * 32, end, (), ())


async def while_it_works(node: Any, calls: Sequence[StepCall], *, left: int | None = None) -> list[Any]:
    """What becomes of steps that come while the thread does something else; one client may leave."""
    work, gate = StageWork(node), Event()
    busy = asyncio.ensure_future(work.do(gate.wait))
    waiting = [asyncio.ensure_future(work.step(one)) for one in calls]
    await asyncio.sleep(0)
    if left is not None:
        waiting[left].cancel()
        await asyncio.sleep(0)
    gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    await busy
    return found


def test_steps_that_wait_are_taken_together() -> None:
    node = Counted()
    calls = [call(b"a"), call(b"b"), call(b"a", 2), call(b"c", 9)]
    found = asyncio.run(while_it_works(node, calls))
    assert node.given == [[b"a" * 32, b"b" * 32, b"c" * 32], [b"a" * 32]]
    assert [one.boundary for one in found[:3]] == [b"a" * 32, b"b" * 32, b"a" * 32]
    assert isinstance(found[3], InputError)


def test_nothing_is_computed_for_a_client_that_has_left() -> None:
    node = Counted()
    found = asyncio.run(while_it_works(node, [call(b"a"), call(b"b")], left=0))
    assert node.given == [[b"b" * 32]]
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1].boundary == b"b" * 32


def test_what_breaks_a_step_reaches_everybody_in_it() -> None:
    node = Counted(DeviceError("it is gone"))
    found = asyncio.run(while_it_works(node, [call(b"a"), call(b"b")]))
    assert [type(one) for one in found] == [DeviceError, DeviceError]
