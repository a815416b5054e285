"""Check that a program can run a request, and combine request and answer into a statement."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import FormatError, InputError, MismatchError
from proofcompute.program.program import Program
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.statement import Statement, rows_from_bytes

__all__ = ["inputs_of", "statement_of"]


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
    _check_indices(program, arrays)
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
        _check_indices(program, {name: answer})  # also the last token, which no row reads
        full[name] = np.concatenate([inputs[name], answer[:-1]])
    elif any(o.shape[0] != prompt for o in outputs.values()):
        raise FormatError("an output has another number of rows than the input")
    g = request.generation or Generation(1)
    return Statement(program, prompt, rows, full, outputs, g.sampling, request.draw_seed)


def _check_indices(program: Program, arrays: Mapping[str, Array]) -> None:
    for name, ids in arrays.items():
        size = program.index_limits.get(name)
        if size is None:
            continue
        if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < size):
            raise InputError(f"{name} holds an index outside 0..{size - 1}")
