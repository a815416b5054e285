"""Compiled functions outlive the modules that made them: a process that ends frees those in any order."""

from __future__ import annotations

import subprocess
import sys

ENDING = """
import ctypes, gc
import numpy as np
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import machine

kernels = NumbaKernels()
kernels.relu(np.ones((2, 3), np.float32))
# The collector reads the flags of a function's PyMethodDef, to which its third word points.
method = ctypes.c_void_p.from_address(id(kernels._rows.relu) + 16).value
flags = ctypes.c_int.from_address(method + 16)
before = flags.value
vars(machine).clear()
gc.collect()
written = [bytearray(b"\\xff" * size) for size in range(15, 64) for _ in range(2000)]
print(before, flags.value)
"""


def test_a_function_may_be_collected_after_its_module() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "128 128\n"), done.stderr
