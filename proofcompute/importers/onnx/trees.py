"""The operators of ONNX for classical models: trees, linear models, encoders of numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.lowering import elements as el
from proofcompute.importers.lowering import moves, norms, products
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.trees import MEMBER, Trees
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, constant, is_float
from proofcompute.importers.onnx.calls import Call, Given, operator

__all__: list[str] = []

_ML: Final = "ai.onnx.ml"
_MODES: Final = {
    "BRANCH_LEQ": 0, "BRANCH_LT": 1, "BRANCH_GTE": 2, "BRANCH_GT": 3, "BRANCH_EQ": 4, "BRANCH_NEQ": 5,
}  # fmt: skip
_AFTER: Final = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def _floats(c: Call, name: str) -> Array:
    """Return numbers that are a list or a tensor."""
    tensor = c.attributes.get(f"{name}_as_tensor")
    if isinstance(tensor, Constant):
        return np.asarray(tensor.array, np.float32).reshape(-1)
    return np.array(c.attributes.get(name, []), np.float32)


def _ints(c: Call, name: str) -> Array:
    return np.array(c.wholes(name, []), np.int64)


def _rows(c: Call) -> Value:
    x = c.value(0)
    return x if len(x.shape) == 2 else c.g.reshape(x, (1, *x.shape))


def _old_trees(c: Call, prefix: str, targets: int) -> Trees:
    """Return the trees of versions before 5, whose nodes are named by tree and number."""
    ids = list(zip(_ints(c, "nodes_treeids").tolist(), _ints(c, "nodes_nodeids").tolist(), strict=True))
    at = {key: i for i, key in enumerate(ids)}
    if len(at) != len(ids):
        raise RefusedError("two nodes of one tree have the same number")
    n = len(ids)
    modes = [m.decode() if isinstance(m, bytes) else str(m) for m in c.attributes["nodes_modes"]]
    yes, no = _ints(c, "nodes_truenodeids").tolist(), _ints(c, "nodes_falsenodeids").tolist()
    mode = np.zeros(n, np.int64)
    for i, ((tree, _), name, a, b) in enumerate(zip(ids, modes, yes, no, strict=True)):
        if name == "LEAF":
            yes[i] = no[i] = i
            continue
        if name not in _MODES:
            raise RefusedError(f"a compare {name!r}")
        mode[i] = _MODES[name]
        yes[i], no[i] = at[tree, a], at[tree, b]
    follow = {k for i in range(n) if yes[i] != i or no[i] != i for k in (yes[i], no[i])}
    roots = [i for i in range(n) if i not in follow]
    trees = {tree for tree, _ in ids}
    if len(roots) != len(trees):
        raise RefusedError("a tree has no root, or several")
    values = np.zeros((n, targets), np.float32)
    key = "class" if prefix == "class" else "target"
    places = zip(
        _ints(c, f"{key}_treeids").tolist(), _ints(c, f"{key}_nodeids").tolist(),
        _ints(c, f"{key}_ids").tolist(), _floats(c, f"{key}_weights").tolist(), strict=True,
    )  # fmt: skip
    for tree, number, target, weight in places:
        if not 0 <= target < targets:
            raise RefusedError(f"a leaf adds to target {target} of {targets}")
        values[at[tree, number], target] += np.float32(weight)
    missing = _ints(c, "nodes_missing_value_tracks_true")
    return Trees(
        _ints(c, "nodes_featureids"),
        _floats(c, "nodes_values"),
        mode,
        np.array(yes, np.int64),
        np.array(no, np.int64),
        missing.astype(bool) if len(missing) else np.zeros(n, bool),
        np.array(roots, np.int64),
        values,
    )


def _aggregated(g: Graph, leaves: Value, how: str) -> Value:
    if how in ("MIN", "MAX"):
        return g.reduce(how.lower(), leaves, (1,))
    total = g.reduce("sum", leaves, (1,))
    return g.map("div", total, float(leaves.shape[1])) if how == "AVERAGE" else total


def _after(g: Graph, x: Value, how: str) -> Value:
    if how in ("NONE", ""):
        return x
    if how == "SOFTMAX":
        return norms.softmax(g, x, len(x.shape) - 1)
    if how == "LOGISTIC":
        return el.UNARY["sigmoid"](g, x)
    if how == "SOFTMAX_ZERO":
        none = g.map("eq", x, 0.0)
        masked = g.select(none, -np.inf, x)
        found = norms.softmax(g, masked, len(x.shape) - 1)
        return g.select(none, 0.0, found)
    raise RefusedError(f"post_transform {how!r}")


def _based(c: Call, x: Value, width: int) -> Value:
    base = _floats(c, "base_values")
    if not len(base):
        return x
    if len(base) != width:
        raise RefusedError(f"{len(base)} base values for {width} targets")
    return c.g.map("add", x, constant(base, "f32"))


@operator("TreeEnsembleRegressor", domain=_ML)
def _regressor(c: Call) -> Given:
    targets = c.whole("n_targets", 1)
    trees = _old_trees(c, "target", targets)
    total = _aggregated(c.g, trees.leaves(c.g, _rows(c)), c.text("aggregate_function", "SUM"))
    return _after(c.g, _based(c, total, targets), c.text("post_transform", "NONE"))


def _labels(c: Call) -> Constant:
    if "classlabels_int64s" in c.attributes or "classlabels_ints" in c.attributes:
        name = "classlabels_int64s" if "classlabels_int64s" in c.attributes else "classlabels_ints"
        return constant(_ints(c, name), "i64")
    raise RefusedError("classes whose labels are texts")


def _classified(
    c: Call, labels: Constant, scores: Value, how: str, *, one: bool, positive: bool
) -> list[Given]:
    """Return the label and the scores of each row; with one score for two classes, those of both."""
    g = c.g
    if one:
        score = scores
        best = g.cast(g.map("lt", 0.5 if positive and how == "NONE" else 0.0, score), "i64")
        if how == "LOGISTIC":
            second = el.UNARY["sigmoid"](g, score)
            first = g.map("sub", 1.0, second)
        else:
            second = score
            first = g.map("sub", 1.0, score) if positive else g.map("neg", score)
        both = g.concat([first, second], 1)
        chosen = g.take(labels, g.reshape(best, (score.shape[0],)))
        return [chosen, both if how in ("LOGISTIC", "NONE") else _after(g, both, how)]
    best = g.cast(g.reduce("argmax", scores, (1,)), "i64")
    return [g.take(labels, best), _after(g, scores, how)]


@operator("TreeEnsembleClassifier", domain=_ML)
def _classifier(c: Call) -> list[Given]:
    labels = _labels(c)
    width = labels.shape[0]
    ids = set(_ints(c, "class_ids").tolist())
    trees = _old_trees(c, "class", width)
    leaves = trees.leaves(c.g, _rows(c))
    total = c.g.reduce("sum", leaves, (1,))
    base = _floats(c, "base_values")
    one = width == 2 and len(ids) == 1
    if one:
        (column,) = ids
        total = c.g.slice(total, 1, column, column + 1)
        if len(base):
            total = c.g.map("add", total, float(base[-1]))
    else:
        total = _based(c, total, width)
    positive = bool((_floats(c, "class_weights") >= 0).all())
    return _classified(c, labels, total, c.text("post_transform", "NONE"), one=one, positive=positive)


@operator("TreeEnsemble", domain=_ML)
def _ensemble(c: Call) -> Given:
    """Version 5, whose leaves are apart from the nodes."""

    def tensor(name: str) -> Array:
        found: Any = c.attributes.get(name)
        if not isinstance(found, Constant):
            raise RefusedError(f"attribute {name} is no tensor")
        return found.array.reshape(-1)

    targets = c.whole("n_targets")
    splits, modes = tensor("nodes_splits"), tensor("nodes_modes").astype(np.int64)
    inner, weights = len(splits), tensor("leaf_weights")
    leaf_of, n = _ints(c, "leaf_targetids"), len(splits) + len(weights)
    how = ("AVERAGE", "SUM", "MIN", "MAX")[c.whole("aggregate_function", 1)]
    fill = {"MIN": np.inf, "MAX": -np.inf}.get(how, 0.0)
    values = np.full((n, targets), fill, np.float32)
    values[inner + np.arange(len(weights)), leaf_of] = weights

    def follow(which: str) -> Array:
        ids, leafs = _ints(c, f"nodes_{which}nodeids"), _ints(c, f"nodes_{which}leafs")
        found = np.arange(n)
        found[:inner] = np.where(leafs != 0, ids + inner, ids)
        return found

    def padded(v: Array, dtype: Any) -> Array:
        made = np.zeros(n, dtype)
        made[:inner] = v
        return made

    members = None
    if (modes == MEMBER).any():
        members = _members(c, modes, n)
    missing = _ints(c, "nodes_missing_value_tracks_true")
    trees = Trees(
        padded(_ints(c, "nodes_featureids"), np.int64),
        padded(splits, np.float32),
        padded(modes, np.int64),
        follow("true"),
        follow("false"),
        padded(missing, bool) if len(missing) else np.zeros(n, bool),
        _ints(c, "tree_roots"),
        values,
        members,
    )
    x = c.value(0)
    total = _aggregated(c.g, trees.leaves(c.g, _rows(c)), how)
    return c.g.cast(_after(c.g, total, _AFTER[c.whole("post_transform", 0)]), x.dtype)


def _members(c: Call, modes: Array, n: int) -> Array:
    """Return the sets of nodes that ask for members, which NaN separates in one list."""
    given = c.attributes.get("membership_values")
    if not isinstance(given, Constant):
        raise RefusedError("sets are missing")
    sets: list[list[float]] = [[]]
    for v in given.array.reshape(-1).tolist():
        if np.isnan(v):
            sets.append([])
        else:
            sets[-1].append(v)
    where = np.flatnonzero(modes == MEMBER)
    if len(sets) < len(where):
        raise RefusedError("a set is missing")
    made = np.full((n, max(1, *map(len, sets))), np.nan, np.float32)
    for i, members in zip(where, sets, strict=False):
        made[i, : len(members)] = members
    return made


# -- other models ------------------------------------------------------------------------------------------
@operator("LinearRegressor", domain=_ML)
def _linear_regressor(c: Call) -> Given:
    targets = c.whole("targets", 1)
    weights = _floats(c, "coefficients").reshape(targets, -1)
    bias = _floats(c, "intercepts") if "intercepts" in c.attributes else np.zeros(targets, np.float32)
    x = c.g.cast(_rows(c), "f32")
    made = products.linear(c.g, x, constant(weights, "f32"), constant(bias, "f32"))
    return _after(c.g, made, c.text("post_transform", "NONE"))


@operator("LinearClassifier", domain=_ML)
def _linear_classifier(c: Call) -> list[Given]:
    labels = _labels(c)
    bias = _floats(c, "intercepts")
    rows = len(bias) or labels.shape[0]
    weights = _floats(c, "coefficients").reshape(rows, -1)
    bias = bias if len(bias) else np.zeros(rows, np.float32)
    x = c.g.cast(_rows(c), "f32")
    scores = products.linear(c.g, x, constant(weights, "f32"), constant(bias, "f32"))
    one = rows == 1 and labels.shape[0] == 2
    return _classified(c, labels, scores, c.text("post_transform", "NONE"), one=one, positive=False)


@operator("Scaler", domain=_ML)
def _scaler(c: Call) -> Given:
    g, x = c.g, c.g.cast(c.value(0), "f32")
    moved = g.map("sub", x, constant(_floats(c, "offset"), "f32")) if "offset" in c.attributes else x
    return g.map("mul", moved, constant(_floats(c, "scale"), "f32")) if "scale" in c.attributes else moved


@operator("Normalizer", domain=_ML)
def _normalizer(c: Call) -> Given:
    g, x, how = c.g, c.g.cast(_rows(c), "f32"), c.text("norm", "MAX")
    if how == "MAX":
        size = g.reduce("max", g.map("abs", x), (1,), keep=True)
        none = g.map("eq", size, 0.0)
        return g.map("div", x, g.select(none, 1.0, size))
    return norms.lp_norm(g, x, 1, 1 if how == "L1" else 2)


@operator("Imputer", domain=_ML)
def _imputer(c: Call) -> Given:
    g, x = c.g, c.value(0)
    if is_float(x.dtype):
        old = c.real("replaced_value_float", 0.0) if "replaced_value_float" in c.attributes else 0.0
        new: Any = constant(_floats(c, "imputed_value_floats"), x.dtype)
        bad = el.is_nan(g, x) if np.isnan(old) else g.map("eq", x, old)
    else:
        new = constant(_ints(c, "imputed_value_int64s"), x.dtype)
        bad = g.map("eq", x, c.whole("replaced_value_int64", 0))
    return g.select(bad, g.broadcast(new, x.shape), x)


@operator("ArrayFeatureExtractor", domain=_ML)
def _extractor(c: Call) -> Given:
    x, numbers = c.value(0), c.value(1)
    flat = c.g.reshape(numbers, (int(np.prod(numbers.shape)),))
    return moves.gather(c.g, x, flat, len(x.shape) - 1)


@operator("Binarizer", domain=_ML)
def _binarizer(c: Call) -> Given:
    x = c.value(0)
    return c.g.cast(c.g.map("lt", c.real("threshold", 0.0), x), x.dtype)


@operator("LabelEncoder", domain=_ML)
def _label_encoder(c: Call) -> Given:
    g, x = c.g, c.value(0)

    def numbers(what: str) -> tuple[Array, str]:
        for suffix, dtype in (("int64s", "i64"), ("floats", "f32")):
            if f"{what}_{suffix}" in c.attributes:
                return np.array(c.attributes[f"{what}_{suffix}"]), dtype
        tensor = c.attributes.get(f"{what}_tensor")
        if isinstance(tensor, Constant):
            return tensor.array.reshape(-1), tensor.dtype
        raise RefusedError("texts")

    keys, kind = numbers("keys")
    values, dtype = numbers("values")
    if len(keys) != len(values) or len(keys) > 1 << 12 or kind != x.dtype:
        raise RefusedError(f"{len(keys)} keys of {kind} for {len(values)} values")
    tensor = c.attributes.get("default_tensor")
    default: Any = tensor.array.reshape(-1)[0].item() if isinstance(tensor, Constant) else None
    if default is None:
        default = c.whole("default_int64", -1) if dtype == "i64" else c.real("default_float", -0.0)
    found: Value = g.broadcast(constant(default, dtype), x.shape)
    for key, value in reversed(list(zip(keys.tolist(), values.tolist(), strict=True))):
        same = el.is_nan(g, x) if isinstance(key, float) and np.isnan(key) else g.map("eq", x, key)
        found = g.select(same, value, found)
    return found
