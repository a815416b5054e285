"""Precision `auto`: what is chosen, that everybody chooses the same, and recipes."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthetic
from cli.driver import call, done, refused
from importers import families
from importers.tiny import write_tiny_gguf
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers import compile_decoder, open_gguf
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import PRECISIONS, Precision, choosing
from proofcompute.importers.compiling import compile as compiled
from proofcompute.importers.compiling.choosing import Choice, Divergence, choose
from proofcompute.importers.compiling.known import CHOSEN, known_choice
from proofcompute.importers.compiling.precision import AUTO, COMPENSATED, ROUNDINGS
from proofcompute.quality import FloatReference, compare_texts

KNOWN = json.loads(
    resources.files("proofcompute.importers.compiling").joinpath(CHOSEN).read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("auto") / "tiny.gguf", seed=5)


@pytest.fixture(scope="module")
def checkpoint(path: Path) -> Checkpoint:
    return open_gguf(path)


def test_d_is_the_divergence_of_near_distributions() -> None:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((5, 40)).astype(np.float32)
    other = z + rng.standard_normal(z.shape).astype(np.float32) * np.float32(0.01) + np.float32(2)
    p, q = (x.astype(np.float64) for x in (z, other))
    p, q = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (p, q))
    exact = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    assert Divergence(z)(other) == pytest.approx(exact, rel=0.02)
    assert Divergence(z)(z) == 0
    rows = np.concatenate([z] * 5)  # more than are compared at a time
    assert Divergence(rows)(np.concatenate([other] * 5)) == pytest.approx(Divergence(z)(other))


def test_more_matrices_have_two_limbs_the_nearer_the_model_is_to_be(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Choice] = []
    for share in (None, 0.5, 0.0):
        target = 1.0 if share is None else found[0].divergence * share
        monkeypatch.setattr(choosing, "TARGET", target)
        found.append(choose(checkpoint, synthetic.KERNELS, compiled._weight))
        assert found[-1].divergence <= target
    least, some, most = (c.precision.exact for c in found)
    assert least == set()
    assert least < some < most
    assert most == {
        "head",
        *(
            f"block.{i}.{m}"
            for i in (0, 1)
            for m in ("attention.qkv", "attention.o", "ffn.gate_up", "ffn.down")
        ),
    }
    assert [c.cost for c in found][::2] == [1.0, 2.0]
    assert found[0].divergence > found[1].divergence > found[2].divergence == 0


def test_the_choice_is_the_same_on_every_backend(checkpoint: Checkpoint) -> None:
    a, b = (compile_decoder(checkpoint, kernels_for(device), "auto") for device in ("numpy", "cpu"))
    assert a.model_id == b.model_id
    assert a.manifest == b.manifest


def test_a_chosen_model_is_nearer_and_its_recipe_makes_it_again(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "TARGET", 1e-4)
    steps: list[tuple[int, int]] = []
    model = compile_decoder(checkpoint, synthetic.KERNELS, "auto", lambda *step: steps.append(step))
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert all(done <= total for done, total in steps)
    assert steps[-1][1] == len(steps)
    again = compile_decoder(checkpoint, synthetic.KERNELS, Precision.from_recipe(model.manifest["recipe"]))
    assert again.model_id == model.model_id
    assert model.manifest["precision"] == again.manifest["precision"] == "auto"
    assert 0 < float(model.manifest["expected_kl"]) <= 1e-4
    text = [int(t) for t in np.random.default_rng(0).integers(3, 290, 120)]
    reference = FloatReference(checkpoint)
    auto, uniform = (
        compare_texts(m, reference, [text], synthetic.KERNELS)
        for m in (model, compile_decoder(checkpoint, synthetic.KERNELS, "w8a16"))
    )
    assert auto.kl_mean < 0.7 * uniform.kl_mean  # the rest is the embedding


def test_what_is_known_of_a_checkpoint_is_not_chosen_again(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = compile_decoder(checkpoint, synthetic.KERNELS, "auto")
    facts = {key: chosen.manifest[key] for key in ("expected_kl", "weights_read")}
    known = Precision.from_recipe(chosen.manifest["recipe"]), facts
    monkeypatch.setattr(compiled, "choose", None)
    monkeypatch.setattr(compiled, "known_choice", lambda c: known if c is checkpoint else None)
    again = compile_decoder(checkpoint, synthetic.KERNELS, "auto")
    assert (again.model_id, again.manifest) == (chosen.model_id, chosen.manifest)


def test_what_is_known_names_checkpoints_by_their_digests(checkpoint: Checkpoint) -> None:
    assert known_choice(checkpoint) is None
    for digest in KNOWN:
        assert len(bytes.fromhex(digest)) == 32
        found = known_choice(replace(checkpoint, digest=bytes.fromhex(digest)))
        assert found is not None
        precision, facts = found
        assert precision.name == AUTO
        assert precision.exact
        assert 0 < float(facts["expected_kl"]) <= choosing.TARGET


@pytest.mark.slow
def test_what_is_known_of_the_demo_model_is_what_would_be_chosen(smollm2_path: Path) -> None:
    checkpoint = open_gguf(smollm2_path)
    choice = choose(checkpoint, kernels_for("auto"), compiled._weight)
    assert known_choice(checkpoint) == (choice.precision, choice.facts())


@pytest.mark.parametrize("case", ["gemma2", "phi", "mixtral", "deepseek"])
def test_families(tmp_path: Path, case: str) -> None:
    """Norms, feed-forward layers, heads and mixtures of other kinds, and latent attention."""
    name = next(c for c in families.FAMILIES if c.startswith(case))
    model = compile_decoder(families.opened(name, tmp_path / name), synthetic.KERNELS, "auto")
    assert model.manifest["precision"] == "auto"


def test_recipes_that_are_none(checkpoint: Checkpoint) -> None:
    good = json.loads(Precision("mine", 1, 2, exact=frozenset({"head"})).recipe())
    assert Precision.from_recipe(json.dumps(good)).exact == {"head"}
    changes: list[dict[str, Any]] = [
        {"w_limbs": 3},
        {"w_limbs": True},
        {"kv_limbs": "2"},
        {"exact": "head"},
        {"exact": [1]},
        {"exact": ["x"] * 100_000},
        {"name": None},
        {"more": 1},
        {"rounding": "up"},
        {"rounding": None},
        {"rounding": ["compensated"]},
    ]
    for change in changes:
        with pytest.raises(FormatError, match="recipe"):
            Precision.from_recipe(json.dumps({**good, **change}))
    for text in ("{", "[]", "null", "[" * 100_000):
        with pytest.raises(FormatError, match="recipe"):
            Precision.from_recipe(text)
    with pytest.raises(FormatError, match="'other'"):
        compile_decoder(checkpoint, synthetic.KERNELS, Precision("x", 1, 2, exact=frozenset({"other"})))
    with pytest.raises(UnsupportedError, match="none of auto, w8a8"):
        compile_decoder(checkpoint, synthetic.KERNELS, "w4a4")


def test_recipes_of_the_nearest_rounding_say_nothing_about_it() -> None:
    assert "rounding" not in json.loads(PRECISIONS["w8a16"].recipe())
    rounded = Precision("mine", 1, 2, rounding=COMPENSATED)
    assert Precision.from_recipe(rounded.recipe()) == rounded


def test_rounding_alone_makes_a_model_nearer(checkpoint: Checkpoint) -> None:
    """With the same limbs everywhere, errors that compensate each other are smaller on another text."""
    text = [int(t) for t in np.random.default_rng(0).integers(3, 290, 120)]
    nearest, rounded = (
        compare_texts(
            compile_decoder(checkpoint, synthetic.KERNELS, Precision("one", 1, 2, kv_limbs=2, rounding=how)),
            FloatReference(checkpoint),
            [text],
            synthetic.KERNELS,
        )
        for how in ROUNDINGS
    )
    assert rounded.kl_mean < 0.95 * nearest.kl_mean  # the rest is the embedding


def test_rows_that_are_stored_as_int8_stay_as_they_are(tmp_path: Path) -> None:
    name = next(c for c in families.FAMILIES if c.startswith("llama"))
    checkpoint = families.opened(name, tmp_path / name)
    kept = "layers.0.ffn.down"
    q, s = synthetic.KERNELS.quantise(checkpoint.tensor(kept), 1)
    stored = replace(checkpoint, read_quantised=lambda n, a, b: (q[0, a:b], s[a:b]) if n == kept else None)
    model = compile_decoder(
        stored, synthetic.KERNELS, Precision("one", 1, 2, kv_limbs=2, rounding=COMPENSATED)
    )
    assert model.matrix("block.0.ffn.down").q.tobytes() == q.tobytes()


def test_the_command_makes_a_model_again_from_what_inspect_prints(path: Path, tmp_path: Path) -> None:
    first, second, recipe = (tmp_path / name for name in ("first", "second", "recipe"))
    made = done("import", path, "-o", first, "--precision", "auto")
    seen = done("inspect", first)
    assert (seen["precision"], seen["recipe"]) == ("auto", made["recipe"])
    assert float(seen["expected_kl"]) >= 0
    recipe.write_text(seen["recipe"])
    assert done("import", path, "-o", second, "--recipe", recipe)["model_id"] == made["model_id"]
    recipe.write_text("{}")
    assert "a recipe has exactly" in refused("import", path, "-o", tmp_path / "third", "--recipe", recipe)
    assert not (tmp_path / "third").exists()


def test_inspect_says_which_matrices_have_two_limbs_and_what_they_cost(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    exact = frozenset({"block.0.ffn.down", "block.1.ffn.down", "block.1.attention.o", "head"})
    model = compile_decoder(checkpoint, synthetic.KERNELS, replace(PRECISIONS["w8a16"], exact=exact))
    model.save(tmp_path / "some")
    found = done("inspect", tmp_path / "some")
    assert set(found["two_limbs"]) == exact
    sizes = {s.name: s.rows * s.width for s in model.program.weights if s.kind == "matrix"}
    del sizes["embedding"]
    token = sum(n * (2 if name in exact else 1) for name, n in sizes.items()) / sum(sizes.values())
    assert found["token_cost"] == pytest.approx(token)
    head = sizes.pop("head")
    assert found["prompt_cost"] == pytest.approx(
        (token * (sum(sizes.values()) + head) - 2 * head) / sum(sizes.values())
    )
    text = call("inspect", tmp_path / "some").out
    assert "ffn.down of blocks 0-1" in text
    assert "attention.o of blocks 1\n" in text
    compile_decoder(checkpoint, synthetic.KERNELS, "w8a16").save(tmp_path / "none")
    assert "two_limbs" not in done("inspect", tmp_path / "none")
    compile_decoder(checkpoint, synthetic.KERNELS, "w16a16").save(tmp_path / "all")
    assert "all matrices of products" in call("inspect", tmp_path / "all").out
