"""Shows the description of a network: what is not the default, and layers that are alike together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proofcompute.importers.architecture import Arch, Block

__all__ = ["network_facts"]

SHOWN: Final = 8
"""The most kinds of layers, and runs of layers of a kind, that are listed."""


def network_facts(arch: Arch) -> dict[str, object]:
    """Return what ``inspect`` prints about a network, by name."""
    kinds: dict[Block, list[int]] = {}
    for i, block in enumerate(arch.blocks):
        kinds.setdefault(block, []).append(i)
    whole = {k: v for k, v in _set(arch).items() if k != "blocks"}
    facts: dict[str, object] = {k: _said(v) if isinstance(v, Mapping) else v for k, v in whole.items()}
    facts["layers"] = len(arch.blocks)
    for block, layers in list(kinds.items())[:SHOWN]:
        facts[_named(layers)] = _said(_set(block))
    if len(kinds) > SHOWN:
        facts["other layers"] = sum(len(layers) for layers in list(kinds.values())[SHOWN:])
    return facts


def _named(layers: Sequence[int]) -> str:
    """Return what layers are called, such as "layers 1 to 5, 7 to 11"; they count from 1."""
    runs: list[list[int]] = []
    for i in layers:
        if runs and runs[-1][1] == i - 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    shown = [f"{a + 1}" if a == b else f"{a + 1} to {b + 1}" for a, b in runs[:SHOWN]]
    more = [f"and {len(layers)} in all"] if len(runs) > SHOWN else []
    return ("layer " if len(layers) == 1 else "layers ") + ", ".join(shown + more)


def _set(part: Any) -> dict[str, Any]:
    """Return the fields of a description, by name, that do not have their default values."""
    found: dict[str, Any] = {}
    for f in fields(part):
        value = getattr(part, f.name)
        if value == f.default:
            continue
        if f.name == "freqs":
            found["pairs"] = len(value)
        else:
            found[f.name] = _set(value) if is_dataclass(value) else value
    return found


def _said(value: Any) -> str:
    """Return a value, or the fields of a part, as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(
        f"{name} ({_said(v)})" if isinstance(v, Mapping) else f"{name} {_said(v)}"
        for name, v in value.items()
    )
