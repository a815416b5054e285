"""Each check of a module is needed: without it, a bad module, call or file is not refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
from adversary.mutation import Edit, apply
from proofcompute.errors import ProofcomputeError
from proofcompute.importers.aten import compiling
from proofcompute.importers.aten.graphs import AtenGraph, Operation, Ref, TensorType
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.modules import collecting

_KIND = TensorType("f32", (1, 4))


def _compiled(op: str, result: TensorType, **arguments: Any) -> pc.Model:
    operation = Operation("node", op, arguments, (result,), several=False)
    graph = AtenGraph("Net", (("x", _KIND),), {}, {}, (operation,), (Ref("node"),))
    return compiling.compile_graph(graph, pc.kernels_for("numpy"), Recipe.uniform("w8a8"))[0]


def _other_shape(folder: Path) -> None:
    _compiled("aten.relu.default", TensorType("f32", (1, 2, 2)), self=Ref("x"))


def _other_recipe(folder: Path) -> None:
    kind = TensorType("f32", (1, 4))
    graph = AtenGraph(
        "Net",
        (("x", kind),),
        {},
        {},
        (Operation("n", "aten.relu.default", {"self": Ref("x")}, (kind,), False),),
        (Ref("n"),),
    )
    compiling.compile_graph(graph, pc.kernels_for("numpy"), Recipe("auto", products={"other": (1, 1)}))


MUTANTS: dict[str, tuple[Edit, Callable[[Path], None]]] = {
    "results are those that PyTorch states": (
        Edit(
            "importers.aten.running",
            "if value.shape != wanted.shape or STORED[value.dtype] != STORED[wanted.dtype]:",
            "if False:",
        ),
        _other_shape,
    ),
    "a recipe names products that there are": (
        Edit("importers.aten.compiling", "recipe.check(g.names())", "pass"),
        _other_recipe,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_its_check_a_module_is_not_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, bad = MUTANTS[name]
    with pytest.raises(ProofcomputeError):
        bad(tmp_path)
    apply(monkeypatch, [edit])
    bad(tmp_path)


def _old(folder: Path) -> bool:
    kept = collecting.Collected(None, 100)
    return kept.get(kept.keep(*_call(), now=1000.0), now=1101.0) is not None


def _old_file(folder: Path) -> bool:
    kept = collecting.Collected(folder, 100)
    digest = kept.keep(*_call())
    return kept.get(digest, now=1e12) is not None


def _foreign_file(folder: Path) -> bool:
    kept = collecting.Collected(folder, 100)
    digest = kept.keep(*_call())
    (folder / f"{digest.hex()}.proof").chmod(0o666)
    return kept.get(digest) is not None


def _call() -> tuple[pc.Request, bytes]:
    b = pc.ProgramBuilder(device="numpy")
    b.output(b.relu(b.input("x", 4), name="y"))
    node = pc.Node(b.model(), device="numpy")
    request = pc.array_request(node.model, np.ones((1, 4), np.float32))
    return request, node.answer(request).receipt


GIVEN: dict[str, tuple[Edit, Callable[[Path], bool]]] = {
    "calls are forgotten": (
        Edit("modules.collecting", "found is None or found[0] + self._retention < at", "found is None"),
        _old,
    ),
    "files are forgotten": (
        Edit(
            "modules.collecting", "if path.stat().st_mtime + self._retention < at:", "if not path.exists():"
        ),
        _old_file,
    ),
    "only private files are read": (
        Edit(
            "modules.collecting",
            'return read_private(path, MAX_REQUEST + MAX_RECEIPT + KIB, "a receipt")',
            "return path.read_bytes()",
        ),
        _foreign_file,
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_without_its_check_a_call_is_given_away(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, given = GIVEN[name]
    assert not given(tmp_path)
    apply(monkeypatch, [edit])
    assert given(tmp_path)


def _mixing(torch: Any) -> None:
    class Mixing(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.softmax(0)

    pc.wrap(Mixing().eval(), torch.randn(2, 4), precision="w8a8", device="numpy")


def _counting(torch: Any) -> None:
    class Counting(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(4))

        def forward(self, x: Any) -> Any:
            self.count += 1
            return x + self.count

    pc.wrap(Counting().eval(), torch.randn(2, 4), precision="w8a8", device="numpy")


def _other_call(torch: Any) -> None:
    class Scaled(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any, by: float) -> Any:
            return x * by

    net = pc.wrap(Scaled().eval(), (torch.randn(2, 4), 2.0), precision="w8a8", device="numpy")
    net(torch.randn(2, 4), 3.0)


WRAPPED: dict[str, tuple[list[Edit], Callable[[Any], None]]] = {
    "samples are compared": (
        [
            Edit(
                "modules.compiled",
                "check_rows(self._module, self._exported, _two(self._example, count))",
                "pass",
            )
        ],
        _mixing,
    ),
    "a module keeps its state": (
        [
            Edit(
                "importers.aten.exporting",
                "if output.kind not in (OutputKind.USER_OUTPUT, OutputKind.TOKEN):",
                "if False:",
            ),
            Edit(
                "modules.compiled",
                "check_rows(self._module, self._exported, _two(self._example, count))",
                "pass",
            ),
        ],
        _counting,
    ),
    "numbers are those of the trace": (
        [
            Edit(
                "modules.compiled",
                "if i not in self._exported.inputs and (type(x) is not type(wanted) or x != wanted):",
                "if False:",
            )
        ],
        _other_call,
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_without_its_check_a_module_of_pytorch_is_not_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    edits, bad = WRAPPED[name]
    with pytest.raises(ProofcomputeError):
        bad(torch)
    apply(monkeypatch, edits)
    bad(torch)
