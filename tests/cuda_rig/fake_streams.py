"""Imitates CUDA's streams, events, captures and current device, for :mod:`cuda_rig.fake_cupy`.

Work runs as late as it may: when something waits for it. So work that no event orders runs in the wrong
order, and a copy reads host memory long after its call. During a capture, what CUDA refuses is refused, and
invalidates the capture as it does there (CUDA Programming Guide, "Prohibited and Unhandled Operations").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakValueDictionary

__all__ = [
    "CAPTURED_EVENT",
    "INVALIDATED",
    "ISOLATION",
    "RELAXED",
    "UNJOINED",
    "UNSUPPORTED",
    "CUDADriverError",
    "CUDARuntimeError",
    "Capture",
    "Device",
    "Event",
    "Graph",
    "Stream",
]

Work = Callable[[], object]
RELAXED = 2
UNSUPPORTED, INVALIDATED, UNJOINED, ISOLATION, CAPTURED_EVENT = 900, 901, 904, 905, 907


class CUDARuntimeError(RuntimeError):
    """CuPy's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"CUDA error {status}")
        self.status = status


class CUDADriverError(RuntimeError):
    """CuPy's."""


class Device:
    """A device; one of them is current."""

    current: ClassVar[int] = 0

    def __init__(self, device: int | None = None) -> None:
        self.id = Device.current if device is None else device

    def use(self) -> None:
        Device.current = self.id

    def synchronize(self) -> None:
        if Capture.active:
            Capture.active.fail(UNSUPPORTED)
        for stream in list(Stream.all.values()):
            if stream.device == self.id:
                stream.run()


class Capture:
    """A capture: the work queued while a stream is captured."""

    active: ClassVar[Capture | None] = None

    def __init__(self, origin: Stream, mode: int) -> None:
        self.origin = origin
        self.relaxed = mode == RELAXED
        self.works: list[Work] = []
        self.joined: set[Stream] = set()
        """Other streams that take part in it."""
        self.open: set[Stream] = set()
        """Those of them for whose work the origin does not wait yet."""
        self.spoilt = False

    def fail(self, status: int) -> None:
        self.spoilt = True
        raise CUDARuntimeError(status)

    def add(self, stream: Stream, work: Work) -> None:
        if self.spoilt:
            raise CUDARuntimeError(INVALIDATED)
        if stream is not self.origin:
            self.open.add(stream)
        self.works.append(work)

    @classmethod
    def refuse_unsafe(cls) -> None:
        """Refuses calls that only a relaxed capture allows."""
        if cls.active and not cls.active.relaxed:
            cls.active.fail(UNSUPPORTED)


class Stream:
    """A queue of work."""

    current: ClassVar[list[Stream]] = []
    all: ClassVar[WeakValueDictionary[int, Stream]] = WeakValueDictionary()
    running: ClassVar[int] = 0
    """Number of runs in progress; what the garbage collector finds meanwhile has to wait."""

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        assert non_blocking or null
        self.device = Device.current
        self.ptr = id(self)
        self.capture: Capture | None = None
        self._queue: list[Work] = []
        self.done_until = 0
        Stream.all[self.ptr] = self

    def __enter__(self) -> Stream:
        Stream.current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Stream.current.pop()

    def enqueue(self, work: Work) -> None:
        """Queues work for the device of this stream, which has to be the current one."""
        assert self.device == Device.current, "another device is the current one"
        if self.capture is not None:
            self.capture.add(self, work)
        else:
            self._queue.append(work)

    def run(self, until: int | None = None) -> None:
        """Runs what is queued, up to a position in the queue."""
        stop = len(self._queue) if until is None else until
        Stream.running += 1
        while self.done_until < stop:
            work, self._queue[self.done_until] = self._queue[self.done_until], _nothing
            work()
            self.done_until += 1
        Stream.running -= 1

    def synchronize(self) -> None:
        if self.capture is not None:
            self.capture.fail(UNSUPPORTED)
        self.run()

    def record(self, event: Event | None = None) -> Event:
        assert self.device == Device.current, "another device is the current one"
        event = Event() if event is None else event
        event.stream, event.place, event.capture = self, len(self._queue), self.capture
        return event

    def wait_event(self, event: Event) -> None:
        of = event.stream
        assert of is not None
        if self.capture is None and event.capture is not None:
            self.capture = event.capture
            self.capture.joined.add(self)
        elif self.capture is not None and event.capture is None:
            self.capture.fail(ISOLATION)
        elif self.capture is not None:
            if self is self.capture.origin:
                self.capture.open.discard(of)
        elif of is not self:
            place = event.place
            self._queue.append(lambda: of.run(place))

    def begin_capture(self, mode: int = RELAXED) -> None:
        assert self.device == Device.current
        if Capture.active is not None:
            raise CUDARuntimeError(UNSUPPORTED)
        self.capture = Capture.active = Capture(self, mode)

    def end_capture(self) -> Graph:
        capture = self.capture
        assert capture is not None
        Capture.active = None
        for stream in (self, *capture.joined):
            stream.capture = None
        if capture.spoilt:
            raise CUDARuntimeError(INVALIDATED)
        if capture.open:
            raise CUDARuntimeError(UNJOINED)
        return Graph(capture.works)


def _nothing() -> None:
    """Takes the place of finished work in a queue."""


class Graph:
    """The captured work."""

    def __init__(self, works: list[Work]) -> None:
        self.works = works

    def launch(self, stream: Stream) -> None:
        for work in self.works:
            stream.enqueue(work)


class Event:
    """A position in a stream's queue."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.device = Device.current
        self.stream: Stream | None = None
        self.place = 0
        self.capture: Capture | None = None

    def record(self, stream: Stream) -> None:
        assert self.device == stream.device, "an event of another device"
        stream.record(self)

    @property
    def done(self) -> bool:
        self._query()
        return self.stream is None or self.stream.done_until >= self.place

    def synchronize(self) -> None:
        self._query()
        if self.stream is not None:
            self.stream.run(self.place)

    def _query(self) -> None:
        Capture.refuse_unsafe()
        if self.capture is not None:
            self.capture.spoilt = True
            raise CUDARuntimeError(CAPTURED_EVENT)


def current_stream(outside: Any) -> Any:
    """Returns the innermost stream that is in use."""
    return Stream.current[-1] if Stream.current else outside
