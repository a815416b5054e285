"""Spreads consecutive segments over several devices, with shares of the weights as even as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.device import Device
from proofcompute.arithmetic.backends.cuda.kernels import CudaKernels
from proofcompute.arithmetic.backends.cuda.placing import leading
from proofcompute.arrays import Array, Batch, Span
from proofcompute.errors import DeviceError

__all__ = ["SpreadKernels", "plan"]


def plan(sizes: Sequence[int], devices: int) -> list[int]:
    """Return the device of each segment: segment i goes where the middle of its share of all bytes falls.

    Device numbers never decrease from one segment to the next, and no device gets more than its even share
    plus one segment.
    """
    total = max(1, sum(sizes))
    found, before = [], 0
    for size in sizes:
        found.append(min(devices - 1, (2 * before + size) * devices // (2 * total)))
        before += size
    return found


@final
class SpreadKernels:
    """A backend of several devices.

    Any function of :class:`proofcompute.arithmetic.kernels.Kernels` that is not written here runs on the
    device of its first array, or on the first device. Steps are not captured: their work crosses devices.
    """

    name = "cuda"

    def __init__(self, devices: Sequence[Device]) -> None:
        if not devices:
            raise DeviceError("a backend needs at least one device")
        self.parts = [CudaKernels(device) for device in devices]
        self._by_device = {id(device): part for device, part in zip(devices, self.parts, strict=True)}
        self.ahead = self.parts[0].ahead
        self.operation = ""

    def __getattr__(self, name: str) -> Any:
        getattr(self.parts[0], name)  # AttributeError if there is no such function

        def call(*arguments: Any) -> Any:
            return getattr(self._home(arguments), name)(*arguments)

        return call

    def _home(self, arguments: Sequence[Any]) -> CudaKernels:
        for x in arguments:
            first = leading(x)
            if isinstance(first, DeviceArray):
                return self._by_device[id(first.on.device)]
        return self.parts[0]

    def partition(self, sizes: Sequence[int]) -> list[CudaKernels]:
        """See :class:`proofcompute.arrays.Arrays`."""
        return [self.parts[i] for i in plan(sizes, len(self.parts))]

    def step(
        self,
        capture: object,
        spans: Sequence[Span],
        f: Callable[[Sequence[Span]], Any],
        batch: Batch | None = None,
    ) -> Array | None:
        """See :class:`proofcompute.arrays.Arrays`."""
        with ExitStack() as stack:
            for part in self.parts:
                part.look()
                stack.enter_context(part.one_step())
            tokens = f(spans)
            for part in self.parts:  # in the order of segments: the first error is the cause of the others
                part.look()
            return np.asarray(self.host(tokens)) if tokens is not None else None

    def side_stream(self) -> AbstractContextManager[None]:
        """See :class:`proofcompute.arrays.Arrays`."""
        return self._side_streams()

    @contextmanager
    def _side_streams(self) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.side_stream())
            yield
