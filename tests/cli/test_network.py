"""What ``inspect`` says about a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proofcompute.cli.network import SHOWN, network_facts
from proofcompute.importers.architecture import Arch
from proofcompute.testing import TINY

BLOCK = (
    "attention (heads 4, kv_heads 2, head_dim 8, v_dim 8, scale 0.353553, "
    "rope (pairs 4, interleaved True){}), "
    "ffn (width 48, act silu), norm (kind rms, eps 1e-05)"
)


def windowed(*windows: int) -> Arch:
    arch = TINY.arch
    a = arch.blocks[0].attention
    blocks = tuple(replace(arch.blocks[0], attention=replace(a, window=w)) for w in windows)
    return replace(arch, blocks=blocks, embed_scale=0.5)


def test_layers_that_are_alike_are_said_once() -> None:
    facts = network_facts(windowed(5, 5, 0, 5, 5, 0))
    assert facts.pop("eps", None) is None
    assert facts == {
        "family": "llama",
        "width": 32,
        "vocabulary": 260,
        "context": 96,
        "norm": "kind rms, eps 1e-05",
        "tied": True,
        "embed_scale": 0.5,
        "layers": 6,
        "layers 1 to 2, 4 to 5": BLOCK.format(", window 5"),
        "layers 3, 6": BLOCK.format(""),
    }


@pytest.mark.parametrize("kinds", [SHOWN, SHOWN + 3])
def test_many_kinds_and_runs_are_counted(kinds: int) -> None:
    facts = network_facts(windowed(*range(1, kinds + 1)))
    assert facts.get("other layers", 0) == kinds - SHOWN
    assert facts["layer 1"] == BLOCK.format(", window 1")
    alternating = network_facts(windowed(*[1, 0] * (SHOWN + 2)))
    assert f"layers 1, 3, 5, 7, 9, 11, 13, 15, and {SHOWN + 2} in all" in alternating
