"""Nodes that cheat and then commit to what they did (docs/spec/adversary.md).

Each runs the whole protocol as an honest node would, but for the one thing in its description, and
**recommits consistently**: the Merkle trees, the trace root and the signature fit the altered run. When cells
are opened, the honest :meth:`proofcompute.prover.node.Node.open` opens them with the true model, so product
hints are true products of the committed rows and every cell that can pass does pass: what is caught is
exactly what no cheater can avoid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, U64, Array, Span
from proofcompute.engine import Engine, Session
from proofcompute.errors import ExecutionError, InputError
from proofcompute.models.card import ModelCard, Weight
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.operations import Add, Attention, Linear
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.program.types import Node as Step
from proofcompute.protocol.messages import Generation, Receipt, Request
from proofcompute.protocol.requests import inputs_of
from proofcompute.protocol.statement import draws
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import Trace
from proofcompute.prover.node import Node

__all__ = ["CHEATS", "WINDOW", "Cheat"]

WINDOW = 4
"""Positions that the node with a shortened context looks at."""


@dataclass(frozen=True)
class Cheat:
    """One way to cheat."""

    name: str
    description: str
    """What the node does and what it gains."""
    run: Callable[[Node, Request], Receipt]
    """Answers a request of a language model; the node keeps the trace, to open cells of it."""


def _cheaper_weights(node: Node, request: Request) -> Receipt:
    """Other weights of the same shape; tables stay true, since their rows are opened under the model id."""
    model = node.model
    tables = {weight for plan in model.program.plans for weight, _ in plan.tables}

    def four_bits(w: Matrix) -> Matrix:
        high = np.clip((w.q[:1].astype(np.int16) + 8) >> 4 << 4, -128, 112).astype(np.int8)
        return replace(w, q=np.concatenate([high, np.zeros_like(w.q[1:])]))

    changed = {n: four_bits(w) for n, w in model.weights.items() if isinstance(w, Matrix) and n not in tables}
    return _claim(node, request, _generate(_reweighted(model, changed), request, node.kernels))


def _lower_precision(node: Node, request: Request) -> Receipt:
    """One limb of activations where the program says two."""

    def coarse(step: Step) -> Step:
        return replace(step, op=replace(step.op, limbs=1)) if isinstance(step.op, Linear) else step

    return _other_program(node, request, coarse)


def _skipped_layer(node: Node, request: Request) -> Receipt:
    """The middle block adds nothing: what it would add to its residual stream is taken as zero."""
    model = node.model
    segments = [s for s in model.program.segments if any(isinstance(n.op, Attention) for n in s.nodes)]
    steps = segments[len(segments) // 2].nodes
    added = {name for s in steps if isinstance(s.op, Add) for name in s.inputs}
    changed = {}
    for step in steps:
        if isinstance(step.op, Linear) and added.intersection(step.outputs):
            w = model.matrix(step.op.weight)
            none = None if w.bias is None else np.zeros_like(w.bias)
            changed[step.op.weight] = Matrix(np.zeros_like(w.q), w.scale, none)
    return _claim(node, request, _generate(_reweighted(model, changed), request, node.kernels))


def _shortened_context(node: Node, request: Request) -> Receipt:
    """Attention over the last WINDOW positions only."""

    def short(step: Step) -> Step:
        return replace(step, op=replace(step.op, window=WINDOW)) if isinstance(step.op, Attention) else step

    return _other_program(node, request, short)


def _other_seed(node: Node, request: Request) -> Receipt:
    """Tokens drawn with a seed of the node's choice, so that it can pick among answers."""
    asked = _generation(request)
    other = replace(asked, seed=bytes(b ^ 0xFF for b in asked.seed))
    session = _generate(node.model, replace(request, generation=other), node.kernels)
    return _claim(node, request, session)


def _edited_answer(node: Node, request: Request) -> Receipt:
    """One token of the answer is another one, and the rest goes on from it honestly."""
    session, _, _ = _edit(node.model, request, node.kernels)
    return _claim(node, request, session)


def _edit_moved_back(node: Node, request: Request) -> Receipt:
    """As before, and the row that the head reads is altered so that the head gives the edited token."""
    session, row, value = _edit(node.model, request, node.kernels)
    session.trace.arrays[_head_input(node.model)][row] = value
    return _claim(node, request, session)


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


def _claim(node: Node, request: Request, session: Session) -> Receipt:
    """Commit to a session's trace as if it were that of ``request`` on the node's model."""
    program = node.model.program
    trace = Trace(program, 0)
    trace.arrays = session.trace.arrays
    inputs = inputs_of(request, program, node.model.model_id)
    prompt = next(iter(inputs.values())).shape[0]
    reason = stop_reason(_generation(request), session.answer, node.card.vocabulary)
    return node.commit(Session(0, request, inputs, prompt, trace, session.answer, reason=reason))


def _reweighted(model: Model, changed: dict[str, Matrix]) -> Model:
    """The model with other weights under its own name."""
    weights: dict[str, Weight] = {**model.weights, **changed}
    return Model(model.card, weights)


def _other_program(node: Node, request: Request, change: Callable[[Step], Step]) -> Receipt:
    """Run other operations than the program's on the same weights."""
    true = node.card
    program = replace(
        true.program,
        segments=tuple(replace(s, nodes=tuple(map(change, s.nodes))) for s in true.program.segments),
    )
    liar = Model(ModelCard(program, true.tokenizer, true.template, true.roots), node.model.weights)
    session = _generate(liar, replace(request, model_id=liar.model_id), node.kernels)
    return _claim(node, request, session)


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
