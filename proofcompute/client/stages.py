"""Reach the node of a stage over HTTP (docs/spec/pipelines.md#calls)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.client.libraries import load
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding.strict_json import read_json
from proofcompute.errors import InputError, ProofcomputeError, ServiceError, VerificationError
from proofcompute.limits import GIB, KIB, MAX_RECEIPT
from proofcompute.openai import OpenCall
from proofcompute.program.program import Program
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import MAX_BOUNDARY, Challenge, Request
from proofcompute.protocol.stage_calls import (
    MAX_CALL,
    AgainCall,
    FinishCall,
    GiveCall,
    RowsCall,
    SignCall,
    StepCall,
    StepResult,
    decode_handle,
    decode_roots,
    decode_rows,
    encode_handle,
)
from proofcompute.protocol.statement import rows_from_bytes
from proofcompute.prover.stages import HandedError, NotKeptError, StageAnswer

__all__ = ["HttpStage"]

_T = TypeVar("_T")

_SECONDS: Final = 600.0
"""Seconds that a call may take."""
_ERROR: Final = 2 * MAX_BOUNDARY + 64 * KIB
"""Most bytes of an error that are read."""
_SHOWN: Final = 300
"""Characters of an error that are repeated."""


@final
class HttpStage:
    """A stage behind an address: a :class:`proofcompute.client.pipeline.StageLink`.

    Args:
        url: address of the service, such as ``http://127.0.0.1:8001``.
        program: the program that the pipeline serves.
        token: bearer token that the service asks for, or None.
        seconds: for how long a call may take.

    Its calls raise ServiceError if the node cannot be reached or refuses, and VerificationError (step 1) if
    what it sends is malformed or too long.
    """

    def __init__(
        self, url: str, program: Program, *, token: str | None = None, seconds: float = _SECONDS
    ) -> None:
        self._library = load()
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._client = self._library.Client(base_url=url, timeout=seconds, headers=headers, trust_env=False)
        self._program, self._seconds = program, seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def begin(self, request: Request) -> None:
        """See StageLink."""
        self._post("begin", request.encode(), 0)

    def step(self, digest: bytes, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        """See StageLink."""
        data = self._post("step", StepCall(digest, end, tuple(tokens), tuple(handed)).encode(), MAX_CALL)
        found = _decoded(StepResult.decode, data)
        emitted: dict[str, Array] = {}
        for name, rows in found.emitted.items():
            if name not in self._program.outputs:
                raise VerificationError(1, "a stage emitted what is no output of the program")
            spec = self._program.specs[name]
            emitted[name] = _decoded(partial(rows_from_bytes, spec, what=name), rows)
        return StageAnswer(found.boundary, found.handed, emitted)

    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> tuple[bytes, ...]:
        """See StageLink."""
        specs = self._program.specs
        rows = {n: np.ascontiguousarray(x, specs[n].numpy).tobytes() for n, x in outputs.items()}
        return _decoded(decode_roots, self._post("finish", FinishCall(digest, rows).encode(), MAX_CALL))

    def sign(self, digest: bytes, roots: Sequence[bytes]) -> bytes:
        """See StageLink."""
        return self._post("sign", SignCall(digest, tuple(roots)).encode(), MAX_RECEIPT)

    def open(self, request: Request, receipt: bytes, challenge: Challenge) -> bytes:
        """Return the opening of a challenge, of at most 1 GiB.

        Raises NotKeptError besides if the node no longer keeps the trace; StageOpener brings it back.
        """
        return self._post("open", OpenCall(request, receipt, challenge).encode(), GIB)

    def again(self, request: Request, receipt: bytes, roots: Sequence[bytes]) -> bytes:
        """See TraceLink."""
        call = AgainCall(request.encode(), receipt, tuple(roots))
        return _decoded(decode_handle, self._post("again", call.encode(), 2 * DIGEST))

    def give(self, handle: bytes, end: int, rows: Sequence[bytes]) -> None:
        """See TraceLink."""
        self._post("give", GiveCall(handle, end, tuple(rows)).encode(), 0)

    def keep(self, handle: bytes) -> bool:
        """See TraceLink; the service says nothing until the trace is there."""
        self._post("keep", encode_handle(handle), 0)
        return True

    def rows(self, request: Request, receipt: bytes, a: int, b: int) -> tuple[bytes, ...]:
        """See TraceLink."""
        call = RowsCall(request.encode(), receipt, a, b)
        return _decoded(decode_rows, self._post("rows", call.encode(), MAX_CALL))

    def _post(self, call: str, body: bytes, most: int) -> bytes:
        """Send a call and return its result, of at most ``most`` bytes."""
        until = time.monotonic() + self._seconds
        try:
            with self._client.stream("POST", f"/v1/stage/{call}", content=body) as response:
                fine = response.status_code < 300
                data = _read(response, most if fine else _ERROR, until)
                if fine:
                    return data
                raise _refused(call, response.status_code, data)
        except self._library.HTTPError as e:
            raise ServiceError(f"the node of a stage cannot be reached: {type(e).__name__}") from e


def _read(response: Any, most: int, until: float) -> bytes:
    """Read a body.

    Raises VerificationError if it has more than ``most`` bytes, and ServiceError if it still comes at
    ``until``: the client's own time-out begins anew with each byte.
    """
    parts, size = list[bytes](), 0
    for part in response.iter_raw():
        if time.monotonic() > until:
            raise ServiceError("the node of a stage sends too slowly")
        size += len(part)
        if size > most:
            raise VerificationError(1, f"a stage sent more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _refused(call: str, status: int, data: bytes) -> ProofcomputeError:
    text, shown = data[:_SHOWN].decode("utf-8", "replace"), b""
    try:
        error = read_json(data, _ERROR).get("error")
        if isinstance(error, dict):
            text = str(error.get("message"))[:_SHOWN]
            shown = bytes.fromhex(str(error.get("boundary", "")))
    except (InputError, ValueError):
        pass  # whatever it is, it is a refusal
    if status == 409 and shown:
        return HandedError(text, shown)
    if status == 428:
        return NotKeptError(text)
    return ServiceError(f"a stage refuses {call} with status {status}: {text}")


def _decoded(decode: Callable[[bytes], _T], data: bytes) -> _T:
    """Decode what a node sent. Raises VerificationError (step 1) if it is malformed."""
    try:
        return decode(data)
    except InputError as e:
        raise VerificationError(1, f"what a stage sent cannot be read: {e}") from e
