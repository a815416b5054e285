"""Modules of PyTorch are wrapped: results near the module's, audits, and what cannot be wrapped."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

import proofcompute as pc  # noqa: E402
from aten.networks import NETWORKS, example  # noqa: E402
from cuda_rig import EmulatedDevice, why_not  # noqa: E402
from proofcompute.arithmetic import devices  # noqa: E402
from proofcompute.arithmetic.backends.cuda import CudaKernels  # noqa: E402
from proofcompute.functions import Proof  # noqa: E402
from proofcompute.importers.lowering.values import RefusedError  # noqa: E402
from proofcompute.modules import ModuleReport, tensors  # noqa: E402
from proofcompute.program.operations import Contract  # noqa: E402


def _audited(net: Any, proof: Proof) -> pc.Verified:
    auditor = pc.Auditor(net.key(), device=net.node.kernels, node=net.node.public)
    return auditor.audit(proof.request, proof.receipt, proof.open, cells="all")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_near_the_module_for_other_inputs_and_audited(name: str) -> None:
    module, x = example(name, 2)
    net = pc.wrap(module, x, device="numpy")
    others = NETWORKS[name][1](10)
    with torch.no_grad():
        right = module(others)
    result, proof = net(others)
    several = isinstance(right, tuple)
    for found, exact in zip(result if several else [result], right if several else [right], strict=True):
        assert found.dtype == exact.dtype
        apart = (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
        assert float(apart.max()) < 0.01
        if exact.dim() == 2 and not several:
            assert bool((found.argmax(1) == exact.argmax(1)).all())
    verified = _audited(net, proof)
    assert verified.cells == verified.total


def test_a_report_says_what_is_proved_and_what_it_costs() -> None:
    module, x = example("mlp", 4)
    net = pc.wrap(module, x, precision="w8a8", device="numpy")
    report = net.report()
    assert isinstance(report, ModuleReport)
    assert 0 < report.error < 0.1
    assert report.same_top == 1.0
    assert report.rows == 4
    assert report.segments == 1
    assert report.multiplications == 48 * 4  # a product of 20 terms is made in floats
    assert report.prices.cheaper in ("key", "weights")
    assert report.proved_seconds >= report.run_seconds > 0
    text = str(report)
    assert "not PyTorch's own kernels" in text
    assert "better to hold" in text
    assert net.report() is report


def test_the_backend_of_the_cpu_gives_the_same_receipts() -> None:
    module, x = example("encoder", 2)
    roots = []
    for device in ("numpy", "cpu"):
        net = pc.wrap(module, x, precision="w8a16", device=device)
        request = pc.array_request(net.model, x.numpy(), nonce=bytes(32))
        roots.append((net.model.model_id, pc.Receipt.decode(net.node.answer(request).receipt).trace_root))
    assert roots[0] == roots[1]


def test_a_recipe_gives_the_same_model_again() -> None:
    module, x = example("encoder", 2)
    first = pc.wrap(module, x, device="numpy")
    recipe = first.model.manifest["recipe"]
    again = pc.wrap(module, torch.randn(1, 6, 32), precision=recipe, device="numpy")
    assert again.model.model_id == first.model.model_id
    with pytest.raises(pc.InputError, match="which is no product"):
        pc.wrap(*example("mlp", 2), precision=recipe, device="numpy")


def test_products_of_activations_are_chosen_too() -> None:
    def attend(m: nn.Module, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x)

    x = torch.randn(2, 40, 64)
    net = pc.wrap(_Lambda(attend).eval(), x, device="numpy")
    limbs = [n.op.limbs for s in net.model.program.segments for n in s.nodes if isinstance(n.op, Contract)]
    assert len(limbs) == 2
    assert 1 in limbs
    assert 0 < net.report().error < 0.01


def test_a_wrapped_module_serves_requests_that_others_make() -> None:
    module, x = example("mlp", 2)
    net = pc.wrap(module, x, device="numpy")
    request = net.request(x)
    assert request.node == b""
    answer = pc.Node(net.model, device="numpy").answer(request)
    assert np.array_equal(answer.outputs["result"], net(x)[0].numpy())


class _Named(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.last = nn.Linear(8, 4)

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, scale: float = 1.0
    ) -> dict[str, Tensor | None]:
        h = self.words(ids) * scale
        if mask is not None:
            h = h * mask[..., None]
        return {"logits": self.last(h.mean(1)), "nothing": None, "top": self.last(h).argmax(-1)}


def test_arguments_by_name_and_results_in_containers() -> None:
    module = _Named().eval()
    ids, mask = torch.randint(0, 20, (3, 6)), torch.ones(3, 6)
    net = pc.wrap(module, ids, kwargs={"mask": mask, "scale": 2.0}, device="numpy")
    result, proof = net(ids[:2], scale=2.0, mask=mask[:2])
    assert set(result) == {"logits", "nothing", "top"}
    assert result["nothing"] is None
    assert result["top"].dtype == torch.int64
    assert bool((result["top"] == module(ids[:2], mask[:2], 2.0)["top"]).all())
    assert _audited(net, proof).cells
    for args, kwargs, reason in (
        ((ids,), {"mask": mask, "scale": 1.0}, "wrapped with 2.0"),
        ((ids,), {"mask": mask}, "other arguments"),
        ((ids[:, :5],), {"mask": mask, "scale": 2.0}, "as ids"),
        ((ids.float(),), {"mask": mask, "scale": 2.0}, "as ids"),
        ((ids[:2],), {"mask": mask, "scale": 2.0}, "different numbers of rows"),
        ((), {"words": ids}, "missing"),
        (("text",), {"mask": mask, "scale": 2.0}, "a str is given"),
    ):
        with pytest.raises(pc.InputError, match=reason):
            net(*args, **kwargs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_floats_are_widened_and_given_back(dtype: str) -> None:
    kind = getattr(torch, dtype)
    module, x = example("mlp", 2)
    short = module.to(kind)
    exact = short.float()(x.to(kind).float())
    short.to(kind)
    net = pc.wrap(short, x.to(kind), precision="w16a16", device="numpy")
    made, _ = net(x.to(kind))
    assert made.dtype == kind
    assert float((made.float() - exact).norm() / exact.norm()) < 0.01
    assert net.report().error < (0.01 if dtype != "float64" else 1e-3)
    assert next(short.parameters()).dtype == kind


def test_a_batch_as_one_row_may_mix_its_samples() -> None:
    module, x = example("mlp", 3)

    class Centred(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x - x.mean(0))

    with pytest.raises(
        RefusedError, match=r"'mean' \(aten.mean.dim\) at .*test_wrap.py:\d+ mixes the samples"
    ):
        pc.wrap(Centred().eval(), x, device="numpy")
    net = pc.wrap(Centred().eval(), x, precision="w16a16", device="numpy", whole=True)
    made, proof = net(x)
    assert made.shape == (3, 4)
    assert float((made - Centred()(x)).norm()) < 1e-3 * float(made.norm())
    assert _audited(net, proof).total == 1
    with pytest.raises(pc.InputError, match="wrapped with f32"):
        net(x[:2])


class _Lambda(nn.Module):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def _branch(m: nn.Module, x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x * 2
    return x


def _counting(m: nn.Module, x: Tensor) -> Tensor:
    m.count += 1
    return x + m.count


def _changing(m: nn.Module, x: Tensor) -> Tensor:
    return x.mul_(2)


def _failing(m: nn.Module, x: Tensor) -> Tensor:
    raise ValueError("no such place")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_branch, r"data-dependent.*test_wrap.py:\d+"),
        (_counting, "changes count when it runs"),
        (_changing, "changes .*when it runs"),
        (_failing, r"ValueError: no such place \(at .*test_wrap.py:\d+"),
        (lambda m, x: x[x > 0], r"'index' \(aten.index.Tensor\).*depends on the values"),
        (
            lambda m, x: torch.linalg.inv(x[:, :, None] * x[:, None]),
            r"node '.*' \(.*aten._linalg_check_errors.*\) at .*test_wrap.py:\d+: .*an effect",
        ),
        (lambda m, x: x + torch.rand(4), r"'rand' \(aten.rand.default\).*random numbers"),
        (lambda m, x: torch.fft.fft(x).abs(), r"node '.*fft.*type torch.complex64"),
        (lambda m, x: x.sum(), "no axis of samples|mixes"),
        (lambda m, x: x.flip(0), r"'flip' \(aten.flip.default\).*mixes the samples"),
        (lambda m, x: x.cumsum(0), r"'cumsum' \(aten.cumsum.default\).*mixes the samples"),
        (lambda m, x: x.softmax(0), r"softmax.*mixes the samples"),
        (lambda m, x: x @ x.T, r"mixes the samples"),
        (lambda m, x: torch.ones(3), "samples"),
    ],
)
def test_what_cannot_be_proved_is_refused_by_name(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        pc.wrap(_Lambda(function).eval(), torch.randn(3, 4), precision="w8a8", device="numpy")


def test_what_is_no_module_in_evaluation_is_refused(tmp_path: Any) -> None:
    module, x = example("mlp", 2)
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(module, (x,)), path)
    for given in (path, str(path), torch.export.load(path), lambda x: x):
        with pytest.raises(pc.InputError, match=r"give a torch.nn.Module"):
            pc.wrap(given, x)
    with pytest.raises(pc.InputError, match="call eval"):
        pc.wrap(module.train(), x)
    module.eval()
    with pytest.raises(pc.InputError, match="precision 'w4'"):
        pc.wrap(module, x, precision="w4")
    with pytest.raises(pc.InputError, match=r"has no tensor|missing"):
        pc.wrap(module)
    with pytest.raises(pc.InputError, match="different first axes"):
        pc.wrap(_Named().eval(), torch.zeros(2, 3, dtype=torch.int64), kwargs={"mask": torch.ones(3, 3)})
    inner = nn.Sequential(nn.Linear(20, 4), nn.BatchNorm1d(4)).eval()
    inner[1].train()
    with pytest.raises(RefusedError, match=r"per channel when training|changes 1.running_mean"):
        pc.wrap(inner, x)


def test_results_that_are_not_finite_are_an_error() -> None:
    net = pc.wrap(_Lambda(lambda m, x: torch.log(x)).eval(), torch.rand(2, 4) + 1, device="numpy")
    with pytest.raises(pc.ExecutionError):
        net(-torch.ones(2, 4))


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "wrap_torch.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "2 of " in shown
    assert "rejected: " in shown


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_a_cuda_device_gives_the_same_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices._made, "cuda:0", CudaKernels(EmulatedDevice()))
    module, x = example("encoder", 2)
    roots = []
    for device in ("numpy", "cuda:0"):
        net = pc.wrap(module, x, precision="w8a8", device=device)
        request = pc.array_request(net.model, x.numpy(), nonce=bytes(32))
        roots.append((net.model.model_id, pc.Receipt.decode(net.node.answer(request).receipt).trace_root))
        assert net(x)[0].device == x.device
    assert roots[0] == roots[1]


class OnDevice:
    """An array of a backend on a CUDA device, which is never to be seen by the host."""

    def __init__(self, kind: int, number: int) -> None:
        self.place = kind, number

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place


@pytest.mark.parametrize(
    ("place", "device", "shared"),
    [
        ((2, 0), "cuda", True),
        ((2, 1), "cuda:1", True),
        ((13, 0), "cuda:0", True),
        ((2, 1), "cuda:0", False),
        ((1, 0), "cuda:0", False),
        ((2, 0), "cpu", False),
    ],
)
def test_a_result_stays_on_its_device(
    monkeypatch: pytest.MonkeyPatch, place: tuple[int, int], device: str, shared: bool
) -> None:
    """Only an array that lies where the caller's tensor does is handed on by DLPack, and it is copied."""
    memory = torch.arange(3, dtype=torch.float32)
    hosted: list[Any] = []
    monkeypatch.setattr(torch, "from_dlpack", lambda x: memory)
    monkeypatch.setattr(Tensor, "to", _to_cpu)

    def host(x: Any) -> Any:
        hosted.append(x)
        return np.full(3, 7, np.float32)

    found = tensors.back(OnDevice(*place), torch.float32, torch.device(device), host)  # type: ignore[arg-type]
    assert bool(hosted) != shared
    assert found.tolist() == ([0.0, 1.0, 2.0] if shared else [7.0] * 3)
    found[:] = 9
    assert memory.tolist() == [0.0, 1.0, 2.0]


_TO = Tensor.to


def _to_cpu(x: Tensor, *, device: Any = None, **how: Any) -> Tensor:
    """Move a tensor as PyTorch does, to the host instead of a device that is not there."""
    return _TO(x, **how)


def test_results_are_made_of_what_the_run_left_and_are_the_receipts() -> None:
    module, x = example("mlp", 2)
    net = pc.wrap(module, x, precision="w8a8", device="numpy")
    result, proof = net(x)
    ((_, data),) = pc.Receipt.decode(proof.receipt).outputs
    assert result.numpy().tobytes() == data
    result[:] = 0
    assert _audited(net, proof).cells
