"""Nodes that cheat and then commit to what they did (design, section 9).

Each runs the whole protocol as an honest node would, but for the one thing in its description, and
**recommits consistently**: the Merkle trees, the trace root and the signature fit the altered run. When cells
are opened, the honest :func:`proofcompute.prover.open_cells` opens them with the true model, so product hints
are true products of the committed rows and every cell that can pass does pass: what is caught is exactly what
no cheater can avoid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proofcompute.card import ModelCard, Weight
from proofcompute.errors import ExecutionError, InputError
from proofcompute.generation import Engine, Session, stop_reason
from proofcompute.interpreter import run
from proofcompute.kernels import F32, U64, Array, Kernels, Matrix, Sampling
from proofcompute.messages import Generation, Receipt, Request
from proofcompute.model import Model
from proofcompute.ops import Add, Attention, Linear
from proofcompute.program import Node, Span
from proofcompute.prover import StoredTrace, make_receipt, store
from proofcompute.signing import NodeIdentity
from proofcompute.source import ComputeProducts, Source
from proofcompute.statement import draws
from proofcompute.trace import Trace

__all__ = ["CHEATS", "WINDOW", "Cheat"]

WINDOW = 4
"""Positions that the node with a shortened context looks at."""

Claim = tuple[Receipt, StoredTrace]


@dataclass(frozen=True)
class Cheat:
    """One way to cheat."""

    name: str
    description: str
    """What the node does and what it gains."""
    run: Callable[[Model, Request, Kernels, NodeIdentity], Claim]
    """Answers a request of a language model; returns the receipt and what the node opens cells from."""


def _cheaper_weights(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """Other weights of the same shape; tables stay true, since their rows are opened under the model id."""
    tables = {weight for plan in model.program.plans for weight, _ in plan.tables}

    def four_bits(w: Matrix) -> Matrix:
        high = np.clip((w.q[:1].astype(np.int16) + 8) >> 4 << 4, -128, 112).astype(np.int8)
        return replace(w, q=np.concatenate([high, np.zeros_like(w.q[1:])]))

    changed = {n: four_bits(w) for n, w in model.weights.items() if isinstance(w, Matrix) and n not in tables}
    return _claim(model, request, _generate(_reweighted(model, changed), request, kernels), kernels, identity)


def _lower_precision(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """One limb of activations where the program says two."""

    def coarse(node: Node) -> Node:
        return replace(node, op=replace(node.op, limbs=1)) if isinstance(node.op, Linear) else node

    return _other_program(model, request, kernels, identity, coarse)


def _skipped_layer(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """The middle block adds nothing: what it would add to its residual stream is taken as zero."""
    segments = [s for s in model.program.segments if any(isinstance(n.op, Attention) for n in s.nodes)]
    nodes = segments[len(segments) // 2].nodes
    added = {name for n in nodes if isinstance(n.op, Add) for name in n.inputs}
    changed = {}
    for node in nodes:
        if isinstance(node.op, Linear) and added.intersection(node.outputs):
            w = model.matrix(node.op.weight)
            none = None if w.bias is None else np.zeros_like(w.bias)
            changed[node.op.weight] = Matrix(np.zeros_like(w.q), w.scale, none)
    return _claim(model, request, _generate(_reweighted(model, changed), request, kernels), kernels, identity)


def _shortened_context(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """Attention over the last WINDOW positions only."""

    def short(node: Node) -> Node:
        return replace(node, op=replace(node.op, window=WINDOW)) if isinstance(node.op, Attention) else node

    return _other_program(model, request, kernels, identity, short)


def _other_seed(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """Tokens drawn with a seed of the node's choice, so that it can pick among answers."""
    asked = _generation(request)
    other = replace(asked, seed=bytes(b ^ 0xFF for b in asked.seed))
    session = _generate(model, replace(request, generation=other), kernels)
    return _claim(model, request, session, kernels, identity)


def _edited_answer(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """One token of the answer is another one, and the rest goes on from it honestly."""
    session, _, _ = _edit(model, request, kernels)
    return _claim(model, request, session, kernels, identity)


def _edit_moved_back(model: Model, request: Request, kernels: Kernels, identity: NodeIdentity) -> Claim:
    """As before, and the row that the head reads is altered so that the head gives the edited token."""
    session, row, value = _edit(model, request, kernels)
    session.trace.arrays[_head_input(model)][row] = value
    return _claim(model, request, session, kernels, identity)


CHEATS: Sequence[Cheat] = (
    Cheat("other weights", "serves a 4-bit copy of the model, to save memory", _cheaper_weights),
    Cheat("lower precision", "8-bit activations, to save half the work", _lower_precision),
    Cheat("skipped layer", "leaves the middle layer out, to save its work", _skipped_layer),
    Cheat("shortened context", f"looks {WINDOW} tokens back only, to save attention", _shortened_context),
    Cheat("other sampler seed", "draws tokens with a seed it likes better", _other_seed),
    Cheat("edited answer", "replaces one token of the answer", _edited_answer),
    Cheat("edit moved back", "replaces one token, and the hidden state that explains it", _edit_moved_back),
)
"""All cheats, from those that alter nearly every cell to those that alter one."""


# -- what they are made of ---------------------------------------------------------------------------------
def _generation(request: Request) -> Generation:
    if request.generation is None:
        raise InputError("these cheats are for language models")
    return request.generation


def _generate(model: Model, request: Request, kernels: Kernels) -> Session:
    engine = Engine(model, kernels, node=request.node)
    session = engine.add(request)
    engine.run(session)
    return session


def _claim(
    model: Model, request: Request, session: Session, kernels: Kernels, identity: NodeIdentity
) -> Claim:
    """Commit to a session's trace as if it were that of ``request`` on ``model``."""
    trace = Trace(model.program, 0)
    trace.arrays = session.trace.arrays
    inputs = request.check(model.program, model.model_id)
    prompt = next(iter(inputs.values())).shape[0]
    reason = stop_reason(_generation(request), session.answer, model.card.vocabulary)
    claimed = Session(0, request, inputs, prompt, trace, session.answer, reason=reason)
    return make_receipt(model, claimed, kernels, identity), store(claimed, kernels)


def _reweighted(model: Model, changed: dict[str, Matrix]) -> Model:
    """The model with other weights under its own name."""
    weights: dict[str, Weight] = {**model.weights, **changed}
    return Model(model.card, weights)


def _other_program(
    model: Model,
    request: Request,
    kernels: Kernels,
    identity: NodeIdentity,
    change: Callable[[Node], Node],
) -> Claim:
    """Run other operations than the program's on the same weights."""
    program = replace(
        model.program,
        segments=tuple(replace(s, nodes=tuple(map(change, s.nodes))) for s in model.program.segments),
    )
    true = model.card
    liar = Model(ModelCard(program, true.tokenizer, true.template, true.roots), model.weights)
    session = _generate(liar, replace(request, model_id=liar.model_id), kernels)
    return _claim(model, request, session, kernels, identity)


def _head_input(model: Model) -> str:
    """The committed tensor that the segment with the answer reads."""
    plan = next(p for p in model.program.plans if p.emits)
    return plan.reads[0][0]


def _edit(model: Model, request: Request, kernels: Kernels) -> tuple[Session, int, F32]:
    """An answer with one token replaced and honestly gone on from.

    Returns the session, the row whose output was replaced, and a hidden state from which the head would have
    given that token: another row's, or if all rows give the same token, a negated one.
    """
    honest, asked = _generate(model, request, kernels), _generation(request)
    at = (len(honest.answer) - 1) // 2
    row = honest.prompt - 1 + at
    states: F32 = honest.trace.arrays[_head_input(model)][: honest.done]
    for state in (*states[::-1], -states[row]):
        token = _head(model, honest, row, state, kernels)
        if token is not None and token != honest.answer[at] and not _ends(model, token):
            break
    else:
        raise InputError("every hidden state gives the same token; try another prompt")
    left = asked.max_tokens - at - 1
    before = [*honest.answer[:at], token]
    if left == 0:
        honest.answer = before
        return honest, row, state.copy()
    name, prompt = request.inputs[0]
    tokens = prompt + np.array(before, "<i4").tobytes()
    longer = replace(request, inputs=((name, tokens),), generation=replace(asked, max_tokens=left))
    session = _generate(model, longer, kernels)
    session.answer = before + session.answer
    for n in range(1, len(session.answer)):  # a stop string may begin before the edit
        if stop_reason(asked, session.answer[:n], model.card.vocabulary) is not None:
            del session.answer[n:]
            break
    return session, row, state.copy()


def _ends(model: Model, token: int) -> bool:
    vocabulary = model.card.vocabulary
    return vocabulary is not None and token in vocabulary.end_ids


def _head(model: Model, session: Session, row: int, state: F32, kernels: Kernels) -> int | None:
    """The token that the head gives in ``row`` on another hidden state; None if it has no result."""
    plan = next(p for p in model.program.plans if p.emits)
    source = Source(_OtherState(session, state), model, ComputeProducts(model.matrix))
    try:
        out = run(model.program, plan.index, [Span(0, row, row + 1)], source, kernels)
    except ExecutionError:
        return None
    return int(out[plan.emits[0]][0])


class _OtherState:
    """RowReader of one head cell whose committed row is replaced."""

    def __init__(self, session: Session, state: F32) -> None:
        self.session = session
        self.state = state

    def read(self, name: str, span: Span) -> Array:
        return self.state[None]

    def prefix(self, name: str, span: Span) -> Array:
        return self.session.trace.arrays[name][: span.b]

    def write(self, name: str, span: Span, rows: Array) -> None:
        """The token is returned by the interpreter."""

    def sampling(self, trace: int) -> Sampling:
        return _generation(self.session.request).sampling

    def draws(self, span: Span) -> U64:
        return draws(self.session.request.draw_seed, span.a, span.b)
