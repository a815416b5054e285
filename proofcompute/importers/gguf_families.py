"""Says what GGUF files of each architecture do not say: one entry for each ``general.architecture``.

The facts are those of llama.cpp's loaders and graphs (``src/models/*.cpp``) and of its converters
(``conversion/*.py``), which put tensors into the form that the loaders expect. Where llama.cpp computes
something else than the published models do, the entry follows the models: the activation of GPT-NeoX (the
exact GELU) and the bounds of YaRN's ramp in gpt-oss (not rounded).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

__all__ = ["FAMILIES", "Experts", "Family"]


@dataclass(frozen=True)
class Experts:
    """What a file does not say about a mixture of experts."""

    normalise: bool = False
    """Whether the chosen scores are divided by their sum."""
    when: str = "before"
    """As in :class:`.architecture.Moe`."""
    shared_gate: bool = False
    alpha: float = 0.0
    """As in :class:`.architecture.Mlp`; with ``limit``."""
    limit: float = 0.0


@dataclass(frozen=True)
class Family:
    """What a file of one architecture does not say."""

    pairs: bool = False
    """Whether rotary pairs are neighbours; else they are the halves of a head."""
    norm: str = "rms"
    """Kind of norm; a bias is seen from its tensor."""
    norms: str = "pre"
    """Placement of norms, as in :class:`.architecture.Block`."""
    parallel: str = ""
    """As in :class:`.architecture.Block`; ``key``: "two" if ``use_parallel_residual`` says so; ``seen``:
    "one" if there is no second norm."""
    act: str = "silu"
    gated: bool = True
    fused: bool = False
    """Whether ``ffn_up`` holds the gate's rows and then those of ``up``."""
    qk_norm: str = ""
    """The norm of queries and keys, as in :class:`.architecture.Attention`; "heads" only if there is one."""
    rope: str = "all"
    """Which layers rotate: ``all``, ``none``; ``windowed``: those with a window, or all if there is none;
    ``three``: all but every fourth; ``key``: all, or none if ``rope.scaling.finetuned`` says so."""
    window: str = ""
    """Which layers have a window: none, ``all``, or the default pattern of ``sliding_window_pattern``: the
    number n of layers after which comes one without. Empty: the key must be 0."""
    default_window: int = 0
    """The window where the file has no key; -1: it must have one."""
    local_rope: str = ""
    """How windowed layers rotate: as all; ``plain``: without scaling; ``base``: with the base
    ``rope.freq_base_swa``, 10000 if that is missing, and without scaling."""
    scale_of: int = 0
    """With this number of layers, scores are scaled by the root of width / heads, not of a head's columns."""
    root_embedding: bool = False
    """Whether embedded tokens are multiplied by the root of the width."""
    inverse_logits: bool = False
    """Whether ``logit_scale`` divides the logits."""
    scales: bool = False
    """Whether the keys ``attention.scale``, ``embedding_scale`` and ``residual_scale`` are used."""
    logits: bool = False
    """Whether the key ``logit_scale`` is used."""
    softcap: float = 0.0
    """The default of ``attn_logit_softcapping``; 0: the key is not used."""
    final_softcap: float = -1.0
    """The default of ``final_logit_softcapping``; -1: the key is not used."""
    sinks: bool = False
    positions: bool = False
    """Whether positions are learned."""
    ffn_norm: str = "ffn_norm"
    """How the file names the norm before the feed-forward layer."""
    truncate: bool = True
    """Whether the bounds of YaRN's ramp are rounded to whole pairs."""
    experts: Experts | None = None
    """Of files with ``expert_count``; None: there are none."""
    latent: bool = False
    """Whether keys and values come from a latent vector."""
    unsaid: Mapping[str, str] = field(default_factory=dict)
    """A key that files may lack although the published models have it -> the note that is given then; keys of
    experts count in files with ``expert_count``."""


_PLAIN: Final = Family(norm="layer", act="gelu_tanh", gated=False)
_COHERE: Final = Family(norm="layer", parallel="one", pairs=True, logits=True)
_GEMMA: Final = Family(act="gelu_tanh", root_embedding=True)

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "llama": Family(pairs=True, experts=Experts(normalise=True)),
        "qwen2": Family(),
        "qwen3": Family(qk_norm="head"),
        "qwen2moe": Family(experts=Experts(shared_gate=True)),
        "qwen3moe": Family(qk_norm="head", experts=Experts(normalise=True)),
        "gemma": _GEMMA,
        "gemma2": replace(
            _GEMMA,
            norms="both",
            softcap=50.0,
            final_softcap=30.0,
            window="2",
            default_window=4096,
            scale_of=46,
        ),
        "gemma3": replace(
            _GEMMA,
            norms="both",
            qk_norm="head",
            final_softcap=0.0,
            window="6",
            local_rope="base",
            scale_of=62,
        ),
        "phi2": replace(_PLAIN, parallel="one"),
        "phi3": Family(fused=True, window="all"),
        "olmo2": Family(norms="post", qk_norm="full", window="4", local_rope="plain"),
        "olmoe": Family(qk_norm="full", experts=Experts()),
        "smollm3": Family(pairs=True, rope="three"),
        "granite": Family(pairs=True, rope="key", scales=True, logits=True, inverse_logits=True),
        "command-r": replace(_COHERE, qk_norm="heads"),
        "cohere2": replace(_COHERE, window="4", default_window=-1, rope="windowed"),
        "stablelm": Family(norm="layer", parallel="seen", qk_norm="heads"),
        "starcoder2": replace(
            _PLAIN,
            unsaid={
                "attention.sliding_window": "the file does not state a window, so attention reaches all "
                "positions; the published models attend to the last 4,096 only, so longer texts differ from "
                "theirs; a folder in the layout of Hugging Face states it"
            },
        ),
        "gpt2": replace(_PLAIN, rope="none", positions=True),
        "gptneox": replace(_PLAIN, act="gelu", parallel="key"),
        "glm4": Family(pairs=True, norms="both", fused=True),
        "exaone4": Family(norms="post", qk_norm="head", window="4", rope="windowed"),
        "gpt-oss": Family(
            sinks=True,
            window="2",
            default_window=-1,
            ffn_norm="post_attention_norm",
            truncate=False,
            experts=Experts(when="after", alpha=1.702, limit=7.0),
        ),
        "deepseek2": Family(
            pairs=True,
            latent=True,
            experts=Experts(),
            unsaid={
                "expert_group_count": "the file does not say into how many groups the experts are divided, "
                "so they are one group, as in DeepSeek V2 Lite; the larger models have 8, so answers differ "
                "from theirs; a folder in the layout of Hugging Face states it"
            },
        ),
    }
)
"""``general.architecture`` -> what its files do not say."""
