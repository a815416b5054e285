"""The functions that wrap modules. PyTorch is imported when they are called, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors.arguments import StrPath
from proofcompute.errors.extras import lacking
from proofcompute.importers.aten.rows import CONTEXT

if TYPE_CHECKING:
    import torch

    from proofcompute.modules.attaching import Attached
    from proofcompute.modules.wrapping import Wrapped
    from proofcompute.serving.gate import Gate
    from proofcompute.serving.settings import ServiceLimits

__all__ = ["attach", "openings", "wrap"]

_WEEK: Final = 7 * 24 * 3600


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
        from proofcompute.modules.compiled import CompiledModule
        from proofcompute.modules.wrapping import Wrapped
    except ModuleNotFoundError as e:
        raise _lacking(e) from e
    return Wrapped(
        CompiledModule(module, example, dict(kwargs or {}), precision, device, context, whole=whole), identity
    )


def attach(
    module: torch.nn.Module,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    store: StrPath | None = None,
    retention: int = _WEEK,
    precision: str = "auto",
    device: str = "auto",
    context: int = CONTEXT,
    identity: NodeIdentity | None = None,
    whole: bool = False,
) -> Attached:
    """Return a module to put in the place of another in a running service, whose calls stay as they are.

    It takes and gives what the module does, and runs a program of the same weights, as :func:`wrap` says,
    with a receipt for each call: :attr:`Attached.last` is the caller's newest. Receipts and requests are kept
    until ``retention`` has passed, and :func:`openings` serves them. Any thread may call it.

    Args:
        module: the module, in eval mode.
        example: arguments as for :func:`wrap`; None, without ``kwargs``: those of the first call, which is
            slow, as the program is compiled then.
        kwargs: arguments of the example by name.
        store: a directory for receipts and requests, which another process with the same identity may serve
            later; None: they are kept in memory, and the oldest leave it when they are too many.
        retention: seconds for which every receipt promises that challenges are answered.
        precision: as for :func:`wrap`.
        device: as for :func:`wrap`.
        context: the most samples of one call.
        identity: the key pair that signs receipts; None: a new one.
        whole: as for :func:`wrap`.

    Raises as :func:`wrap`, here or in the first call, and StorageError if the directory cannot be used.
    """
    try:
        from proofcompute.modules.attaching import Attached
        from proofcompute.modules.compiled import CompiledModule
    except ModuleNotFoundError as e:
        raise _lacking(e) from e

    def compiled(args: Any, named: Mapping[str, Any]) -> CompiledModule:
        return CompiledModule(module, args, named, precision, device, context, whole=whole)

    attached = Attached(module, compiled, store=store, retention=retention, identity=identity)
    if example is not None or kwargs:
        attached.compile(example, dict(kwargs or {}))
    return attached


def openings(*attached: Attached, limits: ServiceLimits | None = None) -> Gate:
    """Return an ASGI application that answers challenges to attached modules.

    It is the service of proofs that ``proofcompute serve`` has too (docs/spec/openai.md), below ``/v1``:
    cards, receipts, and openings of challenged cells, with its limits. Mount it in an application, or serve
    it by itself; ``GET /v1/proofs/kept/DIGEST`` returns request and receipt of the receipt with that digest.

    Raises InputError if the modules sign with different identities or one is not compiled yet, and
    UnsupportedError if the extra ``serve`` is not installed.
    """
    from proofcompute.modules.serving import application_of

    return application_of(attached, limits)
