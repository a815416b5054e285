"""Serves proofs of attached modules: the service of proofs of a node, for runners that answer already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proofcompute.errors import InputError
from proofcompute.serving import Service, ServiceLimits, application
from proofcompute.serving.gate import Gate

if TYPE_CHECKING:
    from proofcompute.modules.attaching import Attached

__all__ = ["application_of"]


def application_of(attached: Sequence[Attached], limits: ServiceLimits | None) -> Gate:
    """Return the application; see :func:`proofcompute.openings`."""
    if not attached:
        raise InputError("give the modules whose proofs are served")
    signers = {one.identity.public for one in attached}
    if len(signers) != 1:
        raise InputError("the modules sign with different identities; attach them with one")
    runners = {one.model.model_id.hex(): one.runner for one in attached}
    service = Service(
        runners, attached[0].identity, attached[0].runner.kernels, limits=limits,
        kept=tuple(one.collected for one in attached),
    )  # fmt: skip
    return application(service)
