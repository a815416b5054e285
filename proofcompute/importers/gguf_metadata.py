"""Tells which metadata of a GGUF file matter: which must have a neutral value, and which are not used.

Names are those of the GGUF specification and of llama.cpp (``llama-arch.cpp``). Keys of the architecture and
of the tokenizer are either read or refused by name, unless they have a value that changes nothing. Keys that
mark the file as something other than a model (an adapter, a projector) are refused. Keys without a meaning
(descriptions, notes of tools) are listed as not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from proofcompute.errors import UnsupportedError
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_scan import Value
from proofcompute.models.supported import ARCHITECTURES

__all__ = ["NEUTRAL", "check_kind", "refuse_others", "unused"]

NEUTRAL: Final[Mapping[str, tuple[Value, ...]]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "expert_shared_count": (0,),
    "expert_feed_forward_length": (0,),
    "expert_weights_scale": (0, 1),
    "expert_weights_norm": (False,),
    "expert_group_count": (0,),
    "expert_group_used_count": (0,),
    "leading_dense_block_count": (0,),
    "attention.sliding_window": (0,),
    "attention.causal": (True,),
    "attention.scale": (0,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
    "use_parallel_residual": (False,),
    "pooling_type": (0,),
    "rope.scale_linear": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
    "tensor_data_layout": ("Meta AI original pth",),
}
"""Key of an architecture, without its prefix -> values with which it changes nothing in these networks."""
_NO_MODEL: Final = ("adapter.", "clip.", "controlvector.", "imatrix.")
"""Prefixes of keys in files that are no complete models."""


def check_kind(metadata: Mapping[str, Value]) -> str:
    """Return the architecture; UnsupportedError if it is not supported or the file is no complete model."""
    general = Fields(metadata, "general.")
    kind = general.text("type", "model")
    if kind != "model":
        raise UnsupportedError(f"a file of type {kind!r} is not a model")
    architecture = general.text("architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(f"architecture {architecture!r} is not supported; supported are {known}")
    for key in metadata:
        if key.startswith(_NO_MODEL):
            raise UnsupportedError(f"metadata key {key!r} does not belong in a model's file")
    return architecture


def refuse_others(metadata: Mapping[str, Value], prefix: str, keys: Iterable[str], what: str) -> None:
    """Raise UnsupportedError for the first of ``keys`` that does not have a neutral value."""
    for key in keys:
        neutral = NEUTRAL.get(key.removeprefix(prefix))
        if neutral is None:
            raise UnsupportedError(f"metadata key {key!r} is unknown and could change {what}")
        if metadata[key] not in neutral:
            raise UnsupportedError(f"{key} other than {neutral[-1]!r} is not supported")


def unused(metadata: Mapping[str, Value], architecture: str) -> tuple[str, ...]:
    """Return the keys that change nothing here and are not read, in the file's order."""
    read = ("general.architecture", "general.alignment", "general.name", "general.license", "general.type")
    ours = (f"{architecture}.", "tokenizer.ggml.", "split.")
    return tuple(
        k for k in metadata if k not in (*read, "tokenizer.chat_template") and not k.startswith(ours)
    )
