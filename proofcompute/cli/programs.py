"""What ``inspect`` says of a program: its inputs and outputs, its segments, and what audits cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from proofcompute.cli.console import size
from proofcompute.cli.limbs import limb_facts
from proofcompute.errors import LimitError

if TYPE_CHECKING:
    from proofcompute.program.program import Program
    from proofcompute.verifier.pricing import Price, Prices

__all__ = ["program_facts"]

Facts = dict[str, object]
PROMPT = 512
"""Rows of a trace whose audit is priced, where rows depend on others; fewer if the context holds fewer."""
SHOWN = 20
"""The most segments that are listed for people."""


def program_facts(card: object) -> tuple[Facts, Facts]:
    """Return what there is to say of a card's program, as JSON and for people; nothing if it is no card."""
    from proofcompute.models.card import ModelCard
    from proofcompute.verifier.pricing import prices

    if not isinstance(card, ModelCard):
        return {}, {}
    program = card.program
    try:
        found = prices(program, _rows(program))
    except LimitError:
        found = prices(program, 1)
    limbs, limbs_shown = limb_facts(program)
    facts: Facts = {
        "inputs": {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in program.inputs},
        "outputs": {
            name: {"dtype": program.specs[name].dtype, "shape": list(program.specs[name].shape)}
            for name in program.outputs
        },
        "segments": len(program.segments),
        "operations": sum(len(s.nodes) for s in program.segments),
        "context": program.context,
        "weights": len(program.weights),
        "weight_bytes": sum(s.rows * s.row_bytes for s in program.weights),
        "vocabulary": len(card.vocabulary.tokens) if card.vocabulary else 0,
        "chat_template": bool(card.template),
        "prices": {**asdict(found), "cheaper": found.cheaper},
    }
    return facts | limbs, facts | limbs_shown | _shown(program, found)


def _shown(program: Program, found: Prices) -> Facts:
    rows = "one row" if found.rows == 1 else f"{found.rows} rows"
    facts: Facts = {}
    for kind in ("inputs", "outputs"):
        names = [name for name, _ in program.inputs] if kind == "inputs" else program.outputs
        facts[kind] = "\n".join(
            f"{name}: {program.specs[name].dtype} {list(program.specs[name].shape)} a row" for name in names
        )
    facts["prices"] = f"of {rows}, at most; times are about those of running, which is 1"
    for i, s in enumerate(found.segments[:SHOWN]):
        facts[f"cell of segment {i}"] = (
            f"{s.name}: {s.operations} operations, {s.products} products, commits {size(s.committed)} a row, "
            f"opens {_pair(s.key, s.weights)}"
        )
    if len(found.segments) > SHOWN:
        facts["more segments"] = len(found.segments) - SHOWN
    return facts | _audits(found)


def _audits(found: Prices) -> Facts:
    each = {"a key": (found.key, found.key_bytes), "the model": (found.weights, found.weight_bytes)}
    facts: Facts = {
        f"full audit with {what}": f"opens {size(p.nbytes)}, takes {p.time:.2g}; holds {size(held)}"
        for what, (p, held) in each.items()
    }
    facts["cheaper"] = {
        "key": "with a key: it takes less time, though more is opened",
        "weights": "with the model: less is opened, and checking hints would save little time or none",
        None: "the same either way: there are no products, so that every audit computes all of it again",
    }[found.cheaper]
    return facts


def _pair(key: Price, weights: Price) -> str:
    """Return the bytes of a cell, twice if they differ."""
    if key.nbytes == weights.nbytes:
        return size(key.nbytes)
    return f"{size(key.nbytes)} with a key, {size(weights.nbytes)} with the model"


def _rows(program: Program) -> int:
    """Return the rows of the trace whose audit is priced."""
    from proofcompute.program.types import Reads

    alone = all(mode is Reads.SAME for plan in program.plans for _, mode in plan.reads)
    return 1 if alone else min(program.context, PROMPT)
