"""Prove runs by several workers, each run by itself: the options ``--worker`` and ``--ray`` of ``prove``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import complain
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proofcompute.beacons import Beacon
    from proofcompute.protocol.samples import Sample
    from proofcompute.scaling import Executor, ProofWork, Proving

__all__ = ["RayAddress", "WorkerPlaces", "proof_work", "proved_by_workers"]

WorkerPlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        metavar="PLACE",
        help="Prove each run by itself, in a process at this place, such as cuda:1 or cpu@0-3; "
        "give it once for each. OUTPUT is a folder then.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="With --worker: workers on the machines of this Ray cluster."
    ),
]


def proof_work(run: Path, cells: int | Sample, beacon: Beacon | None, security: float) -> ProofWork:
    """Return what a worker does for a run, which is the same wherever the run's directory lies."""
    from proofcompute.scaling import ProofWork, ToProve

    beacons = () if beacon is None else (beacon,)
    return ProofWork((ToProve.of_run(run.absolute()),), cells, beacons, security)


def proved_by_workers(
    places: Sequence[str],
    ray: str | None,
    proving: Proving,
    work: Mapping[Path, ProofWork],
    output: Path,
    advance: Callable[[int], None],
) -> dict[Path, tuple[Path, bool]]:
    """Make the proofs that the folder ``output`` lacks; return each run's file, and whether it is a new one.

    Proofs for another public key are other ones, so each key has a folder of its own in it. Raises InputError
    for a place or a folder that is none, and the first error of a proof that cannot be made, once the others
    are.
    """
    from proofcompute.scaling import Failed, Store, prove_all

    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is no folder, which is what proofs by several workers are written to")
    from proofcompute.public.key import PublicKey

    folder = output / PublicKey.load(proving.public).public_id.hex()
    failed: list[Exception] = []
    new: set[str] = set()
    named = {one.name: run for run, one in work.items()}
    with _executor(ray, len(places)) as executor:
        for name, found in prove_all(
            executor, proving, list(work.values()), Store(str(folder)), devices=places
        ):
            advance(1)
            if isinstance(found, Failed):
                complain(f"{named[name]}: {found.error}")
                failed.append(found.error)
            elif found:
                new.add(name)
    if failed:
        raise failed[0]
    return {run: (folder / one.name, one.name in new) for run, one in work.items()}


def _executor(address: str | None, count: int) -> AbstractContextManager[Executor]:
    return _processes(count) if address is None else _cluster(address, count)


@contextmanager
def _processes(count: int) -> Iterator[Executor]:
    from proofcompute.scaling import Processes

    yield Processes(count)


@contextmanager
def _cluster(address: str, count: int) -> Iterator[Executor]:
    """Connect to a Ray cluster while the work is done."""
    from proofcompute.scaling.cluster import RayExecutor, connected

    with connected(address):
        yield RayExecutor(count)
