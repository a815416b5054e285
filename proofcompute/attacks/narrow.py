"""A small model whose table of tokens has more rows than there are logits."""

from __future__ import annotations

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.attacks.target import Target, suitable
from proofcompute.models.model import Model
from proofcompute.program.operations import Embed, Linear, Sample
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Segment, Spec, WeightSpec
from proofcompute.testing.models import byte_vocabulary

__all__ = ["narrow"]


def narrow(t: Target) -> Target:
    """Return a target whose answers could name a token that it can never give."""
    rng = np.random.default_rng(0)
    rows, logits, width = 300, 260, 16
    program = Program(
        inputs=(("tokens", Spec("i32", ())),),
        outputs=("next",),
        feedback=True,
        context=64,
        weights=(WeightSpec("emb", "matrix", (rows, width)), WeightSpec("head", "matrix", (logits, width))),
        committed=(Committed("x", ("x",)),),
        segments=(
            Segment("embed", (Node("e", Embed("emb"), ("tokens",), ("x",)),)),
            Segment(
                "head",
                (
                    Node("l", Linear("head", 2), ("x",), ("logits",)),
                    Node("s", Sample(), ("logits", "tokens"), ("next",)),
                ),
            ),
        ),
    )
    weights = {
        spec.name: Matrix(
            rng.integers(-127, 128, (1, spec.rows, width), dtype=np.int8),
            np.full(spec.rows, 0.01, np.float32),
        )
        for spec in program.weights
    }
    model = Model.build(program, weights, tokenizer=byte_vocabulary().encode())
    return suitable(model, t.kernels)
