"""NumPy's files: what NumPy writes is read back, and everything else is a typed error before it is read."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.encoding.npy import map_npy, npy_header
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError


@pytest.mark.parametrize("dtype", ["int8", "<i2", ">i4", "<i8", "bool", "uint8", "<f2", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 4), (2, 0, 3), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read(tmp_path: Path, dtype: str, shape: tuple[int, ...], order: Any) -> None:
    count = int(np.prod(shape, dtype=int))
    x = np.arange(count).reshape(shape).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", x)
    found = map_npy(tmp_path / "x.npy")
    np.testing.assert_array_equal(found, x)
    assert found.dtype == x.dtype
    assert not found.size or not found.flags.writeable


def test_version_2_and_other_spaces() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.zeros((2, 3), "<f4"), version=(2, 0))
    stream.seek(0)
    assert npy_header(stream, "x").shape == (2, 3)
    text = b"{'descr':'<f4','fortran_order':True,'shape':(2,)}"
    found = npy_header(io.BytesIO(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text), "x")
    assert (found.shape, found.fortran, found.offset, found.nbytes) == ((2,), True, 10 + len(text), 8)


def made(text: str, version: bytes = b"\1\0") -> io.BytesIO:
    data = text.encode("latin-1")
    return io.BytesIO(
        b"\x93NUMPY" + version + len(data).to_bytes(2 if version[0] == 1 else 4, "little") + data
    )


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (io.BytesIO(b""), FormatError),
        (io.BytesIO(b"PK\3\4" + bytes(60)), FormatError),
        (io.BytesIO(b"\x80\x04\x95" + bytes(60)), FormatError),
        (made(GOOD, b"\3\0"), UnsupportedError),
        (made(GOOD, b"\1\1"), UnsupportedError),
        (io.BytesIO(made(GOOD).getvalue()[:-1]), FormatError),
        (made(GOOD + " " * 5000), LimitError),
        (made("{" * 3000), FormatError),
        (made("-" * 3000 + "1"), FormatError),
        (made(GOOD.replace("'<f4'", "'|O'")), UnsupportedError),
        (made(GOOD.replace("'<f4'", "'<c8'")), UnsupportedError),
        (made(GOOD.replace("'<f4'", "'<U8'")), UnsupportedError),
        (made(GOOD.replace("'<f4'", "'<f3'")), UnsupportedError),
        (made(GOOD.replace("'<f4'", "[('a', '<f4')]")), UnsupportedError),
        (made(GOOD.replace("(2, 3)", "(-2, 3)")), FormatError),
        (made(GOOD.replace("(2, 3)", "[2, 3]")), FormatError),
        (made(GOOD.replace("(2, 3)", "(2, 3, __import__('os'))")), FormatError),
        (made(GOOD.replace("(2, 3)", "(" + "1, " * 10 + ")")), LimitError),
        (made(GOOD.replace("(2, 3)", "(9999999999999999, 9999999999999999)")), LimitError),
        (made(GOOD.replace("(2, 3)", "(" + "9" * 40 + ",)")), LimitError),
        (made(GOOD.replace("False", "0")), FormatError),
        (made(GOOD.replace("'shape'", "'shapes'")), FormatError),
        (made(GOOD[:-2] + "'more': 1}"), FormatError),
    ],
)
def test_headers_that_are_none(stream: io.BytesIO, error: type) -> None:
    with pytest.raises(error):
        npy_header(stream, "x")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_after_the_mark(data: bytes) -> None:
    with pytest.raises(InputError):
        npy_header(io.BytesIO(b"\x93NUMPY\1\0" + data), "x")


def test_files_that_are_cut_off_go_on_or_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((3, 4), np.float32))
    data = path.read_bytes()
    for wrong in (data[:-1], data + b"\0", data[:20], b""):
        path.write_bytes(wrong)
        with pytest.raises(FormatError):
            map_npy(path)
    with path.open("wb") as stream:  # a header that states terabytes, in a small file
        stream.write(made(GOOD.replace("(2, 3)", "(1000000, 1000000)")).getvalue())
    with pytest.raises(FormatError, match="its header states 4000000000000"):
        map_npy(path)
    for none in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError):
            map_npy(none)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe"):
        map_npy(tmp_path / "pipe")
