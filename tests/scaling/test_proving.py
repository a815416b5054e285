"""Openings and proofs are made by actors: their bytes are those of one process, and each stays once."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

import proofcompute as pc
import synthetic
from proofcompute.errors import InputError, MismatchError
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.samples import Sample
from proofcompute.prover import RunDirectory
from proofcompute.prover.node import Node
from proofcompute.public.holder import positions_for
from proofcompute.public.proving import OwnAnswer, prove
from proofcompute.public.publishing import load_published, write_published
from proofcompute.scaling import (
    Failed,
    OpeningWork,
    Processes,
    ProofWork,
    Proving,
    Store,
    ToProve,
    keygen_sharded,
    prove_all,
)
from proofcompute.scaling.places import Place
from scaling.jobs import Cores, Dying
from scaling.world import works

MODEL = synthetic.model()
SECURITY = 115.0


def proving(folder: Path) -> Proving:
    """Files of a node, and what makes its workers."""
    if not (folder / "public").exists():
        MODEL.save(folder / "model")
        synthetic.NODE.save(folder / "identity")
        write_published(MODEL, synthetic.KERNELS, folder / "public")
    return Proving(str(folder / "model"), str(folder / "identity"), str(folder / "public"))


def answers() -> list[ToProve]:
    """Honest answers of the node."""
    return [ToProve(one.request, one.receipt) for one in works()[:2]]


def todo() -> list[OpeningWork | ProofWork]:
    """An opening, a proof of one answer, and a drawn proof of two."""
    challenge = works()[0].challenge
    first, second = answers()
    return [
        OpeningWork(first, challenge),
        ProofWork((first,), cells=3, security=SECURITY),
        ProofWork((first, second), Sample(cells=2), security=SECURITY),
    ]


def alone(work: OpeningWork | ProofWork, folder: Path) -> bytes:
    """What one process makes of it, with the node itself."""
    node, out = Node(MODEL, synthetic.NODE, device=synthetic.KERNELS), io.BytesIO()
    if isinstance(work, OpeningWork):
        asked = Request.decode(work.answer.request)
        return node.open(asked, work.answer.receipt, Challenge.decode(work.challenge))
    published = load_published(folder / "public", synthetic.KERNELS)
    some = [OwnAnswer(Request.decode(one.request), one.receipt, node, work.cells) for one in work.answers]
    positions = positions_for(published.key.layout, SECURITY)
    prove(published, MODEL, some, out, positions=positions, kernels=synthetic.KERNELS)
    return out.getvalue()


def check_made(made: Store, folder: Path) -> None:
    """Everything was made, and is what one process makes."""
    assert made.names() == sorted(one.name for one in todo())
    for one in todo():
        assert made.read(one.name) == alone(one, folder)


def test_killed_in_mid_proof_and_each_kept_once(tmp_path: Path) -> None:
    makes, made = proving(tmp_path), Store(str(tmp_path / "made"))
    (tmp_path / "died").mkdir()
    dying = Dying(makes, str(tmp_path / "died"))
    done = list(prove_all(Processes(2), dying, [*todo(), todo()[0]], made, devices=["numpy", "numpy"]))
    assert sorted(done) == sorted((one.name, True) for one in todo())
    assert len(list((tmp_path / "died").iterdir())) == 1  # a worker died while it wrote, and was replaced
    check_made(made, tmp_path)
    assert list(prove_all(Processes(1), makes, todo(), made, devices=["numpy"])) == []


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_a_worker_makes_what_one_process_makes(tmp_path: Path, device: str) -> None:
    worker = proving(tmp_path)(device)
    for one in todo():
        assert worker(one) == alone(one, tmp_path)


def test_the_trace_of_a_run_is_read_and_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makes, run = proving(tmp_path), RunDirectory(tmp_path / "run")
    asked = Request.decode(works()[0].request)
    run.begin(asked)
    node = Node(MODEL, synthetic.NODE, device=synthetic.KERNELS)
    session = node.run(asked)
    run.finish(session, node.commit(session))
    one = ToProve.of_run(tmp_path / "run")
    monkeypatch.setattr(Node, "_again", lambda *_: pytest.fail("the trace is in the run's directory"))
    worker = makes("numpy")
    monkeypatch.undo()
    work = ProofWork((one,), cells=3, security=SECURITY)
    assert worker(work) == alone(replace(work, answers=(replace(one, run=""),)), tmp_path)
    run.remember_identity(synthetic.NODE, None)
    assert replace(makes, identity="")("numpy")(work) == worker(work)
    other = replace(answers()[1], run=one.run)
    with pytest.raises(MismatchError, match="another receipt"):
        makes("numpy")(OpeningWork(other, works()[0].challenge))


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    makes, made = proving(tmp_path), Store(str(tmp_path / "made"))
    receipt = Receipt.decode(answers()[0].receipt)
    stranger = pc.NodeIdentity(bytes([9] * 32))
    foreign = replace(receipt, node=stranger.public, signature=b"")
    foreign = foreign.signed(stranger.sign(foreign.signed_digest))
    first = answers()[0]
    for maker, work, error in (
        (makes, OpeningWork(replace(first, receipt=foreign.encode()), works()[0].challenge), MismatchError),
        (replace(makes, public=""), todo()[1], InputError),
        (replace(makes, identity=""), todo()[0], InputError),  # nothing says who signed
        (replace(makes, model=str(tmp_path / "none")), todo()[0], InputError),
    ):
        ((_, found),) = prove_all(Processes(1), maker, [work], made, devices=["numpy"])
        assert isinstance(found, Failed)
        assert isinstance(found.error, error), found.error
    assert made.names() == []
    with pytest.raises(InputError, match="at least one"):
        ProofWork(())
    with pytest.raises(InputError, match="beacons"):
        ProofWork((first,), 3, (None, None))


def test_names_tell_work_apart() -> None:
    first, second = answers()
    some = [
        *todo(),
        ProofWork((first,)),
        ProofWork((second, first), Sample(cells=2)),
        ProofWork((first,), Sample(cells=3)),
        ProofWork((first,), Sample(cells=3), security=SECURITY),
        OpeningWork(second, works()[0].challenge),
    ]
    assert len({one.name for one in some}) == len(some)
    assert ProofWork((replace(first, run="elsewhere"),)).name == ProofWork((first,)).name


# -- places ------------------------------------------------------------------------------------------------
def test_places_are_read() -> None:
    assert Place.parse("cpu") == Place("cpu")
    assert Place.parse("cpu@0-2,5") == Place("cpu", (0, 1, 2, 5))
    assert Place.parse("cuda:1@3") == Place("cuda:1", (3,))
    assert [Place.parse(d).gpus for d in ("cpu@1", "0", "cuda", "cuda:3", "cuda:0,2")] == [0, 0, 1, 1, 2]
    assert Place.parse("cuda:3,5").count() == "cuda:0,1"


@pytest.mark.parametrize(
    "text",
    ["", "@1", "cpu@", "cpu@a", "cpu@1,1", "cpu@3-2", "cpu@2,1", "cpu@-1", "cpu@1-", "cpu@4096", "cpu@٣"],
)
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Place.parse(text)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_worker_keeps_to_its_cores() -> None:
    core = max(os.sched_getaffinity(0))
    items = {"a": 1, "b": 2}
    assert dict(Processes(1).run_on([f"numpy@{core}"], Cores, items)) == dict.fromkeys(
        items, ("numpy", [core])
    )
    ((_, found),) = Processes(1).run_on(["numpy@4095"], Cores, {"a": 1})
    assert isinstance(found, Failed)
    assert "no core 4095" in str(found.error)


def test_a_place_is_read_before_a_worker_starts() -> None:
    with pytest.raises(InputError, match="names no cores"):
        Processes(1).run_on(["cpu@x"], Cores, {"a": 1})


def test_threads_are_counted_where_machines_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "9")
    assert Place.parse("cpu@4-6").count() == "cpu"
    assert os.environ["NUMBA_NUM_THREADS"] == "3"


def test_a_worker_that_cannot_be_made_is_no_lost_one(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        keygen_sharded(Processes(1), tmp_path / "none", workers=1)
