"""Lowers the nodes of an ONNX graph one after the other, with its subgraphs and functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx
from onnx import AttributeProto, NodeProto, TensorProto

from proofcompute.errors import ExecutionError, FormatError, InputError, LimitError
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import Constant, RefusedError, Value
from proofcompute.importers.onnx.calls import Call, Given, Listed, Lowering
from proofcompute.importers.onnx.kept import Kept
from proofcompute.importers.onnx.table import OPERATORS
from proofcompute.importers.onnx.tensors import DTYPES, External, tensor_of

__all__ = ["MAX_NODES", "Runner"]

MAX_NODES: Final = 1 << 17
"""Nodes that are lowered, those of subgraphs and functions counting each time."""
_DEEPEST: Final = 16
"""Subgraphs and functions inside each other."""
_NUMBERS: Final = {name: number for number, name in DTYPES.items()}
_DOMAINS: Final = {"ai.onnx": ""}


@dataclass
class Runner:
    """Runs graphs of one model."""

    g: Graph
    opsets: Mapping[str, int]
    """The version of each domain."""
    functions: Mapping[tuple[str, str], Any]
    """The model's own functions, by domain and name."""
    external: External | None = None
    count: int = 0
    deep: int = 0
    trace: list[tuple[str, str, tuple[Given, ...]]] | None = None
    """What each node made, with its name and operator, if it is kept."""
    kept: Kept | None = None

    def graph(self, graph: Any, outer: Mapping[str, Given], given: Mapping[str, Given]) -> list[Given]:
        """Lower a graph whose inputs are given; return its outputs.

        Raises RefusedError naming the node that cannot be lowered, FormatError if a node reads what is not
        made before it.
        """
        scope: dict[str, Given] = dict(outer)
        for tensor in graph.initializer:
            known = given.get(tensor.name)
            scope[tensor.name] = tensor_of(tensor, self.external) if known is None else known
        if len(graph.sparse_initializer):
            raise RefusedError("sparse initializers")
        for declared in graph.input:
            if declared.name in given:
                scope[declared.name] = given[declared.name]
            elif declared.name not in scope:
                raise FormatError(f"graph input {declared.name[:80]!r} is not given")
        self.nodes(graph.node, scope, self.opsets, {})
        missing = [o.name for o in graph.output if o.name not in scope]
        if missing:
            raise FormatError(f"output {missing[0][:80]!r} is made by no node")
        return [scope[o.name] for o in graph.output]

    def nodes(
        self,
        nodes: Sequence[Any],
        scope: dict[str, Given],
        opsets: Mapping[str, int],
        attributes: Mapping[str, Any],
    ) -> None:
        """Lower nodes in their order. ``attributes`` are those of the function whose body they are."""
        for place, node in enumerate(nodes):
            self.count += 1
            if self.count > MAX_NODES:
                raise LimitError(f"more than {MAX_NODES} nodes, subgraphs and functions unrolled")
            domain = _DOMAINS.get(node.domain, node.domain)
            label = node.name or (node.output[0] if node.output else node.op_type)
            inputs = []
            for name in node.input:
                if name and name not in scope:
                    raise FormatError(
                        f"node {label[:80]!r} ({node.op_type[:40]}) reads {name[:80]!r}, which nothing"
                        " before it makes"
                    )
                inputs.append(scope[name] if name else None)
            outer, self.g.node = self.g.node, label[:120]
            try:
                made = self._repeated(place, node, domain, inputs, scope, opsets, attributes)
            except RefusedError as e:
                if e.node:
                    raise
                raise _about(e, label, node.op_type) from e
            except (LimitError, ExecutionError, FormatError, InputError) as e:
                if getattr(e, "located", False):
                    raise
                refused = RefusedError(str(e))
                raise _about(refused, label, node.op_type) from e
            except (TypeError, ValueError, IndexError, KeyError, OverflowError, ZeroDivisionError) as e:
                raise _about(
                    RefusedError(f"its attributes or shapes do not fit ({e})"), label, node.op_type
                ) from e
            self.g.node = outer
            if len(made) < len([o for o in node.output if o]):
                raise _about(RefusedError(f"has {len(node.output)} outputs"), label, node.op_type)
            for name, value in zip(node.output, made, strict=False):
                if name:
                    scope[name] = value
            if self.trace is not None:
                self.trace.append((label, node.op_type, tuple(made)))

    def _repeated(
        self,
        place: int,
        node: Any,
        domain: str,
        inputs: Sequence[Given],
        scope: Mapping[str, Given],
        opsets: Mapping[str, int],
        attributes: Mapping[str, Any],
    ) -> Sequence[Given]:
        """Lower a node, or return what it made in an evaluation before."""
        kept = self.kept
        # a node with a graph reads more than its inputs
        if kept is None or self.deep or any(a.HasField("g") or a.graphs for a in node.attribute):
            return self._node(node, domain, inputs, scope, opsets, attributes)
        found = kept.outputs(self.g, place, inputs)
        if found is None:
            names = self.g.names()
            found = self._node(node, domain, inputs, scope, opsets, attributes)
            kept.keep(self.g, place, inputs, found, names)
        return found

    def _node(
        self,
        node: Any,
        domain: str,
        inputs: Sequence[Given],
        scope: Mapping[str, Given],
        opsets: Mapping[str, int],
        outer: Mapping[str, Any],
    ) -> Sequence[Given]:
        given = self._attributes(node, outer)
        opset = opsets.get(domain, 1)

        def run_graph(graph: Any, values: Sequence[Given]) -> list[Given]:
            names = [i.name for i in graph.input]
            if len(values) != len(names):
                raise RefusedError(f"its graph has {len(names)} inputs, not {len(values)}")
            with self._deeper():
                return self.graph(graph, scope, dict(zip(names, values, strict=True)))

        local = self.functions.get((domain, node.op_type))
        if local is not None:
            return self._function(local, inputs, given)
        lowering: Lowering | None = OPERATORS.get((domain, node.op_type))
        if lowering is not None:
            call = Call(self.g, node.op_type, opset, tuple(inputs), given, tuple(node.output), run_graph)
            made = lowering(call)
            return made if isinstance(made, Sequence) else [made]
        body = _body(node, domain, opset, inputs, given)
        if body is None:
            raise RefusedError("this operator is not supported")
        return self._function(body, inputs, given)

    def _function(self, body: Any, inputs: Sequence[Given], given: Mapping[str, Any]) -> list[Given]:
        """Lower the body of a function."""
        if len(inputs) > len(body.input):
            raise RefusedError(f"takes {len(body.input)} inputs, not {len(inputs)}")
        padded = [*inputs, *[None] * (len(body.input) - len(inputs))]
        scope: dict[str, Given] = dict(zip(body.input, padded, strict=True))
        attributes = {a.name: _attribute(a, self.external) for a in body.attribute_proto}
        attributes |= {name: given[name] for name in body.attribute if name in given}
        attributes |= {name: given[name] for name in attributes if name in given}
        opsets = {_DOMAINS.get(o.domain, o.domain): o.version for o in body.opset_import}
        with self._deeper():
            self.nodes(body.node, scope, {**self.opsets, **opsets}, attributes)
        missing = [name for name in body.output if name not in scope]
        return [None if name in missing else scope[name] for name in body.output]

    def _attributes(self, node: Any, outer: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for a in node.attribute:
            if a.ref_attr_name:
                if a.ref_attr_name in outer:
                    found[a.name] = outer[a.ref_attr_name]
                continue
            found[a.name] = _attribute(a, self.external)
        return found

    def _deeper(self) -> _Deeper:
        return _Deeper(self)


@dataclass
class _Deeper:
    """Counts subgraphs and functions inside each other."""

    runner: Runner

    def __enter__(self) -> None:
        self.runner.deep += 1
        if self.runner.deep > _DEEPEST:
            raise LimitError(f"graphs and functions are more than {_DEEPEST} deep")

    def __exit__(self, *_: object) -> None:
        self.runner.deep -= 1


def _about(e: RefusedError, label: str, op: str) -> RefusedError:
    """Return an error that names its node."""
    found = RefusedError(f"node {label[:80]!r} ({op[:40]}): {str(e)[:300]}", e.inputs)
    found.node = label
    return found


def _attribute(a: Any, external: External | None) -> Any:
    kind = a.type
    if kind == AttributeProto.FLOAT:
        return float(a.f)
    if kind == AttributeProto.INT:
        return int(a.i)
    if kind == AttributeProto.STRING:
        return bytes(a.s)
    if kind == AttributeProto.TENSOR:
        return a.t if a.t.data_type == TensorProto.STRING else tensor_of(a.t, external)
    if kind == AttributeProto.GRAPH:
        return a.g
    if kind == AttributeProto.FLOATS:
        return [float(v) for v in a.floats]
    if kind == AttributeProto.INTS:
        return [int(v) for v in a.ints]
    if kind == AttributeProto.STRINGS:
        return [bytes(v) for v in a.strings]
    raise RefusedError(f"attribute {a.name[:40]!r} is of a kind that is not supported")


def _body(node: Any, domain: str, opset: int, inputs: Sequence[Given], given: Mapping[str, Any]) -> Any:
    """Return the function that defines an operator in ONNX, if there is one."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    own = [v for v in schema.function_opset_versions if v <= opset]
    if own:
        body = onnx.FunctionProto()
        body.ParseFromString(schema.get_function_with_opset_version(max(own)))
        return _with_defaults(body, schema)
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if not versions:
        return None
    types = [_type(v) for v in inputs]
    plain = NodeProto()
    plain.CopyFrom(node)
    del plain.attribute[:]
    for name, value in given.items():
        if isinstance(value, Constant | Listed) or not isinstance(value, int | float | bytes | list):
            source = next((a for a in node.attribute if a.name == name), None)
            if source is None:
                raise RefusedError(f"attribute {name} of a function")
            plain.attribute.append(source)
        else:
            plain.attribute.append(onnx.helper.make_attribute(name, value))
    made = schema.get_context_dependent_function_with_opset_version(
        max(versions), plain.SerializeToString(), types
    )
    body = onnx.FunctionProto()
    body.ParseFromString(made)
    return _with_defaults(body, schema) if body.node else None


def _with_defaults(body: Any, schema: Any) -> Any:
    """Return a function's body whose attributes have the operator's default values."""
    named = {a.name for a in body.attribute_proto}
    for name, attribute in schema.attributes.items():
        if name not in named and attribute.default_value.type != AttributeProto.UNDEFINED:
            body.attribute_proto.append(attribute.default_value)
    return body


def _type(x: Given) -> bytes:
    proto = onnx.TypeProto()
    if isinstance(x, Listed):
        items: Sequence[Value] = x.items
        if items:
            proto.sequence_type.elem_type.tensor_type.elem_type = _NUMBERS[items[0].dtype]
    elif x is not None:
        proto.tensor_type.elem_type = _NUMBERS[x.dtype]
        for n in x.shape:
            proto.tensor_type.shape.dim.add().dim_value = n
        if not x.shape:
            proto.tensor_type.shape.SetInParent()
    found: bytes = proto.SerializeToString()
    return found
