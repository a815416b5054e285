"""Make a request of arrays, check that a program can run a request, and combine request and answer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError
from proofcompute.errors.arguments import given
from proofcompute.limits import KIB, MAX_REQUEST
from proofcompute.models.card import HasCard
from proofcompute.program.program import Program
from proofcompute.program.types import Spec
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.statement import Statement, rows_from_bytes

__all__ = ["array_request", "check_indices", "check_rows", "inputs_of", "rows_of", "statement_of"]

_ENVELOPE = 64 * KIB
"""More bytes than a request has besides the rows of its inputs."""


def array_request(
    model: HasCard,
    inputs: Mapping[str, Array] | Array,
    *,
    nonce: bytes | None = None,
    node: bytes = b"",
    suite: str = "sha256",
) -> Request:
    """Make a request for a model that takes arrays; a batch of n samples is n rows.

    Args:
        model: the model; also its card, or a key for it.
        inputs: an array for each input of the program by name, or the array of the only one: of the input's
            element type, and of its shape [*shape], for one row, or [n, *shape].
        nonce: 32 bytes that were never used before; None: from the operating system.
        node: public key of the node that must answer; empty for any.
        suite: hash suite of the trace.

    Raises InputError (FormatError, LimitError) if the model is a language model, an input is missing or
    unknown, an array has another type or shape or a number that is not finite, the inputs have different
    numbers of rows, or all of it is too much for one request.
    """
    card = model.card
    program = card.program
    if program.feedback:
        raise InputError("the model is a language model: it takes a prompt, not arrays")
    names = [name for name, _ in program.inputs]
    if isinstance(inputs, np.ndarray):
        if len(names) != 1:
            raise InputError(f"the model has {len(names)} inputs; name the array of each: {', '.join(names)}")
        inputs = {names[0]: inputs}
    if set(inputs) != set(names):
        wrong = sorted(set(inputs) ^ set(names))[0]
        raise InputError(
            f"there is {'no array for the' if wrong in names else 'an array for an unknown'} input {wrong}; "
            f"the model's inputs are {', '.join(names)}"
        )
    rows = {name: rows_of(spec, inputs[name], f"input {name}") for name, spec in program.inputs}
    if sum(a.nbytes for a in rows.values()) > MAX_REQUEST - _ENVELOPE:
        raise LimitError(f"the inputs have more bytes than the {MAX_REQUEST} of a request; ask in several")
    request = Request(
        model_id=card.model_id,
        inputs=tuple((name, a.tobytes()) for name, a in rows.items()),
        nonce=secrets.token_bytes(32) if nonce is None else nonce,
        node=node,
        suite=suite,
    )
    inputs_of(request, program, card.model_id)
    return request


def rows_of(spec: Spec, array: Array, what: str) -> Array:
    """Return an array as rows [n, *shape] of an input, little-endian; one of [*shape] is one row.

    Raises InputError as :func:`check_rows`.
    """
    found = given(array, np.ndarray, what)
    check_rows(spec, found.dtype, found.shape, what)
    return np.ascontiguousarray(found[np.newaxis] if found.shape == spec.shape else found, spec.numpy)


def check_rows(spec: Spec, dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> None:
    """Raise InputError unless arrays of this type, in any byte order, and shape are rows of an input."""
    rows = shape == spec.shape or (shape[1:] == spec.shape and len(shape) == len(spec.shape) + 1)
    if not rows or dtype.newbyteorder("=") != spec.numpy.newbyteorder("="):
        several = ", ".join(["n", *map(str, spec.shape)])
        raise InputError(
            f"{what}: {dtype.name} {list(shape)}, where the model takes {spec.numpy.name} "
            f"{list(spec.shape)} for one row, or [{several}] for n rows"
        )


def inputs_of(request: Request, program: Program, model_id: bytes) -> dict[str, Array]:
    """Return the input rows of a request by name.

    Raises MismatchError if the request is for another model, and InputError if the program cannot run it.
    """
    if request.model_id != model_id:
        raise MismatchError(
            f"the request is for model {request.model_id.hex()}, not {model_id.hex()}: "
            "make one for this model"
        )
    if [n for n, _ in request.inputs] != [n for n, _ in program.inputs]:
        raise InputError(f"the program's inputs are {', '.join(n for n, _ in program.inputs)}")
    arrays = {
        name: rows_from_bytes(spec, data, f"input {name}")
        for (name, spec), (_, data) in zip(program.inputs, request.inputs, strict=True)
    }
    rows = {a.shape[0] for a in arrays.values()}
    if rows == {0}:
        raise InputError("the prompt is empty; give at least one token or row")
    if len(rows) != 1:
        raise InputError("the inputs have different numbers of rows")
    (prompt,) = rows
    if program.feedback != (request.generation is not None):
        raise InputError("generation settings belong to language models, and only to them")
    longest = prompt + (request.generation.max_tokens - 1 if request.generation else 0)
    if longest > program.context:
        raise InputError(
            f"{prompt} prompt rows and the answer need {longest} rows, "
            f"but the context holds {program.context}: "
            "shorten the prompt or ask for fewer tokens"
        )
    check_indices(program, arrays)
    return arrays


def statement_of(
    request: Request, program: Program, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> Statement:
    """Combine request and answer into a statement. ``inputs`` come from :func:`inputs_of`.

    Raises FormatError if an output has an impossible number of rows, and InputError if the answer holds an
    index outside its range.
    """
    prompt = next(iter(inputs.values())).shape[0]
    full = dict(inputs)
    rows = prompt
    if program.feedback:
        (name, _), answer = program.inputs[0], outputs[program.outputs[0]]
        if answer.shape[0] < 1:
            raise FormatError("the answer is empty")
        rows = prompt + answer.shape[0] - 1
        check_indices(program, {name: answer})  # also the last token, which no row reads
        full[name] = np.concatenate([inputs[name], answer[:-1]])
    elif any(o.shape[0] != (1 if program.pooled else prompt) for o in outputs.values()):
        wanted = "one row" if program.pooled else "as many rows as the input"
        raise FormatError(f"an output does not have {wanted}")
    g = request.generation or Generation(1)
    return Statement(program, prompt, rows, full, outputs, g.sampling, request.draw_seed)


def check_indices(program: Program, arrays: Mapping[str, Array]) -> None:
    """Raise InputError if a public tensor of indices, by name, holds one outside its range."""
    for name, ids in arrays.items():
        size = program.index_limits.get(name)
        if size is None:
            continue
        if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < size):
            raise InputError(f"{name} holds an index outside 0..{size - 1}")
