"""Networks that public tools export, from file to full audit (slow: `make fuzz`).

torchvision's modules are small and have random weights; trees are fitted to data that ship in scikit-learn.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
from proofcompute.arrays import Array
from proofcompute.importers.onnx import compile_onnx, open_onnx
from proofcompute.models.model import Model

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

PICTURES = (2, 3, 64, 64)


def proved(model: Model, given: Mapping[str, Array]) -> dict[str, Array]:
    """Run a model, audit all of it, catch a node with another weight or constant, and return the outputs."""
    node = pc.Node(model)
    request = pc.array_request(model, dict(given), node=node.public)
    answer = node.answer(request)
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("auto")))
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert verified.cells == verified.total

    cheat = pc.Node(changed(model))
    request = replace(request, node=cheat.public, nonce=secrets.token_bytes(32))
    lie = cheat.answer(request)
    with pytest.raises(pc.VerificationError):
        auditor.audit(request, lie.receipt, lambda c: cheat.open(request, lie.receipt, c), "all")
    return {name: np.asarray(a) for name, a in answer.outputs.items()}


def changed(model: Model) -> Model:
    """Return the model with one bit of a matrix flipped, or with its constants doubled."""
    matrices = [w for w in model.program.weights if w.kind == "matrix"]
    if matrices:
        name = matrices[0].name
        q = model.matrix(name).q.copy()
        q[0, 0, 0] ^= 1
        return replace(model, weights={**model.weights, name: replace(model.matrix(name), q=q)})
    doubled: dict[str, Any] = {
        w.name: np.asarray(model.weights[w.name]) * np.float32(2)
        for w in model.program.weights
        if w.dtype == "f32"
    }
    return replace(model, weights={**model.weights, **doubled})


def near(found: Array, right: Array, part: float = 1e-3) -> bool:
    wrong = np.linalg.norm(found.reshape(right.shape) - right)
    return bool(wrong <= part * np.linalg.norm(right))


# -- PyTorch -----------------------------------------------------------------------------------------------
def resnet(models: Any) -> Any:
    return models.resnet.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, width_per_group=16)


def mobilenet(models: Any) -> Any:
    made = models.mobilenetv3
    settings = made._mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.5)
    return made.MobileNetV3(*settings, num_classes=10)


def convnext(models: Any) -> Any:
    made = models.convnext
    blocks = [made.CNBlockConfig(*sizes, 1) for sizes in ((32, 64), (64, 128), (128, None))]
    return made.ConvNeXt(blocks, num_classes=10)


def swin(models: Any) -> Any:
    return models.swin_transformer.SwinTransformer(
        [4, 4], embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=10
    )


def lstm(torch: Any) -> Any:
    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.LSTM(16, 32, 2, batch_first=True, bidirectional=True)
            self.head = torch.nn.Linear(64, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.inner(x)[0][:, -1])

    return Net()


VISION: dict[str, Callable[[Any], Any]] = {
    "ResNet": resnet,
    "MobileNetV3": mobilenet,
    "ConvNeXt": convnext,
    "Swin": swin,
}


def vision(torch: Any) -> Any:
    """Return torchvision's models.

    Its compiled operators do not load beside a build of PyTorch for another device. No model here uses them,
    but importing torchvision describes two of them, which must be declared then.
    """
    if find_spec("torchvision") is None:
        pytest.skip("could not import 'torchvision'")
    try:
        return import_module("torchvision.models")
    except RuntimeError as e:
        if "does not exist" not in str(e):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    return import_module("torchvision.models")


def module_of(name: str) -> tuple[Any, Any]:
    """Return a module with random weights, and an input."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    if name == "LSTM":
        return lstm(torch).eval(), torch.randn(2, 12, 16)
    made = VISION[name](vision(torch))
    made.train()
    with torch.no_grad():
        for _ in range(3):  # running means and variances that fit the weights
            made(torch.randn(8, *PICTURES[1:]))
    return made.eval(), torch.randn(PICTURES)


@pytest.mark.parametrize("newer", [False, True], ids=["traced", "exported"])
@pytest.mark.parametrize("name", [*VISION, "LSTM"])
def test_a_module_that_pytorch_writes(name: str, newer: bool, tmp_path: Path) -> None:
    module, x = module_of(name)
    torch = import_module("torch")
    if newer:
        pytest.importorskip("onnxscript")
        how: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "external_data": False}
    else:
        how = {"dynamic_axes": {"x": {0: "n"}}}
    path = tmp_path / "net.onnx"
    torch.onnx.export(module, (x,), str(path), input_names=["x"], dynamo=newer, **how)
    right = module(x).detach().numpy()
    model = compile_onnx(open_onnx(path), pc.kernels_for("auto"))
    (found,) = proved(model, {"x": x.numpy()}).values()
    assert near(found, right)
    assert (found.reshape(right.shape).argmax(-1) == right.argmax(-1)).all()


# -- trees -------------------------------------------------------------------------------------------------
def forest() -> tuple[bytes, Array, Array]:
    data, ensemble, convert = (import_module(m) for m in ("sklearn.datasets", "sklearn.ensemble", "skl2onnx"))
    x, y = data.load_digits(return_X_y=True)
    x = x.astype(np.float32)
    fitted = ensemble.RandomForestClassifier(8, max_depth=6, random_state=0).fit(x, y)
    made = convert.to_onnx(fitted, x[:1], options={"zipmap": False})
    return made.SerializeToString(), x[::100], fitted.predict_proba(x[::100])


def boosted() -> tuple[bytes, Array, Array]:
    data, ensemble, convert = (import_module(m) for m in ("sklearn.datasets", "sklearn.ensemble", "skl2onnx"))
    x, y = data.load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    fitted = ensemble.GradientBoostingRegressor(n_estimators=12, random_state=0).fit(x, y)
    return convert.to_onnx(fitted, x[:1]).SerializeToString(), x[::100], fitted.predict(x[::100])


@pytest.mark.parametrize("made", [forest, boosted])
def test_trees_that_scikit_learn_fits(made: Callable[[], tuple[bytes, Array, Array]], tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx")
    data, x, right = made()
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    model = compile_onnx(open_onnx(path), pc.kernels_for("auto"))
    found = proved(model, {"X": x})
    np.testing.assert_allclose(list(found.values())[-1].reshape(right.shape), right, rtol=1e-5, atol=1e-6)


# -- Silero VAD --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["silero_vad", "silero_vad_half", "silero_vad_op18_ifless"])
def test_voices_are_found_as_by_onnxruntime(name: str) -> None:
    """A request has the state before a piece of sound as an input, and an answer the state after it."""
    runtime = pytest.importorskip("onnxruntime")
    found = find_spec("silero_vad")  # importing it would import torch and torchaudio
    if found is None or found.origin is None:
        pytest.skip("silero-vad is not installed")
    path = Path(found.origin).parent / "data" / f"{name}.onnx"
    file = open_onnx(path)
    rate: dict[str, Any] = {d.name: np.array(16000) for d in file.inputs if d.name == "sr"}
    model = compile_onnx(
        file, pc.kernels_for("auto"), shapes={"input": (1, 576), "state": (2, 1, 128)}, values=rate
    )
    session = runtime.InferenceSession(str(path))
    time = np.arange(3 * 576, dtype=np.float32) / 16000
    sound = (0.3 * np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 3 * time)).astype(np.float32)
    state = np.zeros((1, 2, 1, 128), np.float32)
    for piece in sound.reshape(3, 1, 576):
        right, after = session.run(None, {"input": piece, "state": state[0], **rate})
        outputs = proved(model, {"input": piece, "state": state})
        assert near(outputs["output"], right, 0.01)
        assert near(outputs["stateN"], after, 0.01)
        state = outputs["stateN"].reshape(1, 2, 1, 128)
