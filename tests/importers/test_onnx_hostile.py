"""Bad ONNX files: each is a typed error that names the node; nothing outside the folder is read."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import proofcompute as pc
from importers import onnx_nets
from importers.onnx_nets import model_of, node
from proofcompute.errors import FormatError, LimitError, ProofcomputeError, UnsupportedError
from proofcompute.importers.onnx import RefusedError, compile_onnx, control, open_onnx, running
from proofcompute.importers.onnx.opening import parsed

VALID = onnx_nets.convolutional()


def compiled(data: bytes) -> Any:
    return compile_onnx(parsed(data), pc.kernels_for("numpy"))


def changed(change: Callable[[Any], None]) -> bytes:
    """Return the valid file with a change."""
    proto = onnx.ModelProto.FromString(VALID)
    change(proto)
    data: bytes = proto.SerializeToString()
    return data


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x00" * 100, b"GGUF" + bytes(60), VALID[:1000]])
def test_what_is_no_onnx_file_is_refused(data: bytes) -> None:
    with pytest.raises(ProofcomputeError):
        compiled(data)


def test_archives_and_pickles_are_not_opened(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    pickled = pickle.dumps(Touch(str(touched)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("data.pkl", pickled)
        bomb.writestr("zeros", bytes(10_000_000))
    for i, data in enumerate((pickled, buffer.getvalue())):
        path = tmp_path / f"{i}.onnx"
        path.write_bytes(data)
        with pytest.raises(FormatError, match="not an ONNX file"):
            open_onnx(path)
    assert not touched.exists()


@given(st.data())
def test_any_damage_is_a_typed_error_or_harmless(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(VALID) - 1))
    mangled = bytearray(VALID)
    if data.draw(st.booleans()):
        mangled[at] = data.draw(st.integers(0, 255))
    else:
        del mangled[at:]
    try:
        parsed(bytes(mangled))
    except ProofcomputeError:
        pass


def test_cycles_and_missing_tensors_name_the_node() -> None:
    cycle = [node("Add", "x b", "a"), node("Neg", "a", "b")]
    with pytest.raises(FormatError, match=r"node 'a/Add' \(Add\) reads 'b', which nothing before it makes"):
        compiled(model_of(cycle, {"x": ["n", 4]}, ["b"]))
    with pytest.raises(FormatError, match=r"node 'c1/Conv' \(Conv\) reads 'w1'"):
        compiled(changed(lambda m: m.graph.initializer.pop(0)))
    with pytest.raises(FormatError, match="output 'nothing' is made by no node"):
        compiled(model_of([node("Neg", "x", "y")], {"x": ["n", 4]}, ["nothing"]))


@pytest.mark.parametrize("name", ["NoSuchOperator", "ImageDecoder", "StringConcat"])
def test_unknown_operators_are_refused_by_node(name: str) -> None:
    with pytest.raises(RefusedError, match=rf"node 'y/{name}' \({name}\): this operator is not supported"):
        compiled(model_of([node(name, "x", "y")], {"x": ["n", 4]}, ["y"], opset=20))


REFUSED = {
    "wrong shapes": ([node("MatMul", "x w", "y")], {"w": np.ones((5, 3), np.float32)}),
    "absurd reshape": ([node("Reshape", "x w", "y")], {"w": np.array([2**40, 2**40])}),
    "absurd expand": ([node("Expand", "x w", "y")], {"w": np.array([2**31, 4])}),
    "absurd tile": ([node("Tile", "x w", "y")], {"w": np.array([1, 2**60])}),
    "absurd pad": ([node("Pad", "x w", "y")], {"w": np.array([0, 2**62, 0, 0])}),
    "absurd constant": (
        [node("ConstantOfShape", "w", "z"), node("Add", "x z", "y")],
        {"w": np.array([2**33, 4])},
    ),
    "absurd range": (
        [node("Range", "a b c", "r"), node("Add", "x r", "y")],
        {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)},
    ),
    "a negative axis": ([node("Concat", "x x", "y", axis=-7)], {}),
    "no such permutation": ([node("Transpose", "x", "y", perm=[0, 0])], {}),
    "division by zero": (
        [node("Div", "a b", "d"), node("Reshape", "x d", "y")],
        {"a": np.array([4, 1]), "b": np.array([0, 1])},
    ),
    "an infinite weight": ([node("MatMul", "x w", "y")], {"w": np.full((4, 64), np.inf, np.float32)}),
    "a missing attribute": ([node("Concat", "x x", "y")], {}),
    "a wrong attribute": ([node("Concat", "x x", "y", axis="front")], {}),
    "more outputs": ([node("Relu", "x", "y z")], {}),
    "outside a table": ([node("Gather", "x w", "y", axis=1)], {"w": np.array(9)}),
    "a shape of rows": ([node("NonZero", "x", "y")], {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_lowered_is_refused_by_node(what: str) -> None:
    nodes, weights = REFUSED[what]
    with pytest.raises(RefusedError, match="node '"):
        compiled(model_of(nodes, {"x": ["n", 4]}, ["y"], weights))


def test_tensors_must_have_the_size_of_their_shape() -> None:
    def shorter(m: Any) -> None:
        m.graph.initializer[0].raw_data = m.graph.initializer[0].raw_data[:-1]

    def huge(m: Any) -> None:
        m.graph.initializer[0].dims[:] = [2**31, 2**31]

    def negative(m: Any) -> None:
        m.graph.initializer[0].dims[:] = [-1]

    def odd(m: Any) -> None:
        m.graph.initializer[0].data_type = TensorProto.COMPLEX64

    def unknown(m: Any) -> None:
        m.graph.initializer[0].data_type = 99

    for change, error in (
        (shorter, FormatError), (huge, LimitError), (negative, FormatError), (odd, UnsupportedError),
        (unknown, UnsupportedError),
    ):  # fmt: skip
        with pytest.raises(error, match="tensor"):
            compiled(changed(change))


def test_versions_before_7_and_unknown_ones_are_refused() -> None:
    for version in (6, 1000):
        data = changed(lambda m, v=version: setattr(m.opset_import[0], "version", v))  # type: ignore[misc]
        with pytest.raises(UnsupportedError, match="operators of version"):
            compiled(data)


def test_functions_that_call_themselves_end() -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    call = helper.make_node("Again", ["a"], ["b"], domain="own")
    function = helper.make_function("own", "Again", ["a"], ["b"], [call], imports)
    outer = helper.make_node("Again", ["x"], ["y"], domain="own", name="first")
    with pytest.raises((LimitError, RefusedError), match="deep"):
        compiled(model_of([outer], {"x": ["n", 4]}, ["y"], functions=[function]))


def test_functions_that_multiply_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten functions that each call the one before 16 times would be 10^12 nodes."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = []
    for i in range(10):
        inner = f"F{i - 1}" if i else "Neg"
        domain = "own" if i else ""
        calls = [
            helper.make_node(inner, [f"v{k}" if k else "a"], [f"v{k + 1}" if k < 15 else "b"], domain=domain)
            for k in range(16)
        ]
        functions.append(helper.make_function("own", f"F{i}", ["a"], ["b"], calls, imports))
    outer = helper.make_node("F9", ["x"], ["y"], domain="own", name="first")
    monkeypatch.setattr(running, "MAX_NODES", 500)
    with pytest.raises((LimitError, RefusedError), match="nodes"):
        compiled(model_of([outer], {"x": ["n", 4]}, ["y"], functions=functions))


def test_loops_that_do_not_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_STEPS", 50)
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["again"]), helper.make_node("Neg", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("t", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["", "", "x"], ["y"], name="forever", body=body)
    with pytest.raises(RefusedError, match=r"node 'forever' \(Loop\): more than"):
        compiled(model_of([loop], {"x": ["n", 4]}, ["y"]))


# -- data beside the file ----------------------------------------------------------------------------------
def beside(location: str, offset: int = 0, length: int = 4 * 4 * 64) -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 64])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    proto = onnx.ModelProto.FromString(model_of([node("MatMul", "x w", "y")], {"x": ["n", 4]}, ["y"]))
    proto.graph.initializer.append(tensor)
    data: bytes = proto.SerializeToString()
    return data


def in_folder(tmp_path: Path, data: bytes) -> Any:
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "net.onnx").write_bytes(data)
    (folder / "net.bin").write_bytes(np.arange(256, dtype="<f4").tobytes() + bytes(8))
    (tmp_path / "secret").write_bytes(bytes(4 * 4 * 64))
    return compile_onnx(open_onnx(folder / "net.onnx"), pc.kernels_for("numpy"))


def test_data_beside_the_file_are_read(tmp_path: Path) -> None:
    model = in_folder(tmp_path, beside("net.bin"))
    assert [w.shape for w in model.program.weights] == [(64, 4)]


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "", ".", "a/../../secret", "x\\y", "./net.bin"]
)
def test_nothing_outside_the_folder_is_read(tmp_path: Path, location: str) -> None:
    with pytest.raises(ProofcomputeError, match=r"external data in|cannot read"):
        in_folder(tmp_path, beside(location))


def test_links_pipes_and_wrong_places_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    for location in ("link", "inner/secret", "pipe", "nothing"):
        with pytest.raises(ProofcomputeError, match=r"symbolic link|not a file|cannot read"):
            in_folder(tmp_path, beside(location))
    for offset, length in ((16, 1024), (-1, 1024), (0, 1023), (2**62, 1024)):
        with pytest.raises(FormatError):
            in_folder(tmp_path, beside("net.bin", offset, length))
