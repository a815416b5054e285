"""Do the calls of a stage on one thread, and compute the steps that wait there together.

A stage's backend is for one thread. While it computes, the steps of other clients come in; when it is free,
all of them are one step of the stage (:meth:`proofcompute.prover.stages.StageNode.steps`), as an engine
takes requests in between two steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar, final

from proofcompute.protocol.stage_calls import StepCall
from proofcompute.prover.stages import StageAnswer, StageNode

__all__ = ["StageWork"]

_T = TypeVar("_T")


@final
class StageWork:
    """The thread of one stage; one event loop gives it work."""

    def __init__(self, node: StageNode) -> None:
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stage")
        self._guard = Lock()
        self._steps: list[tuple[StepCall, Future[StageAnswer]]] = []

    async def do(self, job: Callable[[], _T]) -> _T:
        """Do a job after those that came before it, and return what it gives. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    async def step(self, call: StepCall) -> StageAnswer:
        """Compute rows of a request, together with the steps of others that wait.

        Raises the errors of :meth:`.StageNode.step`.
        """
        made: Future[StageAnswer] = Future()
        with self._guard:
            self._steps.append((call, made))
        self._thread.submit(self._together)
        return await asyncio.wrap_future(made)

    def _waiting(self) -> dict[bytes, tuple[StepCall, Future[StageAnswer]]]:
        """Take the steps that wait, one of each request; of those whose client has left none is taken."""
        chosen: dict[bytes, tuple[StepCall, Future[StageAnswer]]] = {}
        with self._guard:
            later = []
            for call, made in self._steps:
                if call.digest in chosen:
                    later.append((call, made))  # there is a turn for each step, so one comes for this one
                elif made.set_running_or_notify_cancel():
                    chosen[call.digest] = call, made
            self._steps = later
        return chosen

    def _together(self) -> None:
        """Compute the steps that wait; an earlier turn may have left none."""
        chosen = list(self._waiting().values())
        if not chosen:
            return
        try:
            found = self._node.steps([call for call, _ in chosen])
        except Exception as e:  # noqa: BLE001 - whatever it is, each of these clients gets it
            for _, made in chosen:
                made.set_exception(e)
            return
        for (_, made), one in zip(chosen, found, strict=True):
            if isinstance(one, Exception):
                made.set_exception(one)
            else:
                made.set_result(one)
