"""How precisely an ONNX network's products are made: chosen, written down, read back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
from cli import driver
from importers import onnx_nets
from proofcompute.arrays import Array
from proofcompute.importers.lowering.convolving import conv
from proofcompute.importers.lowering.evaluating import convolved
from proofcompute.importers.lowering.graph import Graph, Study
from proofcompute.importers.lowering.values import Constant, constant
from proofcompute.importers.onnx import Pixels, Recipe, RefusedError, choosing, compile_onnx, inputs_of
from proofcompute.importers.onnx.choosing import chosen_limbs
from proofcompute.importers.onnx.opening import parsed
from proofcompute.importers.onnx.rows import evaluate, repeated
from proofcompute.importers.onnx.running import Runner
from proofcompute.models.model import Model
from proofcompute.program.types import Spec


def test_auto_gives_products_fewer_limbs_where_outputs_stay_near() -> None:
    """A product that hardly matters is rounded to 8 bits; one that decides the output is not."""
    rng = np.random.default_rng(3)
    weights = {
        "main": rng.standard_normal((64, 64)).astype(np.float32),
        "aside": 1e-3 * rng.standard_normal((64, 64)).astype(np.float32),
    }
    nodes = [
        onnx_nets.node("MatMul", "x main", "m"),
        onnx_nets.node("MatMul", "x aside", "a"),
        onnx_nets.node("Add", "m a", "y"),
    ]
    file = parsed(onnx_nets.model_of(nodes, {"x": ["n", 64]}, ["y"], weights))
    model = compile_onnx(file, pc.kernels_for("numpy"), "auto")
    recipe = Recipe.from_text(model.manifest["recipe"])
    assert recipe == Recipe("auto", (2, 2), {"a/MatMul": (1, 1)})
    limbs = sorted((w.name, w.limbs) for w in model.program.weights if w.kind == "matrix")
    assert limbs == [("a/MatMul.product.weight", 1), ("m/MatMul.product.weight", 2)]
    examples = {"x": rng.standard_normal((3, 64)).astype(np.float32)}
    again = compile_onnx(file, pc.kernels_for("numpy"), "auto", examples=examples)
    assert again.model_id == model.model_id
    read = compile_onnx(file, pc.kernels_for("numpy"), recipe)
    assert (read.model_id, read.manifest) == (model.model_id, model.manifest)
    with pytest.raises(pc.InputError, match="names 'b', which is no product"):
        compile_onnx(file, pc.kernels_for("numpy"), replace(recipe, products={"b": (1, 1)}))
    for wrong, message in (
        ({"x": examples["x"], "z": examples["x"]}, "one of 'z'"),
        ({}, "none of input 'x'"),
        ({"x": examples["x"][:, :5]}, "an example of 'x' is"),
        ({"x": examples["x"][:0]}, "there are 0 examples"),
    ):
        with pytest.raises(pc.InputError, match=message):
            compile_onnx(file, pc.kernels_for("numpy"), "auto", examples=wrong)


@pytest.mark.parametrize(("op", "same"), [("Softmax", True), ("LogSoftmax", True), ("Sigmoid", False)])
def test_a_number_that_a_softmax_ignores_hides_no_error(op: str, same: bool) -> None:
    """The logits of one network are those of the other and a thousand; a sigmoid takes notice of that."""
    rng = np.random.default_rng(5)
    weights = {
        "main": rng.standard_normal((64, 64)).astype(np.float32),
        "aside": 0.02 * rng.standard_normal((64, 64)).astype(np.float32),
    }
    found = []
    for offset in (0.0, 1e3):
        nodes = [
            onnx_nets.node("MatMul", "x main", "m"),
            onnx_nets.node("MatMul", "x aside", "a"),
            onnx_nets.node("Add", "m a", "both"),
            onnx_nets.node("Add", "both offset", "logits"),
            onnx_nets.node(op, "logits", "y"),
        ]
        given = {**weights, "offset": np.array(offset, np.float32)}
        file = parsed(onnx_nets.model_of(nodes, {"x": ["n", 64]}, ["y"], given))
        found.append(chosen_limbs(file, inputs_of(file)))
    assert (found[0] == found[1]) == same


def test_what_is_kept_between_evaluations_changes_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    file = parsed(onnx_nets.transformer(width=64))
    inputs = inputs_of(file)
    count: list[str] = []
    run_node = Runner._node

    def counted(self: Runner, node: Any, *rest: Any) -> Any:
        count.append(node.op_type)
        return run_node(self, node, *rest)

    monkeypatch.setattr(Runner, "_node", counted)
    found = chosen_limbs(file, inputs, target=0.007)
    assert len(set(found.values())) > 1
    kept = len(count)
    monkeypatch.setattr(choosing, "_KEPT", 0)
    assert chosen_limbs(file, inputs, target=0.007) == found
    assert len(count) - kept > 1.4 * kept


def test_random_samples_that_a_network_does_not_take_are_left_out() -> None:
    """Sines of numbers beyond 2^20 are refused; the smaller samples are enough to choose by."""
    w = np.eye(64, dtype=np.float32)
    nodes = [
        onnx_nets.node("Mul", "x by", "wide"),
        onnx_nets.node("Sin", "wide", "s"),
        onnx_nets.node("MatMul", "s w", "y"),
    ]
    for by, fits in ((1e4, True), (1e9, False)):
        weights = {"w": w, "by": np.array(by, np.float32)}
        file = parsed(onnx_nets.model_of(nodes, {"x": ["n", 64]}, ["y"], weights))
        if fits:
            assert set(chosen_limbs(file, inputs_of(file))) == {"y/MatMul"}
        else:
            with pytest.raises(RefusedError, match="sine or cosine"):
                chosen_limbs(file, inputs_of(file))


RECIPES = {
    "no JSON": ("{", "not JSON"),
    "a list": ("[]", "exactly the keys"),
    "a key too many": ('{"name": "", "others": "w8a8", "products": {}, "more": 1}', "exactly the keys"),
    "a key missing": ('{"name": "", "others": "w8a8"}', "exactly the keys"),
    "a name that is no text": ('{"name": 1, "others": "w8a8", "products": {}}', "name is a text"),
    "products that are a list": ('{"name": "", "others": "w8a8", "products": []}', "products an object"),
    "unknown limbs": ('{"name": "", "others": "w8a8", "products": {"x": "w4a4"}}', "'w4a4' is none of"),
    "limbs that are a number": ('{"name": "", "others": 8, "products": {}}', "'8' is none of"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_recipes_of_networks_that_are_none(case: str) -> None:
    text, message = RECIPES[case]
    with pytest.raises(pc.FormatError, match=message):
        Recipe.from_text(text)


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w16a16"])
def test_each_precision_has_a_recipe(precision: str) -> None:
    recipe = Recipe.uniform(precision)
    assert Recipe.from_text(recipe.text()) == recipe
    file = parsed(onnx_nets.transformer())
    first, second = (compile_onnx(file, pc.kernels_for("numpy"), how) for how in (precision, recipe))
    assert first.model_id == second.model_id


GEOMETRY: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((6, 4, 3, 3), {}),
    "strided": ((6, 4, 3, 2), {"strides": (2, 3)}),
    "dilated": ((6, 4, 3, 3), {"dilations": (2, 1), "low": (2, 0), "high": (0, 1)}),
    "in groups": ((6, 2, 3, 3), {"groups": 2}),
    "each channel": ((8, 1, 3, 3), {"groups": 4, "strides": (1, 2)}),
}


@pytest.mark.parametrize("case", GEOMETRY)
def test_quick_convolutions_are_those_of_programs(case: str) -> None:
    """What is evaluated to choose a precision is the convolution that a program makes, up to rounding."""
    shape, how = GEOMETRY[case]
    rng = np.random.default_rng(0)
    x = constant(rng.standard_normal((2, 4, 9, 8)), "f32")
    w = constant(rng.standard_normal(shape), "f32")
    options: Any = {"strides": (1, 1), "low": (0, 0), "high": (0, 0), "dilations": (1, 1), "groups": 1, **how}
    quick, exact = (
        conv(Graph(pc.ProgramBuilder(device="numpy"), quick=q), x, w, None, **options) for q in (True, False)
    )
    assert isinstance(quick, Constant)
    assert isinstance(exact, Constant)
    np.testing.assert_allclose(quick.array, exact.array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("limbs", [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("case", [c for c in GEOMETRY if c != "each channel"])
def test_rounded_convolutions_have_a_scale_for_each_window_and_channel(
    case: str, limbs: tuple[int, int]
) -> None:
    """Each window of a group has a scale, and so has each output channel's weights."""
    (out, inner, *size), how = GEOMETRY[case]
    inner, groups = 12 * inner, how.get("groups", 1)
    strides, dilations = how.get("strides", (1, 1)), how.get("dilations", (1, 1))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 8, inner * groups)).astype(np.float32)
    w = rng.standard_normal((out, inner, *size)).astype(np.float32)
    g = Graph(pc.ProgramBuilder(device="numpy"), quick=True)
    g.study = Study(lambda name: limbs, [])
    found = convolved(g, x, w, strides, dilations, groups)
    assert g.study.names == ["graph"]
    assert np.array_equal(found, convolved(g, x, w, strides, dilations, groups))

    def nearest(v: Array, count: int) -> Array:
        scale = np.abs(v).max() / np.float32(127)
        return np.rint(v / scale) * scale if count == 1 else v

    flat = np.moveaxis(w, 1, -1).reshape(out, -1)
    for n, i, j in np.ndindex(*found.shape[:-1]):
        rows = [
            slice(p * s, p * s + k * d, d)
            for p, s, k, d in zip((i, j), strides, size, dilations, strict=True)
        ]
        for k in range(groups):
            window = x[n, rows[0], rows[1], k * inner : (k + 1) * inner].reshape(-1)
            channels = slice(k * out // groups, (k + 1) * out // groups)
            wanted = [nearest(v, limbs[1]) @ nearest(window, limbs[0]) for v in flat[channels]]
            np.testing.assert_allclose(found[n, i, j, channels], wanted, rtol=1e-3, atol=1e-3)


def test_channels_convolved_by_themselves_have_no_site() -> None:
    """However large their windows are: a product for each channel would be larger than the convolution."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((12, 1, 7, 7)).astype(np.float32)
    nodes = [onnx_nets.node("Conv", "x w", "y", group=12, pads=[3, 3, 3, 3])]
    data = onnx_nets.model_of(nodes, {"x": ["n", 12, 20, 20]}, ["y"], {"w": w})
    model = compile_onnx(parsed(data), pc.kernels_for("numpy"))
    assert [w.kind for w in model.program.weights if w.kind == "matrix"] == []


def shaped(tmp_path: Path) -> Path:
    """Write a network whose axes and shape are inputs of the graph, with one product that hardly matters."""
    rng = np.random.default_rng(5)
    weights = {
        "main": rng.standard_normal((64, 64)).astype(np.float32),
        "aside": 1e-3 * rng.standard_normal((64, 64)).astype(np.float32),
    }
    nodes = [
        onnx_nets.node("Reshape", "x shape", "flat"),
        onnx_nets.node("MatMul", "flat main", "m"),
        onnx_nets.node("MatMul", "flat aside", "a"),
        onnx_nets.node("Add", "m a", "s"),
        onnx_nets.node("Mul", "s by", "y"),
    ]
    data = onnx_nets.model_of(
        nodes, {"x": ["n", 3, 4, 4], "shape": [2], "by": []}, ["y"],
        {**weights, "main": np.tile(weights["main"], (1, 1))[:48], "aside": weights["aside"][:48]},
        dtypes={"shape": 7},
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    return path


def test_the_command_line_takes_constants_examples_and_recipes(tmp_path: Path) -> None:
    path, out = shaped(tmp_path), tmp_path / "model"
    pictures = np.random.default_rng(6).integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    np.save(tmp_path / "shape.npy", np.array([-1, 48]))
    words = ("--constant", "shape=-1,48", "--constant", "by=0.5", "--pixels", "x", "--mean", "0.4")
    found = driver.done(
        "import", path, "-o", out, *words, "--precision", "auto", "--example", tmp_path / "pictures.npy"
    )
    file = parsed(path.read_bytes())
    values: Any = {"shape": np.array([-1, 48]), "by": np.array(0.5, np.float32)}
    pixels = {"x": Pixels(mean=(0.4,))}
    examples = {"x": pixels["x"].floats(pictures, (3, 4, 4))}
    assert examples["x"].shape == (3, 3, 4, 4)
    kernels = pc.kernels_for("numpy")
    model = compile_onnx(file, kernels, "auto", values=values, pixels=pixels, examples=examples)
    assert found["model_id"] == model.model_id.hex()
    assert Model.load(out).program.inputs == (("x", Spec("u8", (4, 4, 3))),)
    assert Recipe.from_text(found["recipe"]).products == {"a/MatMul": (1, 1)}
    (tmp_path / "recipe").write_text(found["recipe"])
    words = ("--constant", f"shape={tmp_path / 'shape.npy'}", *words[2:])
    again = driver.done("import", path, "-o", out, "--force", *words, "--recipe", tmp_path / "recipe")
    assert (again["model_id"], again["precision"]) == (found["model_id"], "auto")
    # what becomes of the pictures is what the program makes of them
    b = pc.ProgramBuilder(device="numpy")
    b.output(b.reshape(pixels["x"].declare(b, "x", (3, 4, 4)), (48,), name="y"))
    node = pc.Node(b.model(), device="numpy")
    made = node.answer(pc.array_request(node.model, {"x": pictures}, node=node.public)).outputs["y"]
    assert np.array_equal(made.reshape(3, 3, 4, 4), examples["x"])


REFUSED = {
    "a constant that is no input": (("--constant", "z=1"), "NAME is x, shape, by"),
    "a constant without a value": (("--constant", "shape"), "not of the form"),
    "a constant twice": (("--constant", "shape=-1,48", "--constant", "shape=-1,48"), "given twice"),
    "a constant of another length": (("--constant", "shape=1,2,3"), r"is \[2\], and its constant \[3\]"),
    "words": (("--constant", "shape=a,b"), "no numbers of type int64"),
    "fractions": (("--constant", "shape=0.5,1"), "no numbers of type int64"),
    "too large": (("--constant", f"shape={1 << 63},1"), "no numbers of type int64"),
    "no file": (("--constant", "shape=none.npy"), "cannot read none.npy"),
    "examples without a choice": (("--example", "x.npy"), "--example is for --precision auto"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_about_inputs_that_cannot_be_used(case: str, tmp_path: Path) -> None:
    words, message = REFUSED[case]
    found = driver.refused("import", shaped(tmp_path), "-o", tmp_path / "model", *words)
    assert re.search(message, found), found


def test_what_shows_memory_that_is_kept_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reshaped values cost nothing; an evaluation that keeps nothing for the next takes no room."""
    nodes = [onnx_nets.node("Add", "x x", "a")]
    nodes += [onnx_nets.node("Reshape", f"{a} shape", b) for a, b in ("ab", "bc", "cd")]
    nodes.append(onnx_nets.node("Mul", "d d", "y"))
    data = onnx_nets.model_of(nodes, {"x": ["n", 64]}, ["y"], {"shape": np.array([-1, 8, 8])})
    file = parsed(data)
    count: list[str] = []
    run_node = Runner._node

    def counted(self: Runner, node: Any, *rest: Any) -> Any:
        count.append(node.op_type)
        return run_node(self, node, *rest)

    monkeypatch.setattr(Runner, "_node", counted)
    x = {"x": np.ones((1, 64), np.float32)}
    for most, again in ((2 * 256, 0), (2 * 256 - 1, 1), (255, 5)):
        (kept,) = repeated(file, [x], most)
        for keep, made in ((False, 5), (True, 5), (False, again)):
            count.clear()
            evaluate(file, kept, study=Study(lambda name: (2, 2), [], keep=keep))
            assert len(count) == made
        kept.forget()
        count.clear()
        evaluate(file, kept, study=Study(lambda name: (2, 2), []))
        assert len(count) == 5
