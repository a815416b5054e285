"""A module that takes the place of another in a running service, and collects receipts of its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, final

import torch

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.errors.arguments import StrPath
from proofcompute.models.model import Model
from proofcompute.modules.collecting import Collected
from proofcompute.modules.compiled import CompiledModule
from proofcompute.protocol.messages import Request
from proofcompute.prover.runner import Runner
from proofcompute.verifier import Key, keygen

__all__ = ["Attached", "Call"]


@final
@dataclass(frozen=True, eq=False)
class Call:
    """What a call of an attached module left for an auditor."""

    request: Request
    """The tensors of the call, and a nonce."""
    receipt: bytes
    """The signed receipt, encoded."""
    digest: bytes
    """The receipt's digest, by which request and receipt are served."""


class Attached(torch.nn.Module):  # type: ignore[misc] # PyTorch has no types here
    """A module that computes what another does, by a proved program; :func:`proofcompute.attach` makes it.

    Parameters and submodules are those of the module, which stays as it is; what is computed follows from its
    weights at the time when the program was compiled. Any number of threads may call it.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        compiled: Callable[[Any, Mapping[str, Any]], CompiledModule],
        *,
        store: StrPath | None,
        retention: int,
        identity: NodeIdentity | None,
    ) -> None:
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"a {type(module).__name__} cannot be attached: give a torch.nn.Module")
        super().__init__()
        self.module = module
        self.training = module.training
        self.identity = NodeIdentity.new() if identity is None else identity
        self.retention = retention
        self.collected = Collected(store, retention)
        self._make = compiled
        self._lock = Lock()
        self._compiled: CompiledModule | None = None
        self._runner: Runner | None = None
        self._last: ContextVar[Call | None] = ContextVar("proofcompute.last", default=None)

    def compile(self, example: Any, kwargs: Mapping[str, Any]) -> None:  # type: ignore[override,unused-ignore]
        """Compile the program for an example, unless there is one, and start the thread that runs it."""
        with self._lock:
            if self._runner is None:
                compiled = self._make(example, kwargs)
                runner = Runner(
                    compiled.model, self.identity, device=compiled.kernels, retention=self.retention
                )
                runner.start()
                self._compiled, self._runner = compiled, runner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns; :attr:`last` is then what an auditor needs.

        Raises InputError if the arguments have other rows than those of the example, ExecutionError if the
        arithmetic has no result, BusyError if too many calls wait, and StorageError if the receipt cannot be
        kept.
        """
        if self.training:
            raise InputError("an attached module is in training; call eval() on it")
        if self._compiled is None:
            self.compile(args, kwargs)
        compiled, runner = self._known()
        request, device = compiled.asked(args, kwargs, runner.public)
        answer = runner.submit(request).result()
        digest = self.collected.keep(request, answer.receipt)
        self._last.set(Call(request, answer.receipt, digest))
        return compiled.results(answer.outputs, device)

    @property
    def last(self) -> Call:
        """The newest call of this thread or task. Raises InputError before its first one."""
        found = self._last.get()
        if found is None:
            raise InputError("this thread has not called the module yet")
        return found

    @property
    def runner(self) -> Runner:
        """The thread that computes. Raises InputError before the program is compiled."""
        return self._known()[1]

    @property
    def model(self) -> Model:
        """The compiled model. Raises InputError before it is compiled."""
        return self.runner.model

    def key(self) -> Key:
        """Return a verifier's new secret key for the model. Raises InputError before it is compiled."""
        return keygen(self.model, self.runner.kernels)

    def close(self) -> None:
        """Stop the thread that computes; later calls fail with StoppedError."""
        if self._runner is not None:
            self._runner.close()

    def _known(self) -> tuple[CompiledModule, Runner]:
        if self._compiled is None or self._runner is None:
            raise InputError("the module is compiled by its first call, not made yet, or with an example")
        return self._compiled, self._runner
