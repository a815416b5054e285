"""The operators of ATen that resize pictures, and sample them at places that the row says."""

from __future__ import annotations

from proofcompute.importers.aten.calls import Call, operator
from proofcompute.importers.lowering import resampling
from proofcompute.importers.lowering.values import Value

__all__: list[str] = []


@operator(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)  # fmt: skip
def _upsample(c: Call) -> Value:
    x = c.value("self" if "self" in c.arguments else "input")
    exact = "exact" in c.op
    mode = "nearest" if "nearest" in c.op else "cubic" if "cubic" in c.op else "linear"
    corners = c.flag("align_corners")
    if mode == "nearest":
        coordinates = "half_pixel" if exact else "asymmetric"
    else:
        coordinates = "align_corners" if corners else "half_pixel"
    how = resampling.Resize(
        mode, coordinates, "round_prefer_ceil" if exact else "floor", antialias=c.op.endswith("_aa"),
        exclude_outside=c.op.endswith("_aa"), cubic=-0.5 if c.op.endswith("_aa") else -0.75,
    )  # fmt: skip
    given = _scales(c, len(x.shape) - 2)
    for axis in range(2, len(x.shape)):
        n, out = x.shape[axis], c.shape[axis]
        scale = given[axis - 2] if given else None
        # with the corners aligned only the sizes count
        by = out / n if scale is None or corners else scale
        if n != out or by != 1:
            x = resampling.resize_axis(c.g, x, axis, out, by, how)
    return x


def _scales(c: Call, count: int) -> list[float | None]:
    if "scale_factors" in c.arguments:
        found = c.get("scale_factors")
        return [float(s) for s in found] if found else []
    names = ("scales",) if count == 1 else ("scales_d", "scales_h", "scales_w")[-count:]
    return [None if c.get(n) is None else c.real(n) for n in names]


@operator("grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "grid_sample")
def _grid_sample(c: Call) -> Value:
    mode = ("linear", "nearest", "cubic")[c.whole("interpolation_mode", 0)]
    padding = ("zeros", "border", "reflection")[c.whole("padding_mode", 0)]
    return resampling.grid_sample(
        c.g, c.value("input"), c.value("grid"), mode, padding, corners=c.flag("align_corners")
    )
