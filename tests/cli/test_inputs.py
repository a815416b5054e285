"""Arrays from files: what is read is what a model takes, and everything else is refused by name."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from cli.driver import Files, done, refused
from cli.networks import pixel_model, typed_model
from proofcompute.errors import InputError, LimitError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request


@pytest.fixture(scope="module")
def typed() -> Model:
    return typed_model()


@pytest.fixture(scope="module")
def home(typed: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card whose model has five inputs, and one whose model takes a picture."""
    home = tmp_path_factory.mktemp("inputs")
    typed.card.save(home / "typed")
    pixel_model().card.save(home / "pixels")
    return home


def arrays(rows: int | None = 2) -> dict[str, np.ndarray]:
    """Arrays of the five inputs; None: one row, without an axis of rows."""
    rng = np.random.default_rng(0)
    n = () if rows is None else (rows,)
    return {
        "x": rng.standard_normal((*n, 2, 3)).astype(np.float32),
        "n": rng.integers(-(2**31), 2**31, (*n, 4)).astype(np.int32),
        "big": rng.integers(-(2**62), 2**62, n),
        "flag": rng.integers(0, 2, (*n, 2)).astype(bool),
        "image": rng.integers(0, 256, (*n, 4, 6, 3)).astype(np.uint8),
    }


def words(folder: Path, given: dict[str, np.ndarray]) -> list[object]:
    """Write each array as .npy and return the options that name them."""
    found: list[object] = []
    for name, array in given.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
        found += ["--input", f"{name}={folder / name}.npy"]
    return found


def rows_of(request: Path) -> dict[str, bytes]:
    return dict(Request.decode(request.read_bytes()).inputs)


# -- what is read ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rows", [None, 1, 3])
def test_arrays_of_every_type(home: Path, tmp_path: Path, typed: Model, rows: int | None) -> None:
    """From .npy and from .json, by the command line and by the library: the same rows."""
    given = arrays(rows)
    made = done("request", home / "typed", *words(tmp_path, given), "-o", tmp_path / "npy")
    assert made["rows"] == (rows or 1)
    (tmp_path / "all.json").write_text(json.dumps({k: a.tolist() for k, a in given.items()}))
    done("request", home / "typed", "--input", tmp_path / "all.json", "-o", tmp_path / "json")
    right = {k: np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes() for k, a in given.items()}
    assert rows_of(tmp_path / "npy") == rows_of(tmp_path / "json") == right
    asked = pc.array_request(typed, given, nonce=bytes(32), suite="keccak256")
    assert dict(asked.inputs) == right
    assert (asked.nonce, asked.suite, asked.model_id) == (bytes(32), "keccak256", typed.model_id)


def test_files_may_hold_other_orders_of_bytes_and_axes(home: Path, tmp_path: Path) -> None:
    given = arrays()
    done("request", home / "typed", *words(tmp_path, given), "-o", tmp_path / "plain")
    swapped = {k: np.asfortranarray(a.astype(a.dtype.newbyteorder(">"))) for k, a in given.items()}
    done("request", home / "typed", *words(tmp_path, swapped), "-o", tmp_path / "swapped")
    header = (tmp_path / "x.npy").read_bytes()[:128]
    assert b"'>f4'" in header
    assert b"'fortran_order': True" in header
    assert rows_of(tmp_path / "plain") == rows_of(tmp_path / "swapped")


def test_headers_as_others_write_them(home: Path, tmp_path: Path) -> None:
    """Version 2, double quotes, other spaces, no comma at the end."""
    image = arrays()["image"]
    header = b"{\"shape\":(2,4, 6,3),\"fortran_order\" : False, 'descr': '|u1'}"
    path = tmp_path / "image.npy"
    path.write_bytes(b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header + image.tobytes())
    done("request", home / "pixels", "--input", path, "-o", tmp_path / "out")
    assert rows_of(tmp_path / "out") == {"image": image.tobytes()}


def test_one_input_of_several_from_json(home: Path, tmp_path: Path) -> None:
    given = arrays()
    (tmp_path / "n.json").write_text(json.dumps({"n": given["n"].tolist()}))
    others = {k: a for k, a in given.items() if k != "n"}
    options = ("--input", f"n={tmp_path / 'n.json'}")
    done("request", home / "typed", *words(tmp_path, others), *options, "-o", tmp_path / "out")
    assert rows_of(tmp_path / "out")["n"] == given["n"].tobytes()


def test_names_with_an_equals_sign_are_files_if_there_are_such(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "a=b.npy"
    np.save(path, arrays()["image"])
    done("request", home / "pixels", "--input", path, "-o", tmp_path / "out")
    done("request", home / "pixels", "--input", f"image={path}", "-o", tmp_path / "again")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "again")


def test_floats_of_json_are_rounded_once(home: Path, tmp_path: Path) -> None:
    values = [[0.1, 1, -0.0], [1e-46, 16777217, 3.4028235e38]]
    given = {k: a.tolist() for k, a in arrays(None).items()} | {"x": values}
    (tmp_path / "all.json").write_text(json.dumps(given))
    done("request", home / "typed", "--input", tmp_path / "all.json", "-o", tmp_path / "out")
    assert rows_of(tmp_path / "out")["x"] == np.array(values, np.float32).tobytes()


# -- .npy files that are refused -----------------------------------------------------------------------------
class Boom:
    """An object whose pickle, if anybody loaded it, would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_header(header: bytes, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + data


GOOD = np.zeros((2, 4, 6, 3), np.uint8)
HEAD = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 6, 3), }"
BAD_NPY = {
    "empty": (b"", "does not begin"),
    "text": (b"1,2,3\n", "does not begin"),
    "a zip": (b"PK\3\4" + bytes(100), "does not begin"),
    "a pickle": (pickle.dumps([1, 2]), "does not begin"),
    "cut off in its numbers": (npy(GOOD)[:-1], "is cut off"),
    "cut off in its header": (npy(GOOD)[:60], "cut off in its header"),
    "more numbers than stated": (npy(GOOD) + b"\0", "goes on"),
    "another type": (npy(GOOD.astype(np.float64)), "'<f8', where the model takes uint8"),
    "wider integers": (npy(GOOD.astype(np.int64)), "int64"),
    "signed bytes": (npy(GOOD.astype(np.int8)), "int8 [2, 4, 6, 3], where the model takes uint8 [4, 6, 3]"),
    "half floats": (npy(GOOD.astype(np.float16)), "'<f2'"),
    "complex numbers": (npy(GOOD.astype(np.complex64)), "'<c8'"),
    "texts": (npy(np.array(["a"])), "'<U1'"),
    "records": (npy(np.zeros(2, [("a", "u1"), ("b", "u1")])), "elements of type"),
    "another shape": (npy(GOOD[:, :3]), "[2, 3, 6, 3]"),
    "channels first": (npy(GOOD.transpose(0, 3, 1, 2)), "[2, 3, 4, 6]"),
    "another axis": (npy(GOOD[np.newaxis]), "[1, 2, 4, 6, 3]"),
    "no row": (npy(GOOD[:0]), "at least one"),
    "too many rows": (npy(np.zeros((17, 4, 6, 3), np.uint8)), "context holds 16"),
    "a large shape": (with_header(HEAD.replace(b"(4", b"(99999999999, 4")), "more than"),
    "a negative size": (with_header(HEAD.replace(b"(4", b"(-4")), "none of an .npy"),
    "a huge number": (with_header(HEAD.replace(b"(4", b"(" + b"9" * 400)), "shape"),
    "many axes": (with_header(HEAD.replace(b"(4", b"(" + b"1, " * 40 + b"4")), "shape"),
    "a huge header": (with_header(HEAD + b" " * 60000, GOOD[0].tobytes()), "header of 60062 bytes"),
    "a header of gigabytes": (b"\x93NUMPY\2\0\xff\xff\xff\xff", "header of 4294967295 bytes"),
    "an unknown version": (with_header(HEAD, GOOD[0].tobytes(), b"\3\0"), "version 3.0"),
    "no shape": (with_header(b"{'descr': '|u1', 'fortran_order': False}"), "none of an .npy"),
    "a key twice": (with_header(HEAD[:-1] + b"'descr': '|u1'}", GOOD[0].tobytes()), "none of an .npy"),
    "code in the header": (with_header(HEAD[:-1] + b"'x': __import__('os').getcwd()}"), "none of an .npy"),
    "code as a shape": (with_header(HEAD.replace(b"(4, 6, 3)", b"(lambda: 0)()")), "none of an .npy"),
    "no dictionary": (with_header(b"[1, 2]"), "none of an .npy"),
    "a shape that is no tuple": (with_header(HEAD.replace(b"(4, 6, 3)", b"'|u1'")), "none of an .npy"),
    "an order that is neither": (with_header(HEAD.replace(b"False", b"(1,)")), "none of an .npy"),
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_bad_arrays(home: Path, tmp_path: Path, name: str) -> None:
    data, said = BAD_NPY[name]
    path = tmp_path / "bad.npy"
    path.write_bytes(data)
    assert said in refused("request", home / "pixels", "--input", path, "-o", tmp_path / "out")
    assert os.listdir(tmp_path) == ["bad.npy"]
    assert path.read_bytes() == data


def test_pickles_are_not_loaded(home: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = tmp_path / "bad.npy"
    np.save(path, np.array([Boom(made)], object), allow_pickle=True)
    assert "pickled" in refused("request", home / "pixels", "--input", path, "-o", tmp_path / "out")
    assert os.listdir(tmp_path) == ["bad.npy"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite(home: Path, tmp_path: Path, value: float) -> None:
    given = arrays()
    given["x"][1, 1, 1] = value
    said = refused("request", home / "typed", *words(tmp_path, given), "-o", tmp_path / "out")
    assert "x: holds a number that is not finite" in said
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_bools(home: Path, tmp_path: Path) -> None:
    options = words(tmp_path, arrays())
    path = tmp_path / "flag.npy"
    data = bytearray(path.read_bytes())
    data[-1] = 2
    path.write_bytes(data)
    assert "no bool" in refused("request", home / "typed", *options, "-o", tmp_path / "out")


# -- JSON that is refused ------------------------------------------------------------------------------------
def changed(**values: object) -> str:
    """The JSON of one row of every input, some of them changed."""
    return json.dumps({k: a.tolist() for k, a in arrays(None).items()} | values)


BAD_JSON = {
    "not JSON": ("{", "not JSON"),
    "not UTF-8": ("\udcff", "UTF-8"),
    "a list": ("[1, 2]", "not an object"),
    "nothing": ("", "not JSON"),
    "a key twice": ('{"n": [1, 2, 3, 4], "n": [1, 2, 3, 4]}', "twice"),
    "an unknown name": (changed(other=[1]), "'other'"),
    "a name that is missing": (json.dumps({"n": [1, 2, 3, 4]}), "give --input x=FILE"),
    "too deep": ('{"n": ' + "[" * 40 + "]" * 40 + "}", "deeper than 32"),
    "far too deep": ("[" * 1_000_000, "deeper than 32"),
    "too many values": ('{"n": [' + "1," * (1 << 20) + "1]}", "more than 1048576 values"),
    "a ragged list": (changed(x=[[1, 2, 3], [1, 2]]), "x are no array"),
    "lists beside numbers": (changed(x=[[1, 2, 3], 1]), "x are no array"),
    "another shape": (changed(n=[1, 2, 3]), "int32 [3], where the model takes int32 [4]"),
    "an empty list": (changed(n=[]), "int32 [0]"),
    "a number without a list": (changed(n=1), "int32 []"),
    "NaN": (changed(x=[[1, 2, float("nan")], [1, 2, 3]]), "NaN is not JSON"),
    "an infinity": (changed(x=[[1, 2, float("inf")], [1, 2, 3]]), "Infinity is not JSON"),
    "a float beyond float32": (changed(x=[[1, 2, 3e39], [1, 2, 3]]), "3e+39, which is beyond f32"),
    "a float beyond binary64": (changed().replace("]", ", 1e400]", 1), "beyond binary64"),
    "NaN for an integer": (changed(n=[1, 2, 3, float("nan")]), "NaN is not JSON"),
    "a float for an integer": (changed(n=[1, 2, 3, 4.0]), "4.0, which is no i32"),
    "a bool for an integer": (changed(n=[1, 2, 3, True]), "true, which is no i32"),
    "a bool for a float": (changed(x=[[1, 2, True], [1, 2, 3]]), "true, which is no f32"),
    "an integer for a bool": (changed(flag=[1, 0]), "1, which is no bool"),
    "null": (changed(n=[1, 2, 3, None]), "null, which is no i32"),
    "a text": (changed(n=[1, 2, 3, "4"]), '"4", which is no i32'),
    "an object": (changed(n=[1, 2, 3, {}]), "{}, which is no i32"),
    "an integer too large": (changed(n=[1, 2, 3, 2**31]), "2147483648, which is no i32"),
    "an integer too small": (changed(n=[1, 2, 3, -(2**31) - 1]), "-2147483649, which is no i32"),
    "a negative byte": (changed(image=(np.zeros((4, 6, 3), int) - 1).tolist()), "-1, which is no u8"),
    "an integer of many digits": (changed(n=[1, 2, 3, int("9" * 100)]), "100 characters"),
    "an integer beyond 64 bits": (changed(big=2**63), "outside of 64 bits"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(home: Path, tmp_path: Path, name: str) -> None:
    text, said = BAD_JSON[name]
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert said in refused("request", home / "typed", "--input", path, "-o", tmp_path / "out")
    assert os.listdir(tmp_path) == ["bad.json"]


def test_json_for_another_input(home: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"x": [[1, 2, 3], [1, 2, 3]]}')
    option = f"n={tmp_path / 'x.json'}"
    assert "'x'" in refused("request", home / "typed", "--input", option, "-o", tmp_path / "out")
    (tmp_path / "x.json").write_text("{}")
    assert "no list for input n" in refused(
        "request", home / "typed", "--input", option, "-o", tmp_path / "out"
    )


# -- the option ----------------------------------------------------------------------------------------------
def test_what_the_option_does_not_take(home: Path, tmp_path: Path) -> None:
    options, out = words(tmp_path, arrays()), ("-o", tmp_path / "out")
    x = tmp_path / "x.npy"
    assert "give --input image=FILE" in refused("request", home / "typed", *options[:-2], *out)
    assert "say which input" in refused("request", home / "typed", "--input", x, *out)
    assert "no input y" in refused("request", home / "typed", "--input", f"y={x}", *out)
    assert "given twice" in refused("request", home / "typed", *options, "--input", f"x={x}", *out)
    assert ".npy, .json" in refused("request", home / "typed", "--input", "x=data.csv", *out)
    assert "cannot read" in refused("request", home / "typed", "--input", "x=none.npy", *out)
    assert "cannot read" in refused("request", home / "typed", "--input", "x=none.json", *out)
    assert "cannot read" in refused("request", home / "pixels", "--input", "none.npy", *out)
    assert "about pictures" in refused("request", home / "typed", *options, "--resize", "crop", *out)
    assert "about pictures" in refused("request", home / "typed", "--prompt", "x", "--resize", "crop", *out)
    fewer = arrays(1)["n"]
    np.save(tmp_path / "n.npy", fewer)
    assert "different numbers of rows" in refused("request", home / "typed", *options, *out)
    assert not (tmp_path / "out").exists()


def test_prompts_and_arrays_do_not_mix(home: Path, tmp_path: Path, files: Files) -> None:
    out = ("-o", tmp_path / "out")
    options = words(tmp_path, arrays())
    assert "takes no prompt" in refused("request", home / "typed", "--prompt", "Hello", *out)
    assert "x (f32 [2, 3] a row)" in refused("request", home / "typed", "--prompt", "Hello", *out)
    assert "either a prompt or --input" in refused("request", home / "typed", "--prompt", "x", *options, *out)
    for option in (("--max-tokens", 4), ("--seed", 1), ("--ignore-end",), ("--raw",), ("--stop", "x")):
        assert f"{option[0]} belongs to a prompt" in refused(
            "request", home / "typed", *options, *option, *out
        )
    language = getattr(files, "model")  # noqa: B009
    assert "takes a prompt" in refused("request", language, *options, *out)
    assert "takes a prompt" in refused("run", language, *options, *out)
    request = getattr(files, "request")  # noqa: B009
    assert "either a request file" in refused("run", language, request, *options, *out)
    assert not (tmp_path / "out").exists()


# -- the library ---------------------------------------------------------------------------------------------
def test_requests_of_arrays_in_a_program(typed: Model) -> None:
    given = arrays()
    with pytest.raises(InputError, match="no array for the input flag"):
        pc.array_request(typed, {k: a for k, a in given.items() if k != "flag"})
    with pytest.raises(InputError, match="an unknown input more"):
        pc.array_request(typed, given | {"more": given["x"]})
    with pytest.raises(InputError, match="5 inputs"):
        pc.array_request(typed, given["x"])
    with pytest.raises(InputError, match="float64"):
        pc.array_request(typed, given | {"x": given["x"].astype(np.float64)})
    with pytest.raises(InputError, match="not list"):
        pc.array_request(typed, given | {"x": given["x"].tolist()})
    with pytest.raises(InputError, match="takes a prompt, not arrays"):
        pc.array_request(synthetic.model(), given)
    assert len({pc.array_request(typed, given).nonce for _ in range(3)}) == 3
    pixels = pixel_model()
    asked = pc.array_request(pixels, given["image"], node=bytes(range(32)))
    assert asked.node == bytes(range(32))
    assert dict(asked.inputs) == {"image": given["image"].tobytes()}


def test_a_request_has_a_limit() -> None:
    """It is refused before its bytes are copied together."""
    wide = pixel_model((1024, 1024))
    with pytest.raises(LimitError, match="ask in several"):
        pc.array_request(wide, np.broadcast_to(np.uint8(1), (64, 1024, 1024)))
