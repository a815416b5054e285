"""Finds where an error leads to a secret: in its frames, their locals and closures, and its causes."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from adversary.setting import key, model
from proofcompute.freivalds.columns import SecretColumns
from proofcompute.verifier import Key


def errors(error: BaseException) -> Iterator[BaseException]:
    """An error and all that are behind it."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        e = waiting.pop()
        if e is not None and id(e) not in seen:
            seen.add(id(e))
            yield e
            waiting += [e.__cause__, e.__context__]


def frames(error: BaseException) -> Iterator[types.FrameType]:
    for e in errors(error):
        traceback = e.__traceback__
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next


def shown(value: object, depth: int = 8) -> Iterator[bytes]:
    """All bytes and texts that somebody sees who prints a value, whole arrays included."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        yield bytes(value)
    elif isinstance(value, np.ndarray):
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping) and depth:
        for item in (*value.keys(), *value.values()):
            yield from shown(item, depth - 1)
    elif isinstance(value, (tuple, list, set, frozenset)) and depth:
        for item in value:
            yield from shown(item, depth - 1)
    elif isinstance(value, partial) and depth:
        yield from shown((value.func, value.args, value.keywords), depth - 1)
    elif isinstance(value, types.FunctionType) and depth:
        yield from shown([cell.cell_contents for cell in value.__closure__ or ()], depth - 1)
    elif isinstance(value, types.GeneratorType) and depth:
        yield from shown(dict(value.gi_frame.f_locals) if value.gi_frame else {}, depth - 1)
    else:
        with np.printoptions(threshold=10**7):
            yield repr(value).encode()


def reached(error: BaseException) -> Iterator[tuple[str, bytes]]:
    """What an error leads to, with the names of function and local."""
    for e in errors(error):
        for data in shown((e.args, vars(e), str(e))):
            yield "error", data
    for frame in frames(error):
        if "/proofcompute/" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            for name, value in frame.f_locals.items():
                for data in shown(value):
                    yield f"{frame.f_code.co_qualname}: {name}", data


def pieces(array: Any) -> list[bytes]:
    """The beginnings of rows of a secret array, as bytes and as text."""
    flat = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
    return [row[:3].tobytes() for row in flat] + [str(int(row[0])).encode() for row in flat if row[0] > 10**6]


def found(error: BaseException, secrets: list[bytes]) -> list[str]:
    """Where an error leads to a secret; and to numbers of a field, which projections are."""
    places = [where for where, data in reached(error) if any(secret in data for secret in secrets)]
    for frame in frames(error):
        if "/proofcompute/" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            places += [
                f"{frame.f_code.co_qualname}: {name}"
                for name, value in frame.f_locals.items()
                if isinstance(value, np.ndarray) and value.dtype == np.uint32
            ]
    return places


def secrets_of(columns: SecretColumns, program: Any) -> list[bytes]:
    out = [columns.seed, columns.seed.hex().encode(), repr(columns.seed).encode()]
    for spec in program.weights:
        if spec.kind == "matrix":
            out += pieces(columns.s(spec.name, spec.rows)) + pieces(columns.v(spec.name, spec.rows))
    return out


@cache
def of_the_key() -> list[bytes]:
    return secrets_of(key().columns, model().program)


def leaks(error: BaseException, holder: Key) -> list[str]:
    """Where an error leads to a secret of a key."""
    whose = of_the_key() if holder.columns is key().columns else secrets_of(holder.columns, holder.program)
    return found(error, whose)
