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

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, U64, Array, Span
from proofcompute.engine import Engine, Session
from proofcompute.errors import ExecutionError, InputError
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.protocol.requests import inputs_of
from proofcompute.protocol.statement import draws
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import Trace
from proofcompute.prover.node import Node
from proofcompute.testing.altered import four_bits, one_limb, short_context, without_block
from proofcompute.testing.forging import generation_of

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
    """Answers a request of a language model; the node keeps the trace, so that it can open cells of it."""


def _cheaper_weights(node: Node, request: Request) -> Receipt:
    """Serve weights of four bits under the name of the true ones."""
    return _claim(node, request, _generate(four_bits(node.model), request, node.kernels))


def _lower_precision(node: Node, request: Request) -> Receipt:
    """Quantise activations to one limb where the program says two."""
    return _other_program(node, request, one_limb(node.model))


def _skipped_layer(node: Node, request: Request) -> Receipt:
    """Let the middle block add nothing to its residual stream."""
    return _claim(node, request, _generate(without_block(node.model), request, node.kernels))


def _shortened_context(node: Node, request: Request) -> Receipt:
    """Attend to the last WINDOW positions only."""
    return _other_program(node, request, short_context(node.model, WINDOW))


def _other_seed(node: Node, request: Request) -> Receipt:
    """Draw tokens with a seed of the node's choice, so that it can pick among answers."""
    asked = generation_of(request)
    other = replace(asked, seed=bytes(b ^ 0xFF for b in asked.seed))
    session = _generate(node.model, replace(request, generation=other), node.kernels)
    return _claim(node, request, session)


def _edited_answer(node: Node, request: Request) -> Receipt:
    """Replace one token of the answer, and go on from it honestly."""
    session, _, _ = _edit(node.model, request, node.kernels)
    return _claim(node, request, session)


def _edit_moved_back(node: Node, request: Request) -> Receipt:
    """Replace one token of the answer, and alter the row that the head reads so that it gives this token."""
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


# -- what cheats are made of -------------------------------------------------------------------------------
def _generate(model: Model, request: Request, kernels: Kernels) -> Session:
    engine = Engine(model, kernels, node=request.node)
    session = engine.add(request)
    engine.run(session)
    return session


def _claim(node: Node, request: Request, session: Session) -> Receipt:
    """Commit to a session's trace as if it were that of ``request`` on the node's model."""
    reason = stop_reason(generation_of(request), session.answer, node.card.vocabulary)
    program = node.model.program
    trace = Trace(program, 0)
    trace.arrays = session.trace.arrays
    inputs = inputs_of(request, program, node.model.model_id)
    prompt = next(iter(inputs.values())).shape[0]
    return node.commit(Session(0, request, inputs, prompt, trace, session.answer, reason=reason))


def _other_program(node: Node, request: Request, runs: Model) -> Receipt:
    """Run a model of another id, and claim that the node's ran."""
    session = _generate(runs, replace(request, model_id=runs.model_id), node.kernels)
    return _claim(node, request, session)


def _head_input(model: Model) -> str:
    """Return the name of the committed tensor that the segment with the answer reads."""
    plan = next(p for p in model.program.plans if p.emits)
    return plan.reads[0][0]


def _edit(model: Model, request: Request, kernels: Kernels) -> tuple[Session, int, F32]:
    """Generate an answer in which one token is replaced, and go on from it honestly.

    Returns the session, the row whose output was replaced, and a hidden state from which the head would have
    given that token: another row's, or if all rows give the same token, a negated one.
    """
    honest, asked = _generate(model, request, kernels), generation_of(request)
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
    """Return the token that the head gives in ``row`` on another hidden state; None if it has no result."""
    plan = next(p for p in model.program.plans if p.emits)
    source = Source(_OtherState(session, state), model, ComputeProducts(model.matrix))
    try:
        out = run(model.program, plan.index, [Span(0, row, row + 1)], source, kernels)
    except ExecutionError:
        return None
    return int(out[plan.emits[0]][0])


class _OtherState:
    """Serves one cell of the head, as a RowReader, with another row than the committed one."""

    def __init__(self, session: Session, state: F32) -> None:
        self.session = session
        self.state = state

    def read(self, name: str, span: Span) -> Array:
        return self.state[None]

    def prefix(self, name: str, span: Span) -> Array:
        return self.session.trace.arrays[name][: span.b]

    def whole(self, name: str, span: Span) -> Array:
        raise InputError("a language model reads all rows")

    def write(self, name: str, span: Span, rows: Array) -> None:
        """The token is returned by the interpreter."""

    def sampling(self, trace: int) -> Sampling:
        return generation_of(self.session.request).sampling

    def draws(self, span: Span) -> U64:
        return draws(self.session.request.draw_seed, span.a, span.b)
