"""Opens an ONNX file: sizes are checked before it is parsed, and nothing in it is executed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError

from proofcompute.encoding.files import read_limited
from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.importers.onnx.running import MAX_NODES
from proofcompute.importers.onnx.tensors import External, beside, dtype_of
from proofcompute.limits import GIB

__all__ = ["MAX_FILE", "Declared", "OnnxFile", "open_onnx"]

MAX_FILE: Final = 2 * GIB - 1
"""Bytes of an ONNX file, as protobuf holds no more; larger weights lie in files beside it."""
_DEEPEST: Final = 16
"""Subgraphs inside each other."""


@dataclass(frozen=True)
class Declared:
    """An input or output as the file declares it."""

    name: str
    dtype: str
    """Empty if it is no tensor."""
    dims: tuple[int | str, ...] | None
    """Lengths of the axes, or their names where they are open; None if the file does not say."""


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """An opened file."""

    proto: Any = field(repr=False)
    """The parsed model (onnx.ModelProto)."""
    digest: bytes
    """SHA-256 of the file, without data that lie beside it."""
    external: External | None
    opsets: Mapping[str, int]
    """Versions of operators by domain."""
    inputs: tuple[Declared, ...]
    """Inputs without an initial value."""
    outputs: tuple[Declared, ...]
    name: str
    """The graph's name. Untrusted."""

    @property
    def functions(self) -> dict[tuple[str, str], Any]:
        """The file's own functions, by domain and name."""
        return {("" if f.domain == "ai.onnx" else f.domain, f.name): f for f in self.proto.functions}


def open_onnx(path: StrPath) -> OnnxFile:
    """Open an ONNX file.

    Raises:
        InputError: the file cannot be read.
        LimitError: it is larger than MAX_FILE, or has too many nodes.
        FormatError: it is no ONNX file.
        UnsupportedError: it has no version of operators, or one before 7.
    """
    found = path_of(path)
    data = read_limited(found, MAX_FILE, "ONNX file")
    return parsed(data, beside(Path(found).parent))


def parsed(data: bytes, external: External | None = None) -> OnnxFile:
    """Return the file that bytes are. Raises as :func:`open_onnx`."""
    if len(data) > MAX_FILE:
        raise LimitError(f"an ONNX file of {len(data)} bytes, more than {MAX_FILE}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, RecursionError, UnicodeDecodeError) as e:
        raise FormatError(f"not an ONNX file: {e}") from e
    if not proto.ir_version or not proto.HasField("graph") or not proto.graph.node:
        raise FormatError("not an ONNX file: it has no graph with nodes")
    _count(proto)
    opsets = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in proto.opset_import}
    if not 7 <= opsets.get("", 7) <= onnx.defs.onnx_opset_version():
        raise UnsupportedError(
            f"operators of version {opsets.get('')}, where 7 to {onnx.defs.onnx_opset_version()} are known"
        )
    initial = {t.name for t in proto.graph.initializer}
    return OnnxFile(
        proto,
        hashlib.sha256(data).digest(),
        external,
        opsets,
        tuple(_declared(i) for i in proto.graph.input if i.name not in initial),
        tuple(_declared(o) for o in proto.graph.output),
        proto.graph.name,
    )


def _count(proto: Any) -> None:
    """Raise LimitError if there are too many nodes, or subgraphs inside each other."""
    total = 0
    pending: list[tuple[Any, int]] = [(proto.graph, 0), *((f, 0) for f in proto.functions)]
    while pending:
        graph, deep = pending.pop()
        total += len(graph.node)
        if total > MAX_NODES or deep > _DEEPEST:
            raise LimitError(f"more than {MAX_NODES} nodes, or graphs more than {_DEEPEST} deep")
        pending.extend((inner, deep + 1) for inner in _inner(graph))


def _inner(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for a in node.attribute:
            if a.HasField("g"):
                yield a.g
            yield from a.graphs


def _declared(value: Any) -> Declared:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Declared(value.name, "", None)
    tensor = value.type.tensor_type
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(
            int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or "?"
            for d in tensor.shape.dim
        )
    return Declared(value.name, dtype_of(tensor.elem_type) if tensor.elem_type else "", dims)
