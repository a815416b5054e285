"""Hold signed verdicts about clusters, for a gateway to show.

Each is checked in whole when it is read: its signature, that it follows from its records and from the bundles
beside it, and that it holds now (:func:`proofcompute.networks.cluster.judging.check`). A folder in which one
of them does not is refused, because a page that leaves out what fails would show the rest as all there is. A
verdict that ends while the gateway runs is shown as ended.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from proofcompute.encoding.files import read_limited
from proofcompute.errors import InputError, LimitError
from proofcompute.networks.cluster.forms import moment
from proofcompute.networks.cluster.judging import INTERFACE, MAX_ENVELOPE, Cluster, check
from proofcompute.networks.work import Work

__all__ = ["ENVELOPES", "ClusterVerdict", "read_clusters"]

ENVELOPES: Final = ".intoto.json"
"""How the names of verdicts' files end; all other files of a folder are bundles of evidence."""
MOST_FILES: Final = 65_536
"""The most files of a folder."""
State = Literal["verified", "not verified", "ended"]


@dataclass(frozen=True)
class ClusterVerdict:
    """A verdict about a cluster that was checked."""

    cluster: Cluster
    signer: bytes
    """Ed25519 public key of who signed it, 32 bytes."""

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
            "name": found.records.value["cluster"],
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
