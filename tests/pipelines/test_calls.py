"""What a client and a stage send each other is read in one form only, and nothing raw escapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError
from proofcompute.protocol import stage_calls
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.stage_calls import (
    AgainCall,
    FinishCall,
    GiveCall,
    RowsCall,
    SignCall,
    StepCall,
    StepResult,
)

HANDLE, ROOTS = bytes(range(32)), (bytes(32), bytes([1] * 32))
CALLS: dict[str, tuple[Any, bytes, Callable[[bytes], Any]]] = {
    type(one).__name__: (one, one.encode(), type(one).decode)
    for one in (
        StepCall(HANDLE, 7, (1, 2), (Handed(b"boundary", (b"rows", b"")),)),
        StepResult(b"boundary", {1: b"rows", 4: b""}, {"token": b"\0\0\0\0"}),
        FinishCall(HANDLE, {"token": b"\1\0\0\0"}),
        SignCall(HANDLE, ROOTS),
        AgainCall(b"request", b"receipt", ROOTS),
        GiveCall(HANDLE, 9, (b"rows", b"more")),
        RowsCall(b"request", b"receipt", 3, 5),
    )
}
CALLS |= {
    "roots": (ROOTS, stage_calls.encode_roots(ROOTS), stage_calls.decode_roots),
    "handle": (HANDLE, stage_calls.encode_handle(HANDLE), stage_calls.decode_handle),
    "rows": ((b"a", b"bc"), stage_calls.encode_rows((b"a", b"bc")), stage_calls.decode_rows),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_what_is_sent_is_what_is_read(name: str) -> None:
    wanted, data, decode = CALLS[name]
    assert decode(data) == wanted


@pytest.mark.parametrize("name", list(CALLS))
def test_whatever_else_is_read_has_one_form(name: str) -> None:
    """Every cut, every byte more, and every byte changed to any of some others."""
    _, data, decode = CALLS[name]
    for wrong in (*(data[:n] for n in range(len(data))), data + b"\0"):
        with pytest.raises(FormatError):
            decode(wrong)
    read = 0
    for at in range(len(data)):
        for flip in (1, 2, 0x20, 0x40, 0x80, 0xFF):
            changed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            try:
                found = decode(changed)
            except InputError:
                continue
            read += 1
            again = found.encode() if hasattr(found, "encode") else wire.encode(found)
            assert again == changed
    assert read


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (StepResult.decode, (b"", ((4, b""), (1, b"")), ())),
        (StepResult.decode, (b"", ((1, b""), (1, b"")), ())),
        (StepResult.decode, (b"", (), (("b", b""), ("a", b"")))),
        (FinishCall.decode, (HANDLE, (("a", b""), ("a", b"")))),
        (AgainCall.decode, (b"request", b"receipt", (bytes(31),))),
        (AgainCall.decode, (b"request", b"receipt")),
        (GiveCall.decode, (bytes(31), 1, ())),
        (GiveCall.decode, (HANDLE, 0, ())),
        (GiveCall.decode, (HANDLE, 1 << 21, ())),
        (GiveCall.decode, (HANDLE, 1, (1,))),
        (RowsCall.decode, (b"request", b"receipt", 0, 0)),
        (RowsCall.decode, (b"request", b"receipt", -1, 2)),
        (RowsCall.decode, (b"request", "receipt", 0, 2)),
        (stage_calls.decode_handle, bytes(33)),
        (stage_calls.decode_rows, b"rows"),
    ],
)
def test_values_that_are_no_call(decode: Callable[[bytes], Any], value: wire.Value) -> None:
    with pytest.raises(InputError):
        decode(wire.encode(value))
