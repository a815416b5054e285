"""An ONNX file from import to evidence, by the command line, with pictures as inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from PIL import Image

from cli.driver import Files, call, done, refused
from importers.onnx_nets import convolutional, model_of, node
from proofcompute.arrays import Array
from proofcompute.models.model import Model

MEAN, STD = (np.array(values, np.float32) for values in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
OPTIONS = ("--pixels", "x", "--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3")


@dataclass(frozen=True)
class Imported:
    """A network of convolutions over [n, 3, 16, 16]."""

    home: Path
    source: Path
    floats: Path
    """The model that takes floats."""
    pixels: Path
    """The model that takes pictures."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    home = tmp_path_factory.mktemp("onnx")
    found = Imported(home, home / "net.onnx", home / "floats", home / "pixels")
    found.source.write_bytes(convolutional())
    plain = done("import", found.source, "-o", found.floats)
    pictures = done("import", found.source, *OPTIONS, "-o", found.pixels)
    assert plain["model_id"] != pictures["model_id"]
    return found


def reference(net: Imported, x: Array) -> dict[str, Array]:
    """What the onnx package's own evaluator gives, by output."""
    made = onnx.load(str(net.source))
    names = [output.name for output in made.graph.output]
    return dict(zip(names, ReferenceEvaluator(made).run(None, {"x": x}), strict=True))


def photographs() -> Array:
    return np.random.default_rng(7).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


def session(model: Path, home: Path, *inputs: object) -> dict[str, Array]:
    """Ask, run, and audit every cell with a key and with the model; return the outputs."""
    request, run, key = home / "request", home / "run", home / "key"
    done("keygen", model, "-o", key)
    done("request", model, *inputs, "-o", request)
    done("run", model, request, "-o", run)
    for holds in (key, model):
        asked = ("--request", request)
        done("challenge", holds, run / "receipt", *asked, "--all", "-o", home / "challenge", "--force")
        done("open", run, home / "challenge", "-o", home / "opening", "--force")
        words = (holds, run / "receipt", home / "challenge", home / "opening", *asked)
        before = done("inspect", key)["verifications"]
        assert "write them as .npz" in refused("verify", *words, "--outputs", home / "out.npy")
        assert done("inspect", key)["verifications"] == before
        found = done("verify", *words, "--outputs", home / "out.npz")
        assert (found["verified"], found["complete"]) == (True, True)
    with np.load(home / "out.npz") as outputs:
        return dict(outputs)


def assert_close(found: dict[str, Array], right: dict[str, Array]) -> None:
    assert found.keys() == right.keys()
    for name in right:
        np.testing.assert_allclose(found[name], right[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_floats_from_a_file(net: Imported, tmp_path: Path) -> None:
    x = np.random.default_rng(5).standard_normal((4, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    found = session(net.floats, tmp_path, "--input", f"x={tmp_path / 'x.npy'}")
    assert_close(found, reference(net, x))


def test_pictures_are_what_the_file_calls_its_input(net: Imported, tmp_path: Path) -> None:
    pictures = photographs()
    words: list[object] = []
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        words += ["--input", tmp_path / f"{i}.png"]
    found = session(net.pixels, tmp_path, *words)
    x = (pictures.astype(np.float32) / 255 - MEAN) / STD
    assert_close(found, reference(net, x.transpose(0, 3, 1, 2)))
    shown = done("inspect", net.pixels)
    assert shown["inputs"] == {"x": {"dtype": "u8", "shape": [16, 16, 3]}}
    assert shown["prices"]["cheaper"] in ("key", "weights")


def test_a_cheat_is_caught(net: Imported, tmp_path: Path) -> None:
    model = Model.load(net.pixels)
    name = next(w.name for w in model.program.weights if w.kind == "matrix")
    weight = model.matrix(name)
    q = weight.q.copy()
    q[0, 0, 0] ^= 1
    replace(model, weights={**model.weights, name: replace(weight, q=q)}).save(tmp_path / "cheat")
    np.save(tmp_path / "x.npy", photographs())
    request, run, key = tmp_path / "request", tmp_path / "run", tmp_path / "key"
    done("request", net.pixels, "--input", tmp_path / "x.npy", "-o", request)
    done("run", tmp_path / "cheat", request, "-o", run)
    done("keygen", net.pixels, "-o", key)
    done("identity", "-o", tmp_path / "auditor")
    asked = ("--request", request)
    done("challenge", key, run / "receipt", *asked, "--all", "-o", tmp_path / "challenge")
    done("open", run, tmp_path / "challenge", "-o", tmp_path / "opening")
    verify = ("verify", key, run / "receipt", tmp_path / "challenge", tmp_path / "opening", *asked)
    bundle = ("--waited", 1, "--evidence", tmp_path / "bundle", "--identity", tmp_path / "auditor")
    result = call(*verify, *bundle, "--json")
    assert (result.status, result.json["step"], result.json["attributable"]) == (1, 8, True)
    judged = call("verify-evidence", tmp_path / "bundle", "--model", net.pixels, "--json")
    assert (judged.status, judged.json["finding"]) == (0, "contradicted")


def test_channels_last_and_blue_first(tmp_path: Path) -> None:
    """As networks take them that come from other tools: [n, height, width, channels], means from 0 to 255."""
    source = tmp_path / "net.onnx"
    source.write_bytes(model_of([node("Relu", "x", "y")], {"x": ["n", 16, 16, 3]}, ["y"]))
    words = ("--pixels", "x", "--divisor", 1, "--mean", "104,117,123", "--bgr")
    done("import", source, *words, "-o", tmp_path / "model")
    np.save(tmp_path / "x.npy", photographs())
    done("run", tmp_path / "model", "--input", tmp_path / "x.npy", "-o", tmp_path / "run",
         "--outputs", tmp_path / "y.npy")  # fmt: skip
    turned = photographs()[..., ::-1].astype(np.float32) - np.array((104, 117, 123), np.float32)
    assert np.array_equal(np.load(tmp_path / "y.npy"), np.maximum(turned, 0))


def test_what_pixels_cannot_be(net: Imported, files: Files, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out")
    assert "'other' is not" in refused("import", net.source, "--pixels", "other", *out)
    assert "name them with --pixels" in refused("import", net.source, "--mean", "1", *out)
    assert "is not of the form" in refused("import", net.source, "--pixels", "x", "--mean", "a", *out)
    assert "or 3 of them" in refused("import", net.source, "--pixels", "x", "--std", "1,2", *out)
    assert "only the mean" in refused("import", net.source, "--pixels", "x", "--std", "0", *out)
    whole = ("--whole-batch", "--shape", "x=2,3,16,16")
    assert "which 'x' is not" in refused("import", net.source, "--pixels", "x", *whole, *out)
    assert "--pixels is for ONNX" in refused("import", files.gguf, "--pixels", "x", *out)
    for shape, dtype in (([1, 5, 6, 7], 1), ([1, 8], 1), ([1, 3, 6, 7], 7)):
        path = tmp_path / "bad.onnx"
        path.write_bytes(model_of([node("Abs", "x", "y")], {"x": shape}, ["y"], dtypes={"x": dtype}))
        said = refused("import", path, "--pixels", "x", *out)
        assert "no pictures" in said or "is not" in said
    assert not (tmp_path / "out").exists()
