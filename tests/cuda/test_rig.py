"""Tests the rig itself: what would go wrong on a device goes wrong here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, build, why_not
from cuda_rig.device import ORDERS
from proofcompute.arithmetic.backends.cuda import Argument, Buffer
from proofcompute.errors import DeviceError

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

HEAD = (
    '#include "canonical.cuh"\nextern "C" __global__ void __launch_bounds__(THREADS)\n    probe(int* out) {\n'
)


def run(body: str, order: int = 0, threads: int = 256, blocks: int = 1, count: int = 256) -> Any:
    """Returns what a kernel with this body leaves in out, int32 [count], which is zero at the start."""
    library = build(files=("relu",), changed={"relu.cu": f"{HEAD}{body}\n}}\n"})
    device = EmulatedDevice(order=order, library=library)
    out = device.zeros(4 * count)
    device.launch("probe", (blocks, 1, 1), threads, [out])
    result = np.empty(count, dtype=np.int32)
    device.download(out, result)
    return result


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x < 100) __syncthreads(); out[0] = 1;",
            "100 threads at the barrier .*; 156 threads ended",
        ),
        (
            "if (threadIdx.x % 2) {\n__syncthreads();\n} else {\n__syncthreads();\n}\nout[0] = 1;",
            "128 threads at the barrier .*; 128 threads at the barrier",
        ),
        (
            "if (threadIdx.x % 32 < 31) out[0] = __shfl_xor_sync(WHOLE_WARP, 1, 1);",
            "8 threads ended; 248 threads in a warp operation",
        ),
        (
            "if (threadIdx.x < 32) out[0] = __shfl_xor_sync(0x7fffffffu, 1, 1);\nelse __syncthreads();",
            "divergent block",
        ),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_divergence_is_an_error(body: str, message: str, order: int) -> None:
    with pytest.raises(DeviceError, match=message):
        run(body, order)


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_and_shuffles(order: int) -> None:
    body = """
      __shared__ int box[256];
      const int t = threadIdx.x;
      for (int i = 0; i < 3; ++i) {
        box[t] = t + i;
        __syncthreads();
        out[t] = box[255 - t];
        __syncthreads();
      }
      out[t] += 1000 * __shfl_xor_sync(WHOLE_WARP, t, 5);
    """
    t = np.arange(256)
    assert run(body, order).tolist() == (255 - t + 2 + 1000 * (t ^ 5)).tolist()


def test_orders_differ() -> None:
    body = "atomicOr(out, 0);\nout[1] = threadIdx.x;"
    last = {int(run(body, order)[1]) for order in ORDERS}
    assert len(last) == len(ORDERS), "the last thread to store is another one in each order"


def test_a_missing_barrier_changes_some_order() -> None:
    body = (
        "__shared__ int box[256];\nbox[threadIdx.x] = threadIdx.x;\n{0}\n"
        "out[threadIdx.x] = box[255 - threadIdx.x];"
    )
    right = np.arange(256)[::-1].tolist()
    assert all(run(body.replace("{0}", "__syncthreads();"), order).tolist() == right for order in ORDERS)
    assert any(run(body.replace("{0}", ""), order).tolist() != right for order in ORDERS)


def test_atomics_and_blocks() -> None:
    body = "atomicAdd((u64*)out + blockIdx.x, (u64)threadIdx.x);\natomicMax((u64*)out + 9, (u64)threadIdx.x);"
    result = run(body, 3, blocks=4).view(np.uint64)
    assert result[:4].tolist() == [255 * 128] * 4
    assert result[9] == 255


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("__float2int_rn(2.5f)", 2),
        ("__float2int_rn(-3.5f)", -4),
        ("__float2int_rn(3e9f)", 2**31 - 1),
        ("__float2int_rn(-3e9f)", -(2**31)),
        ("__float2int_rn(__int_as_float(0x7fc00000))", 0),
        ("(int)(__float2ll_rn(-1e30f) >> 32)", -(2**31)),
        ("(int)(__float2ll_rn(1e30f) >> 32)", 2**31 - 1),
        ("__float_as_int(__ll2float_rn((1ll << 54) + (1ll << 30) + 1))", 0x5A800001),
        ("(int)__brev(1u)", -(2**31)),
        ("__dp4a((int)0x80807f01, (int)0x807f8002, 5)", 16384 - 16256 - 16256 + 2 + 5),
        ("(int)(__umul64hi(~0ull, ~0ull) & 0xffffffff)", -2),
        ("(int)(ordered_bits(-0.0f) + 1 == ordered_bits(0.0f))", 1),
    ],
)
def test_intrinsics(expression: str, value: int) -> None:
    assert run(f"out[0] = {expression};", threads=1, count=1)[0] == value


def test_launches_are_checked() -> None:
    device = EmulatedDevice()
    memory = device.zeros(8)
    wrong: list[tuple[str, tuple[int, int, int], int, list[Any], str]] = [
        ("relu", (1, 1, 1), 256, [memory], "takes 3 arguments, not 1"),
        ("relu", (1, 1, 1), 256, [memory, np.int32(1), memory], "argument 1 of relu has 4 bytes, not 8"),
        ("relu", (1, 1, 1), 2048, [memory, np.int64(1), memory], "1 to 1024 threads"),
        ("relu", (1, 70000, 1), 256, [memory, np.int64(1), memory], "no such grid"),
        ("nothing", (1, 1, 1), 256, [], "takes -1 arguments"),
    ]
    for kernel, grid, threads, arguments, message in wrong:
        with pytest.raises(DeviceError, match=message):
            device.launch(kernel, grid, threads, arguments)


def test_streams_that_do_not_wait_are_an_error() -> None:
    device = EmulatedDevice()
    x = device.upload(np.ones(4, dtype=np.float32))
    out: Buffer = device.allocate(16)
    other = device.stream()
    arguments: list[Argument] = [x, np.int64(4), out]
    with pytest.raises(DeviceError, match="does not wait"):
        device.launch("relu", (1, 1, 1), 256, arguments, other)  # before the upload
    device.wait(other, device.record(0))
    device.launch("relu", (1, 1, 1), 256, arguments, other)
    host = np.zeros(4, dtype=np.float32)
    with pytest.raises(DeviceError, match="does not wait"):
        device.download(out, host)  # before the launch
    with pytest.raises(DeviceError, match="does not wait"):
        device.launch("relu", (1, 1, 1), 256, arguments[::-1])  # x is still being read
    device.wait(0, device.record(other))
    device.download(out, host)
    assert host.tolist() == [1, 1, 1, 1]
