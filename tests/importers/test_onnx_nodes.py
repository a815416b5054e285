"""Node tests of the ``onnx`` package, run as programs."""

from __future__ import annotations

import pytest

from importers import onnx_nodes

SAMPLE = (
    "test_add_bcast",
    "test_and_bcast4v4d",
    "test_averagepool_2d_ceil",
    "test_basic_conv_with_padding",
    "test_cast_UINT4_to_UINT8",
    "test_convtranspose_pads",
    "test_einsum_batch_matmul",
    "test_gather_2d_indices",
    "test_gridsample_bicubic",
    "test_layer_normalization_4d_axis1",
    "test_matmul_3d",
    "test_maxpool_2d_dilations",
    "test_resize_upsample_sizes_cubic",
    "test_scatter_elements_with_reduction_min",
    "test_softmax_axis_1",
    "test_top_k_smallest",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_sample(name: str) -> None:
    outcome = onnx_nodes.run_case(onnx_nodes.cases()[name])
    assert (outcome.result, outcome.reason) == ("passed", "")
    assert not outcome.folded
