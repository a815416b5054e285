"""Takes tensors of PyTorch as rows of a request, and makes tensors of what a program gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.jobs.dlpack import ON_CUDA

__all__ = ["back", "device_of", "rows", "widened"]


def rows(x: torch.Tensor) -> Array:
    """Return a tensor on the host; shorter floats and float64 become float32, which programs compute in."""
    found = x.detach()
    if found.dtype.is_floating_point:
        found = found.to(torch.float32)
    elif found.dtype is torch.int16:
        found = found.to(torch.int32)
    return np.ascontiguousarray(found.cpu().numpy())


def back(x: Array, dtype: torch.dtype, device: torch.device, host: Callable[[Array], Array]) -> torch.Tensor:
    """Return a copy of a backend's array as a tensor of a type, where a caller's tensor lies.

    Where the array lies there too, it is copied on that device (DLPack); else ``host`` brings it to the host
    first.
    """
    if _lies_on(x, device):
        return torch.from_dlpack(x).to(dtype=dtype, copy=True)
    return torch.from_numpy(np.array(host(x))).to(device=device, dtype=dtype)


def _lies_on(x: Any, device: torch.device) -> bool:
    """Return whether an array can be handed to PyTorch on a CUDA device without leaving it."""
    if device.type != "cuda" or not hasattr(x, "__dlpack_device__"):
        return False
    kind, number = map(int, x.__dlpack_device__())
    return kind in ON_CUDA and number == (device.index or 0)


def widened(module: torch.nn.Module) -> torch.nn.Module:
    """Return a module that computes in float32: the same if it does, else a copy with its weights widened."""
    held = [*module.parameters(), *module.buffers()]
    if all(x.dtype is torch.float32 for x in held if x.dtype.is_floating_point):
        return module
    from copy import deepcopy

    return deepcopy(module).float()


def device_of(tensors: Sequence[Any], named: str) -> str:
    """Return the device that computes: the CUDA device on which a tensor lies, unless another is named.

    Raises InputError for tensors that lie on a device which is neither the host nor a CUDA device.
    """
    kinds = {x.device for x in tensors}
    if any(d.type not in ("cpu", "cuda") for d in kinds):
        raise InputError(f"a tensor lies on {sorted(map(str, kinds))[0]}; give tensors on cpu or cuda")
    if named != "auto":
        return named
    cuda = next((d for d in kinds if d.type == "cuda"), None)
    return "cpu" if cuda is None else f"cuda:{cuda.index or 0}"
