"""Hold signed verdicts about clusters, for a gateway to show.

Each is checked in whole when it is read: its signature, that it follows from its records and from the bundles
beside it, and that it holds now (:func:`proofcompute.networks.cluster.judging.check`). A folder in which one
of them does not is refused, because a page that leaves out what fails would show the rest as all there is. A
verdict that ends while the gateway runs is shown as ended. Newer files are judged in the same way and take
the place of what is shown only together, and only if all of them hold (:class:`Shown`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from proofcompute.encoding.files import read_limited
from proofcompute.errors import EnvelopeError, InputError, LimitError, ProofcomputeError
from proofcompute.logs import service_log
from proofcompute.networks.cluster.forms import moment
from proofcompute.networks.cluster.judging import INTERFACE, MAX_ENVELOPE, Cluster, check
from proofcompute.networks.work import Work

__all__ = ["ENVELOPES", "ClusterVerdict", "Shown", "read_clusters"]

_log = service_log(__name__)

ENVELOPES: Final = ".intoto.json"
"""How the names of verdicts' files end; all other files of a folder are bundles of evidence."""
MOST_FILES: Final = 65_536
"""The most files of a folder."""
State = Literal["verified", "not verified", "ended"]
_Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Name, time of change, size and number of each file of a folder."""


@dataclass(frozen=True)
class ClusterVerdict:
    """A verdict about a cluster that was checked."""

    cluster: Cluster
    signer: bytes
    """Ed25519 public key of who signed it, 32 bytes."""

    @property
    def name(self) -> str:
        """The name of the cluster."""
        return str(self.cluster.records.value["cluster"])

    def state(self, now: int) -> State:
        """Return what is to be said of the cluster at a time in milliseconds since the Unix epoch."""
        if now > self.cluster.until:
            return "ended"
        return "verified" if self.cluster.verified else "not verified"

    def describe(self, names: Mapping[bytes, str], now: int) -> dict[str, Any]:
        """Return the verdict as JSON.

        Args:
            names: what the gateway calls nodes, by their public keys.
            now: milliseconds since the Unix epoch.
        """
        found = self.cluster
        return {
            "name": self.name,
            "policy": found.policy.value["name"],
            "interface": INTERFACE,
            "signer": self.signer.hex(),
            "state": self.state(now),
            "from": moment(found.records.start),
            "made": moment(found.at),
            "until": moment(found.until),
            "lines": [line.value() for line in found.lines],
            "nodes": [
                {
                    "node": each.node.hex(),
                    "name": names.get(each.node),
                    "hardware": each.hardware,
                    "verified": each.verified,
                    "lines": [line.value() for line in each.lines],
                }
                for each in found.nodes
            ],
        }


def read_clusters(folder: Path, signer: bytes, now: int | None = None) -> tuple[ClusterVerdict, ...]:
    """Read and check the verdicts of a folder, in the order of their files' names.

    Args:
        folder: holds verdicts (``*.intoto.json``) and the bundles of evidence that they name.
        signer: Ed25519 public key of who signed them all, 32 bytes.
        now: milliseconds since the Unix epoch; None: the clock's.

    Raises InputError for a folder that cannot be read or holds no verdict, LimitError for too many or too
    large files, EvidenceError for a file that is no bundle, and EnvelopeError for a verdict that does not
    hold.
    """
    at = round(time.time() * 1000) if now is None else now
    try:
        files = sorted(each for each in folder.iterdir() if each.is_file())
    except OSError as e:
        raise InputError(f"cannot read the clusters of {folder}: {e.strerror or e}") from e
    if len(files) > MOST_FILES:
        raise LimitError(f"{folder} holds {len(files)} files, at most {MOST_FILES} are read")
    envelopes = [file for file in files if file.name.endswith(ENVELOPES)]
    if not envelopes:
        raise InputError(f"{folder} holds no verdict about a cluster (*{ENVELOPES})")
    works = [Work.of(file) for file in files if not file.name.endswith(ENVELOPES)]
    return tuple(
        ClusterVerdict(check(read_limited(file, MAX_ENVELOPE, "envelope"), signer, works, at), signer)
        for file in envelopes
    )


def _now() -> int:
    return round(time.time() * 1000)


def _stamp(folder: Path) -> _Stamp:
    """Return what changes with the files of a folder. Raises InputError, LimitError as read_clusters."""
    found: list[tuple[str, int, int, int]] = []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if len(found) == MOST_FILES:
                    raise LimitError(f"{folder} holds more than {MOST_FILES} files")
                status = each.stat()
                found.append((each.name, status.st_mtime_ns, status.st_size, status.st_ino))
    except OSError as e:
        raise InputError(f"cannot read the clusters of {folder}: {e.strerror or e}") from e
    return tuple(sorted(found))


@final
class Shown:
    """The verdicts that a gateway shows, and the folder in which it looks for newer ones, if there is one."""

    def __init__(self, verdicts: Sequence[ClusterVerdict] = ()) -> None:
        self.verdicts = tuple(verdicts)
        """The last ones that held, all together."""
        self.refused = False
        """Whether the folder holds newer files that do not hold, and are not shown."""
        self._folder: Path | None = None
        self._signer = b""
        self._clock: Callable[[], int] = _now
        self._judged: _Stamp | None = None
        """The folder as it was when it was judged last, whether it held or not."""

    @classmethod
    def of(cls, folder: Path, signer: bytes, clock: Callable[[], int] = _now) -> Shown:
        """Read the verdicts of a folder, which have to hold; arguments and errors are those of read_clusters.

        ``clock`` gives milliseconds since the Unix epoch.
        """
        made = cls()
        made._folder, made._signer, made._clock = folder, signer, clock
        made._judged = _stamp(folder)
        made.verdicts = read_clusters(folder, signer, clock())
        return made

    def look(self) -> bool:
        """Judge the folder again if a file has changed, and return whether there is something else to say.

        What does not hold leaves what is shown, and is judged again when a file changes. What changes while
        it is read is left for the next look.
        """
        folder = self._folder
        if folder is None:
            return False
        try:
            before = _stamp(folder)
        except (InputError, LimitError) as e:
            return self._refuse(None, e)
        if before == self._judged:
            return False
        try:
            found = read_clusters(folder, self._signer, self._clock())
            self._check_newer(found)
        except ProofcomputeError as e:
            return _still(folder) == before and self._refuse(before, e)
        if _still(folder) != before:
            return False
        self.verdicts, self.refused, self._judged = found, False, before
        return True

    def _refuse(self, judged: _Stamp | None, problem: ProofcomputeError) -> bool:
        """Leave what is shown, and return whether that is new."""
        said, self.refused, self._judged = self.refused, True, judged
        if not said or judged is not None:
            _log.error("newer verdicts about clusters do not hold", extra={"error": str(problem)})
        return not said

    def _check_newer(self, found: Sequence[ClusterVerdict]) -> None:
        """Raise EnvelopeError for a verdict that is older than the one that is shown of the same cluster."""
        for shown in self.verdicts:
            for each in found:
                if each.name == shown.name and each.cluster.at < shown.cluster.at:
                    raise EnvelopeError(f"the verdict about {each.name} is older than the one that is shown")


def _still(folder: Path) -> _Stamp | None:
    try:
        return _stamp(folder)
    except (InputError, LimitError):
        return None
