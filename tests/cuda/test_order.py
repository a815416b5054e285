"""Tests streams, events and graphs of the emulated device: a missing wait is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, why_not
from proofcompute.arithmetic.backends.cuda import Buffer
from proofcompute.arithmetic.backends.cuda.moves import Move, launch_arguments
from proofcompute.errors import DeviceError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def relu(device: EmulatedDevice, source: Buffer, target: Buffer, stream: int = 0) -> None:
    """target = max(source, 0), four floats."""
    device.launch("relu", (1, 1, 1), 256, [source, np.int64(4), target], stream)


def values(device: EmulatedDevice, buffer: Buffer) -> list[float]:
    host = np.zeros(buffer.size // 4, np.float32)
    device.download(buffer, host)
    return [float(v) for v in host]


def four(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


def test_a_graph_runs_when_it_is_replayed() -> None:
    device = EmulatedDevice()
    x, y, z = device.upload(four(1, -2, 3, -4)), device.zeros(16), device.zeros(16)
    device.begin()
    relu(device, x, y)
    device.copy(y, z)
    graph = device.end()
    assert device.launches == []
    assert values(device, z) == [0, 0, 0, 0]
    device.replay(graph)
    assert values(device, z) == [1, 0, 3, 0]
    device.write(x, four(-1, 2, -3, 4))
    device.replay(graph)
    assert values(device, z) == [0, 2, 0, 4]
    assert device.launches == [("relu", (1, 1, 1))] * 2


def test_what_a_graph_cannot_hold() -> None:
    device = EmulatedDevice()
    x, host = device.upload(four(1, 2, 3, 4)), four(0, 0, 0, 0)
    device.begin()
    for call in (
        lambda: device.write(x, host),
        lambda: device.upload(host),
        lambda: device.download(x, host),
        lambda: device.receive(x, EmulatedDevice(), x),
        lambda: device.timed(lambda: None),
        lambda: device.replay([]),
        lambda: device.begin(),
    ):
        with pytest.raises(DeviceError, match="while a graph is made"):
            call()
    assert device.end() == []


@pytest.mark.parametrize("waits", [True, False])
def test_a_replay_waits_like_any_work(waits: bool) -> None:
    """The graph writes what another stream still reads."""
    device = EmulatedDevice()
    x, y, z = device.upload(four(1, 2, 3, 4)), device.zeros(16), device.zeros(16)
    device.begin()
    relu(device, x, y)
    graph = device.end()
    device.replay(graph)
    other = device.stream()
    device.wait(other, device.record(0))
    relu(device, y, z, other)
    if waits:
        device.wait(0, device.record(other))
        device.replay(graph)
        return
    with pytest.raises(DeviceError, match="relu on stream 0 does not wait"):
        device.replay(graph)


@pytest.mark.parametrize("fault", ["", "fork", "join"])
def test_branches_of_a_graph(fault: str) -> None:
    """Work on another stream inside a graph needs an event to begin, and one to end."""
    device = EmulatedDevice()
    x, y, z = device.upload(four(-1, 2, -3, 4)), device.zeros(16), device.zeros(16)
    other = device.stream()
    device.begin()
    relu(device, x, y)
    if fault != "fork":
        device.wait(other, device.record(0))
    relu(device, y, z, other)
    if fault != "join":
        device.wait(0, device.record(other))
    graph = device.end()
    if not fault:
        for _ in range(2):
            device.replay(graph)
            assert values(device, z) == [0, 2, 0, 4]
        return
    message = {"fork": "does not wait for what uses its memory", "join": "branch is not joined"}[fault]
    with pytest.raises(DeviceError, match=message):
        device.replay(graph)


def test_rows_that_device_memory_names() -> None:
    """Different rows of a buffer may be used at the same time; rows outside of it are an error."""
    device = EmulatedDevice()
    x, word = device.upload(four(*range(8))), device.upload(np.array([1], np.int64))
    row, out = device.upload(four(9, 9)), device.zeros(8)
    other = device.stream()
    device.wait(other, device.record(0))

    def write(at: Buffer) -> None:
        move = Move(row, 8, None, x, 8, at, 1, 8)
        device.launch("move_rows", (1, 1, 1), 256, launch_arguments([move]))

    def read(part: Buffer) -> None:
        move = Move(part, 8, None, out, 8, None, 1, 8)
        device.launch("move_rows", (1, 1, 1), 256, launch_arguments([move]), other)

    read(x.part(0, 8))
    write(word)  # row 1, while row 0 is read
    assert values(device, x)[2:4] == [9, 9]
    with pytest.raises(DeviceError, match="does not wait"):
        read(x.part(8, 8))  # row 1, which was written
    device.write(word, np.array([0], np.int64))
    with pytest.raises(DeviceError, match="does not wait"):
        write(word)  # row 0, while it is read
    for outside in (4, -1):
        device.write(word, np.array([outside], np.int64))
        with pytest.raises(DeviceError, match=f"rows from {outside} on"):
            write(word)
