"""The functions that wrap modules. PyTorch is imported when they are called, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors.extras import lacking
from proofcompute.importers.aten.rows import CONTEXT

if TYPE_CHECKING:
    import torch

    from proofcompute.modules.wrapping import Wrapped

__all__ = ["wrap"]


def _lacking(e: ModuleNotFoundError) -> Exception:
    return lacking(e, "wrapping modules of PyTorch", "torch")


def wrap(
    module: torch.nn.Module,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    precision: str = "auto",
    device: str = "auto",
    context: int = CONTEXT,
    identity: NodeIdentity | None = None,
    whole: bool = False,
) -> Wrapped:
    """Wrap a module of PyTorch in eval mode, so that its calls give a proof beside their result.

    The module is exported once, for one sample, and a program is compiled of its weights: that is what runs
    and is proved, with quantised products, and not PyTorch's own kernels. Floats are computed in float32;
    weights of other types are widened. Shapes are those of the example; the number of samples is not.

    Args:
        module: the module; its weights are read now, and later changes to them change nothing.
        example: a tensor [samples, ...], or a tuple of arguments; the first axis of all tensors are samples.
        kwargs: arguments of the example by name.
        precision: ``auto``, chosen for each product so that results are within 0.3 % for the example's first
            samples; ``w8a8``, ``w8a16`` or ``w16a16``; or a recipe, which the manifest of a model that
            was wrapped with ``auto`` holds: with it the model id is the same again.
        device: what computes; ``auto`` is the CUDA device on which the example lies, or else the CPU.
        context: the most samples of one call.
        identity: the key pair that signs receipts; None: a new one.
        whole: whether a row is the whole batch of the example, whose samples may then depend on each other.

    Raises InputError (of which RefusedError is a kind) naming the node, or the line of the module, that
    cannot be proved, LimitError if the program is larger than one may be, and UnsupportedError if PyTorch is
    not installed.
    """
    try:
        from proofcompute.modules.wrapping import Wrapped
    except ModuleNotFoundError as e:
        raise _lacking(e) from e
    return Wrapped(module, example, dict(kwargs or {}), precision, device, context, identity, whole=whole)
