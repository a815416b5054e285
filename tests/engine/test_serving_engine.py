"""Budgets, growth, dropped rows and shared prefixes, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig.device import EmulatedDevice
from proofcompute.arithmetic.backends.cuda import CudaKernels
from proofcompute.engine import Engine, Keep, Session, admission, prefixes
from proofcompute.engine.schedule import Budget, Pause, share_out
from proofcompute.errors import InputError
from proofcompute.protocol import buffers
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.openable import opening_bytes

LONG = "a beginning that many requests have, of some blocks"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "PAGE", 8)
    monkeypatch.setattr(prefixes, "ROWS", 4)
    monkeypatch.setattr(admission, "AHEAD", 4)


def asked(prompt: str = LONG, tokens: int = 30) -> Request:
    return synthetic.request(synthetic.model(), prompt, max_tokens=tokens, ignore_end=True)


def engine(keep: Keep = Keep.ALL, prefixes: int = 0, **how: Any) -> Engine:
    return Engine(synthetic.model(), synthetic.KERNELS, keep=keep, prefixes=prefixes, **how)


def receipt(session: Session) -> bytes:
    return synthetic.node(synthetic.model()).commit(session, keep=False).encode()


def test_who_decodes_does_not_wait_for_prompts() -> None:
    e = engine(rows=16, chunk=8, beside=4)
    first = e.add(asked("z"))
    while not first.emitted:
        e.step()
    others = [e.add(asked()) for _ in range(3)]
    for turn in range(12):
        before = [s.done for s in others]
        emitted = first.emitted
        e.step()
        assert first.emitted == emitted + 1
        assert sum(s.done for s in others) == sum(before) + 4
        assert max(s.done for s in others) - min(s.done for s in others) <= 4, turn


def test_a_computation_that_is_done_again_gets_its_share() -> None:
    e = engine(rows=20, chunk=20, beside=4)
    again = e.add(asked(), synthetic.prove(synthetic.model(), asked()).answer, share=0.1)
    other = e.add(asked())
    e.step()
    assert (again.done, other.done) == (4, 0)  # the rows that prompts have beside others
    e.step()
    assert (again.done, other.done) == (4, 4)  # and then others have their part of the time
    alone = engine(rows=20, chunk=20, beside=20)
    other = alone.add(asked(), again.answer, share=0.1)
    alone.step()
    assert other.done == 20


def test_a_prompt_progresses_although_decoding_fills_the_budget() -> None:
    e = engine(rows=2, chunk=8)
    decoding = [e.add(asked("z", 80)) for _ in range(3)]
    while not all(s.emitted for s in decoding):
        e.step()
    late = e.add(asked("abc", 2))
    for _ in range(40):
        e.step()
    assert not late.running


def test_buffers_grow_with_the_answer() -> None:
    e = engine()
    session = e.add(asked("z", 60))
    sizes = []
    while session.running:
        e.step()
        sizes.append(session.trace.capacity)
    assert sizes[0] < session.trace.most == sizes[-1]
    assert len(set(sizes)) > 3
    assert receipt(session) == synthetic.prove(synthetic.model(), session.request).data


@pytest.mark.parametrize("keep", [Keep.ALL, Keep.PREFIXES])
def test_a_prefix_is_shared_within_its_scope(keep: Keep) -> None:
    """All whole blocks before the prompt's last row are taken, also if the prompt ends with a block."""
    e = engine(keep, 1 << 30)
    e.run(e.add(asked(), scope=b"one"))
    for length in (*range(31, 34), len(LONG)):
        request = asked(LONG[:length], 4)
        for scope in (b"one", b"another %d" % length):
            session = e.add(request, scope=scope)
            e._prefixes.use(session)
            assert session.done == ((length - 1) // 4 * 4 if scope == b"one" else 0)
            e.run(session)
            assert receipt(session) == synthetic.prove(synthetic.model(), request).data


def test_a_failed_session_leaves_no_rows() -> None:
    e = engine(Keep.ALL, 1 << 30, chunk=8)
    session = e.add(asked())
    e.step()
    session.trace.arrays["k_scale.1"][2] = np.float32(np.nan)
    assert e.step().failed
    assert e.prefix_bytes == 0


def test_a_cache_of_what_is_not_kept_is_refused() -> None:
    with pytest.raises(InputError, match="keep none"):
        engine(Keep.NOTHING, 1)
    with pytest.raises(InputError, match="share"):
        engine().add(asked(), share=0.0)


@pytest.mark.parametrize("keep", Keep)
def test_a_graph_is_repeated_over_windows(keep: Keep) -> None:
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    kernels.ahead = 4
    e = Engine(synthetic.model(), kernels, keep=keep, chunk=8)
    sessions = [e.add(asked("Hello, world")), e.add(asked("abc", 25))]
    for session in sessions:
        e.run(session)
        expected = synthetic.prove(synthetic.model(), session.request).data
        assert synthetic.node(synthetic.model(), kernels).commit(session, keep=False).encode() == expected
    assert device.replays > 5


@pytest.mark.parametrize("everything", [True, False])
def test_an_opening_is_no_longer_than_its_bound(everything: bool) -> None:
    run = synthetic.prove(synthetic.model(), asked(tokens=4))
    whole = synthetic.challenge_all(run)
    cells = whole.cells if everything else whole.cells[-2:]
    challenge = Challenge(run.receipt.digest, cells)
    program, rows = run.model.program, run.receipt.rows
    most = opening_bytes(program, rows, cells, tables=challenge.tables, hints=challenge.hints)
    assert most / 20 < len(run.open(challenge)) <= most


def test_what_is_done_again_leaves_others_their_part_of_the_time() -> None:
    e = engine(rows=20, chunk=20, beside=20)
    again, other = e.add(asked(), share=0.25), e.add(asked("z"))
    pause = Pause()
    assert pause.over
    for served in ([again, other], [again]):  # the other has rows, or waits for its first
        pause.note([again, other], served, 1.0)
        for _ in range(2):
            pause.note([again, other], [other], 1.0)
            assert not pause.over
        pause.note([again, other], [other], 1.0)
        assert pause.over
    pause.note([again], [again], 1.0)  # nobody waited
    assert pause.over
    budget = Budget(20, 20, 20)
    assert again.number not in share_out([again, other], budget, 0, again=False)
    assert again.number in share_out([again, other], budget, 0)
    assert again.number in share_out([again], budget, 0, again=False)
