"""A Ray cluster of three nodes on this machine, which are killed while they work, and workers too.

It is run by test_cluster.

Ray takes the machine's address for its own, so this runs where there is none but the loopback interface.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

import proofcompute as pc
import synthetic
from proofcompute.errors import InputError
from proofcompute.protocol.messages import Request
from proofcompute.prover import RunDirectory
from proofcompute.prover.node import Node
from proofcompute.public.publishing import publish
from proofcompute.scaling import (
    Auditing,
    Failed,
    Proving,
    Store,
    audit_all,
    keygen_sharded,
    prove_all,
    publish_sharded,
)
from proofcompute.scaling.cluster import RayExecutor
from scaling.jobs import Dying, Piece, Slow, square
from scaling.test_proving import check_made, proving, todo
from scaling.test_scaling import MODEL, check_verdicts
from scaling.world import AUDITOR, works

STORE = 100 << 20
KILLS = 20
"""Workers that are killed."""
SOON = 300
"""Seconds in which what is waited for happens."""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for its parent for ever."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "XZ"


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def kill_nodes_at_work(made: Any, nodes: list[Any], began: Path, held: Path) -> None:
    """Remove two of three nodes while the worker of each is in the middle of an item; let the third go on.

    A worker takes seconds to start on a busy machine, so a verdict of one does not mean that the others are
    at work. And a worker notices only after a while that its node is gone, and gives its result meanwhile. So
    all workers are waited for, and nobody goes on until those of the nodes that are gone have ended.
    """
    try:
        wait_until(lambda: len(list(began.iterdir())) == len(nodes))
        workers = [int(path.name.partition("-")[0]) for path in began.iterdir()]
        made.remove_node(nodes.pop(), allow_graceful=False)
        made.remove_node(nodes.pop(), allow_graceful=False)
        wait_until(lambda: sum(map(alive, workers)) == len(nodes))
    finally:
        held.unlink()


def every_verdict_once(made: Any, nodes: list[Any], folder: Path) -> None:
    executor, verdicts = RayExecutor(3), Store(str(folder / "verdicts"))
    began, held = folder / "began", folder / "held"
    began.mkdir()
    held.touch()
    auditing = Slow(Auditing(str(folder / "model")), str(began), held=str(held))
    with ThreadPoolExecutor(1) as beside:
        killing = beside.submit(kill_nodes_at_work, made, nodes, began, held)
        done: list[tuple[str, bool | Failed]] = []
        for one in audit_all(executor, auditing, works(), verdicts, AUDITOR, devices=["numpy"] * 3):
            if not done:
                killing.result()
                nodes.append(made.add_node(num_cpus=1, object_store_memory=STORE))
            done.append(one)
    assert sorted(done) == sorted((work.name, True) for work in works()), done
    check_verdicts(verdicts, folder)
    attempts = len(list(began.iterdir()))
    assert attempts >= len(works()) + 2, attempts  # what the killed nodes had was done again
    assert list(audit_all(executor, auditing, works(), verdicts, AUDITOR, devices=["numpy"])) == []


def every_verdict_once_whoever_is_killed(folder: Path) -> None:
    """Workers are killed at random moments, as a system does that is out of memory."""
    executor, verdicts = RayExecutor(3, tries=KILLS + 1), Store(str(folder / "others"))
    began = folder / "killed"
    began.mkdir()
    auditing = Slow(Auditing(str(folder / "model")), str(began), 0.3)
    seed = random.SystemRandom().getrandbits(32)
    draw, killed, done = random.Random(seed), set[int](), list[str]()
    print(f"seed {seed}", flush=True)
    asked = works(2 * KILLS)
    for name, new in audit_all(executor, auditing, asked, verdicts, AUDITOR, devices=["numpy"] * 3):
        assert new is True, new
        done.append(name)
        if len(killed) < KILLS:
            time.sleep(0.3 * draw.random())
            at_work = {int(path.name.partition("-")[0]) for path in began.iterdir()} - killed
            victims = sorted(filter(alive, at_work))
            if not victims:  # this verdict is of one that was killed after its work; the others are replaced
                continue
            victim = draw.choice(victims)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
    assert len(killed) == KILLS
    assert sorted(done) == sorted(work.name for work in asked)
    check_verdicts(verdicts, folder, asked)


def every_proof_once(folder: Path) -> None:
    """A worker is killed in mid-proof; on the cluster, too, all is made as one process makes it."""
    made = Store(str(folder / "made"))
    (folder / "died").mkdir()
    makes = Dying(proving(folder), str(folder / "died"))
    done = list(prove_all(RayExecutor(2), makes, todo(), made, devices=["numpy@0"] * 2))
    assert sorted(done) == sorted((one.name, True) for one in todo()), done
    assert len(list((folder / "died").iterdir())) == 1
    check_made(made, folder)
    nowhere = Proving(str(folder / "none"), str(folder / "none"))
    ((_, found),) = prove_all(
        RayExecutor(1), nowhere, todo()[:1], Store(str(folder / "other")), devices=["cpu"]
    )
    assert isinstance(found, Failed)
    assert isinstance(found.error, InputError), found.error


def every_proof_by_the_command(folder: Path, address: str) -> None:
    """The command connects to the cluster by itself, and each file has the bytes of one process."""
    run = RunDirectory(folder / "run")
    asked = Request.decode(works()[0].request)
    run.begin(asked)
    run.remember_model(folder / "model")
    run.remember_identity(synthetic.NODE, None)
    node = Node(MODEL, synthetic.NODE, device=synthetic.KERNELS)
    session = node.run(asked)
    run.finish(session, node.commit(session))
    command = [sys.executable, "-m", "proofcompute", "prove", str(folder / "public"), str(run.path)]
    subprocess.run([*command, "-o", str(folder / "alone"), "--cells", "3", "--device", "numpy"], check=True)
    command += ["-o", str(folder / "proofs"), "--cells", "3", "--worker", "numpy", "--ray"]
    subprocess.run([*command, address], check=True)
    (made,) = (folder / "proofs").glob("*/*")
    assert made.read_bytes() == (folder / "alone").read_bytes()


def as_processes_do(folder: Path) -> None:
    executor, seed = RayExecutor(2), bytes([3] * 32)
    key = keygen_sharded(executor, folder / "model", workers=1, seed=seed, device="numpy")
    assert key.encode() == pc.keygen(MODEL, synthetic.KERNELS, seed=seed).encode()
    published = publish_sharded(executor, folder / "model", device="numpy")
    assert published.key.encode() == publish(MODEL, synthetic.KERNELS).key.encode()
    items = {str(n): Piece(n, str(folder), dies=1 if n == 2 else 0) for n in (-1, 1, 2)}
    found = dict(executor.run(square, items))
    assert (found["1"], found["2"]) == (1, 4), found
    negative = found["-1"]
    assert isinstance(negative, Failed)
    assert isinstance(negative.error, ValueError)


def main(folder: Path) -> None:
    MODEL.save(folder / "model")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE},
    )
    try:
        nodes = [made.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(3)]
        ray.init(address=made.address, log_to_driver=False)
        start = time.monotonic()
        every_verdict_once(made, nodes, folder)
        print(f"verdicts after {time.monotonic() - start:.0f} s", flush=True)
        start = time.monotonic()
        every_verdict_once_whoever_is_killed(folder)
        print(f"{KILLS} workers killed in {time.monotonic() - start:.0f} s", flush=True)
        start = time.monotonic()
        every_proof_once(folder)
        print(f"proofs after {time.monotonic() - start:.0f} s", flush=True)
        every_proof_by_the_command(folder, made.address)
        as_processes_do(folder)
    finally:
        ray.shutdown()
        made.shutdown()
    print("all held", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
