"""Copies the host's arrays to a device through a ring of pinned memory.

A copy from ordinary memory may read it after the call has returned; when depends on driver and system. A copy
from pinned memory always does, and an event says when it has finished. So bytes are first copied to pinned
memory, which is written again only behind the events of the copies from it; the caller's array may change as
soon as the call returns.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.limits import MIB

__all__ = ["Staging"]

SEGMENT: Final = 8 * MIB
"""Bytes of a part of the ring; events are recorded once for each part, not for each copy."""
SEGMENTS: Final = 4
_ALIGNED: Final = 64


@dataclass(eq=False)
class _Buffer:
    """A part of the ring."""

    memory: Any
    """CuPy's pinned memory, which lives as long as this refers to it."""
    used: int = 0
    """Bytes at its start that copies read."""
    streams: dict[int, Any] = field(default_factory=dict)
    """The streams of these copies."""
    events: list[Any] = field(default_factory=list)
    """Events behind all of these copies, once another part is in use."""

    def __post_init__(self) -> None:
        self.bytes = np.frombuffer(self.memory, np.uint8, SEGMENT)


@final
class Staging:
    """The ring of one device, allocated at the first copy. The device must be current in every call."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._ring: list[_Buffer] = []
        self._now = 0

    def copy(self, host: Array, target: Any, stream: Any) -> None:
        """Queue a copy of a C-contiguous array's bytes to CuPy's pointer ``target`` on CuPy's ``stream``."""
        if not self._ring:
            pinned = self._cupy.cuda.alloc_pinned_memory
            self._ring = [_Buffer(pinned(SEGMENT)) for _ in range(SEGMENTS)]
        data, at = host.reshape(-1).view(np.uint8), 0
        while at < data.size:
            segment = self._ring[self._now]
            if segment.used >= SEGMENT:
                segment = self._next()
            size, start = min(SEGMENT - segment.used, data.size - at), segment.used
            segment.bytes[start : start + size] = data[at : at + size]
            where = ctypes.c_void_p(segment.memory.ptr + start)
            segment.streams[stream.ptr] = stream
            segment.used += -(-size // _ALIGNED) * _ALIGNED
            (target + at).copy_from_host_async(where, size, stream)
            at += size

    def _next(self) -> _Buffer:
        """Leave the current part, and return the next one once nothing reads it any more."""
        left = self._ring[self._now]
        left.events = [stream.record() for stream in left.streams.values()]
        self._now = (self._now + 1) % len(self._ring)
        found = self._ring[self._now]
        for event in found.events:
            event.synchronize()
        found.used, found.streams, found.events = 0, {}, []
        return found
