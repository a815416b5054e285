"""Makes a module of PyTorch one whose calls can be audited."""

from __future__ import annotations

from typing import Any, final

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.functions import Proof
from proofcompute.models.model import Model
from proofcompute.modules.compiled import CompiledModule
from proofcompute.modules.reporting import ModuleReport
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, keygen

__all__ = ["Wrapped"]


@final
class Wrapped:
    """A module that gives a proof beside its result; :func:`proofcompute.wrap` makes it.

    What runs and is proved is a program of the module's weights, as they were when it was wrapped. Only one
    thread may call it at a time; its node's ``opener`` may be used by others meanwhile.
    """

    def __init__(self, compiled: CompiledModule, identity: NodeIdentity | None) -> None:
        self._compiled = compiled
        self.node = Node(compiled.model, identity, device=compiled.kernels)
        """What answers."""
        self._report: ModuleReport | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Proof]:
        """Return what the module returns for tensors [samples, ...], and a proof.

        Results are tensors of the module's types, where the first tensor lies; on the CUDA device that
        computes, they do not pass through the host. Inputs do: what is computed on are the request's bytes.

        Raises InputError if the arguments have other rows than those of the example, and ExecutionError if
        the arithmetic has no result.
        """
        request, device = self._compiled.asked(args, kwargs, self.node.public)
        session = self.node.run(request)
        receipt = self.node.commit(session).encode()
        return self._compiled.results(session.outputs, device), Proof(request, receipt, self.node)

    def request(self, *args: Any, **kwargs: Any) -> Request:
        """Return a request for tensors, with a new nonce, for any node that serves the model."""
        return self._compiled.asked(args, kwargs)[0]

    @property
    def model(self) -> Model:
        """The compiled model: to save, to serve, to make keys of."""
        return self.node.model

    def key(self) -> Key:
        """Return a verifier's new secret key for the model."""
        return keygen(self.model, self.node.kernels)

    def report(self) -> ModuleReport:
        """Return how near the program is to the module, and what it costs; the first call measures."""
        if self._report is None:
            self._report = self._compiled.measured(self.node)
        return self._report
