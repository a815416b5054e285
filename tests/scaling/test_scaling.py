"""Work is spread over processes, is done again where one dies, and what comes of it is kept once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import proofcompute as pc
import synthetic
from proofcompute.errors import InputError, LimitError, MismatchError
from proofcompute.protocol.bundle import open_bundle
from proofcompute.public.publishing import publish
from proofcompute.scaling import (
    Auditing,
    Failed,
    Processes,
    Store,
    WorkerLost,
    audit_all,
    keygen_sharded,
    publish_sharded,
)
from proofcompute.scaling.audits import AuditWork
from proofcompute.scaling.executor import handed_out
from proofcompute.scaling.sharding import shards
from scaling.jobs import Piece, Placed, square
from scaling.world import AUDITOR, FALSE, works

MODEL = synthetic.model()


# -- handing out -------------------------------------------------------------------------------------------
class Mortal:
    """Workers of this process that die as they are told."""

    def __init__(self, dies: dict[int, int]) -> None:
        self.dies, self.tried, self.started, self.stopped = dies, Counter[int](), 0, 0

    def start(self, place: str) -> Mortal:
        self.started += 1
        return self

    def submit(self, item: int) -> tuple[int, int]:
        self.tried[item] += 1
        return item, self.tried[item]

    def stop(self) -> None:
        self.stopped += 1

    def wait(self, handles: Sequence[Any]) -> Iterable[Any]:
        return handles[-1:]

    def result(self, handle: Any) -> int:
        item, attempt = handle
        if attempt <= self.dies.get(item, 0):
            raise WorkerLost("died")
        return -int(item)


def test_each_item_is_yielded_once_whatever_dies() -> None:
    workers = Mortal({3: 1, 5: 2, 7: 3})
    found: dict[str, int | Failed] = dict(
        handed_out(workers, ["a", "b"], {str(n): n for n in range(10)}, tries=3)
    )
    assert len(found) == 10
    assert {name for name, value in found.items() if isinstance(value, Failed)} == {"7"}
    assert workers.tried == Counter({**dict.fromkeys(range(10), 1), 3: 2, 5: 3, 7: 3})
    assert workers.stopped == workers.started  # also those that were alive at the end


def test_a_worker_that_died_while_idle_loses_no_item() -> None:
    class Gone(Mortal):
        refused = False

        def submit(self, item: int) -> tuple[int, int]:
            if item == 1 and not self.refused:
                self.refused = True
                raise WorkerLost("gone")
            return super().submit(item)

    workers = Gone({})
    items = {"0": 0, "1": 1, "2": 2}
    found: dict[str, int | Failed] = dict(handed_out(workers, ["a"], items, tries=1))
    assert found == {"0": 0, "1": -1, "2": -2}


def test_nothing_runs_without_workers() -> None:
    nowhere: Iterator[tuple[str, int | Failed]] = handed_out(Mortal({}), [], {"a": 1})
    with pytest.raises(InputError):
        next(nowhere)
    with pytest.raises(InputError):
        Processes(0)


# -- processes ---------------------------------------------------------------------------------------------
def test_processes_that_are_killed_are_replaced(tmp_path: Path) -> None:
    items = {str(n): Piece(n, str(tmp_path), dies=2 if n == 1 else 0) for n in (-1, 0, 1, 2, 3)}
    items["4"] = Piece(4, str(tmp_path), dies=9)
    found = dict(Processes(2).run(square, items))
    assert set(found) == set(items)
    assert {name: found[name] for name in "0123"} == {"0": 0, "1": 1, "2": 4, "3": 9}
    negative, deadly = found["-1"], found["4"]
    assert isinstance(negative, Failed)
    assert isinstance(negative.error, ValueError)
    assert isinstance(deadly, Failed)
    assert isinstance(deadly.error, WorkerLost)
    assert len(list((tmp_path / "1").iterdir())) == 3
    assert len(list((tmp_path / "4").iterdir())) == 3


def test_an_actor_stays_on_its_device() -> None:
    found = dict(Processes(9).run_on(["numpy", "cpu"], Placed, {str(n): n for n in range(6)}))
    places = [value for value in found.values() if not isinstance(value, Failed)]
    assert len(places) == 6
    assert all(len({pid for d, _, pid in places if d == device}) <= 1 for device in ("numpy", "cpu"))
    assert max(used for _, used, _ in places) > 1


# -- stores ------------------------------------------------------------------------------------------------
@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = str(tmp_path / "kept") if request.param == "folder" else f"memory://{tmp_path.name}"
    return Store(url)


def test_a_name_is_written_once(store: Store) -> None:
    assert store.names() == []
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.create("c", b"")
    assert (store.read("a/b"), store.has("a/b"), store.has("d")) == (b"first", True, False)
    assert store.names() == ["a/b", "c"]
    with pytest.raises(LimitError):
        store.read("a/b", 4)
    with pytest.raises(InputError, match="has no"):
        store.read("d")
    for name in ("", "/a", "../a", "a//b", "a/./b", "~a"):
        with pytest.raises(InputError, match="no name"):
            store.create(name, b"")


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    won: list[int] = []
    places = [Store(str(tmp_path)) for _ in range(8)]
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if places[number].create("name", bytes([number]) * 1000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert places[0].read("name") == bytes(won) * 1000
    assert places[0].names() == ["name"]


def test_a_place_that_fsspec_does_not_know_is_refused() -> None:
    with pytest.raises(InputError):
        Store("nowhere://x")


# -- audits ------------------------------------------------------------------------------------------------
def check_verdicts(store: Store, tmp_path: Path, asked: Sequence[AuditWork] | None = None) -> None:
    """There is one bundle for each receipt; the false one is contradicted, and a judge comes to the same."""
    asked = works() if asked is None else asked
    assert len(store.names()) == len(asked)
    for number, work in enumerate(asked):
        file = tmp_path / "bundle"
        file.write_bytes(store.read(work.name))
        with open_bundle(file) as bundle:
            said = bundle.evidence.outcome.kind
            assert said == ("contradicted" if number == FALSE else "accepted")
            verdict = pc.verify_evidence(bundle, MODEL, kernels=synthetic.KERNELS, auditor=AUDITOR.public)
            assert verdict.stands


def test_receipts_are_audited_once(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model")
    auditing, store = Auditing(str(tmp_path / "model")), Store(str(tmp_path / "verdicts"))
    both = [*works(), works()[0]]
    done = list(audit_all(Processes(2), auditing, both[:3], store, AUDITOR, devices=["numpy"]))
    assert [new for _, new in done] == [True] * 3
    done = list(audit_all(Processes(2), auditing, both, store, AUDITOR, devices=["numpy", "numpy"]))
    assert sorted(name for name, _ in done) == sorted(work.name for work in works()[3:])
    check_verdicts(store, tmp_path)


def test_work_that_cannot_be_done_has_no_verdict(tmp_path: Path) -> None:
    other = synthetic.model(1)
    other.save(tmp_path / "model")
    store = Store("memory://cannot")
    done = dict(
        audit_all(
            Processes(1), Auditing(str(tmp_path / "model")), works()[:1], store, AUDITOR, devices=["numpy"]
        )
    )
    (found,) = done.values()
    assert isinstance(found, Failed)
    assert isinstance(found.error, MismatchError)
    assert store.names() == []


# -- keys and codes ----------------------------------------------------------------------------------------
def test_a_key_made_in_shards_is_the_key(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model")
    seed = bytes([3] * 32)
    key = keygen_sharded(Processes(2), tmp_path / "model", workers=2, seed=seed, device="numpy")
    assert key.encode() == pc.keygen(MODEL, synthetic.KERNELS, seed=seed).encode()
    with pytest.raises(InputError):
        keygen_sharded(Processes(1), tmp_path / "model", workers=1, columns=99)


def test_codes_made_in_shards_are_the_codes(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "model")
    made = publish_sharded(Processes(2), tmp_path / "model", device="numpy")
    assert made.key.encode() == publish(MODEL, synthetic.KERNELS).key.encode()


def test_shards_have_all_weights_once() -> None:
    weights = MODEL.program.weights
    for count in (1, 3, 500):
        found = shards(weights, count)
        assert len(found) <= count
        assert sorted(name for names in found for name in names) == sorted(w.name for w in weights)
