"""A compiled model beside the float32 model it was made of: figures, greedy answers, the command."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import synthetic
from cli.driver import done, refused
from importers.tiny import write_tiny_gguf
from proofcompute.engine import Engine, all_logits
from proofcompute.engine.logits import PIECE
from proofcompute.errors import InputError
from proofcompute.importers import compile_decoder, open_gguf
from proofcompute.importers.float_model import FloatModel
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.quality import (
    FloatReference,
    Sums,
    compare_answers,
    compare_texts,
    open_reference,
    questions,
    text,
    windows,
)
from proofcompute.quality.answers import prompts_of
from proofcompute.quality.reference import Progress

F32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("quality") / "tiny.gguf", seed=3)


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return compile_decoder(open_gguf(path), synthetic.KERNELS, "w16a16")


def ids(count: int, seed: int = 0) -> list[int]:
    return [int(t) for t in np.random.default_rng(seed).integers(3, 290, count)]


def rows(pieces: Iterator[F32]) -> F32:
    return np.concatenate(list(pieces))


def test_logits_are_those_that_the_sampler_of_a_run_gets(model: Model) -> None:
    """A greedy run takes the largest logit after each token, whatever the pieces are."""
    engine = Engine(model, synthetic.KERNELS)
    prompt = ids(PIECE + 5)
    data = np.array(prompt, "<i4").tobytes()
    session = engine.add(
        Request(model.model_id, (("tokens", data),), bytes(32), Generation(12, ignore_end=True))
    )
    engine.run(session)
    texts = [[*prompt, *session.answer[:-1]], ids(3)]
    pieces = list(all_logits(model, synthetic.KERNELS, texts))
    assert [len(p) for p in pieces] == [PIECE, 16, 3]
    found = np.concatenate(pieces[:2])
    assert found[len(prompt) - 1 :].argmax(axis=1).tolist() == session.answer


def test_logits_are_near_those_of_the_float_model(path: Path, model: Model) -> None:
    checkpoint, tokens = open_gguf(path), ids(80)
    expected = FloatModel(checkpoint.arch, checkpoint.rows).logits(tokens)
    steps: list[int] = []
    found = rows(all_logits(model, synthetic.KERNELS, [tokens], progress=steps.append))
    assert np.linalg.norm(found - expected) <= 0.02 * np.linalg.norm(expected)
    assert sum(steps) == 2 * len(tokens)
    done: list[tuple[int, int]] = []
    pieces = rows(FloatReference(checkpoint).logits([tokens], lambda *step: done.append(step)))
    assert np.abs(pieces - expected).max() <= 1e-4
    assert sum(work for work, _ in done) == done[0][1]


def test_logits_of_texts_that_the_model_cannot_read(model: Model) -> None:
    for tokens in ([], [model.program.weight["embedding"].rows], ids(model.program.context + 1)):
        with pytest.raises(InputError):
            list(all_logits(model, synthetic.KERNELS, [tokens]))


def test_logits_of_a_model_without_a_sampler() -> None:
    builder = ProgramBuilder(context=8, device="numpy")
    builder.output(builder.linear(builder.input("x", 4), np.eye(4, dtype=np.float32)))
    built = builder.model()
    with pytest.raises(InputError, match="sampler"):
        list(all_logits(built, synthetic.KERNELS, [[1]]))


def test_figures_of_distributions_that_are_known() -> None:
    """p is 1/2, 1/4, 1/4; q is 1/4, 1/2, 1/4: KL = (1/2 - 1/4) log 2."""
    p, q = (np.log(np.array([x], np.float32)) for x in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]))
    sums = Sums()
    sums.add(p, p + 3, [0])  # a constant changes nothing
    sums.add(p, q, [1])
    found = sums.quality()
    assert found.tokens == 2
    assert found.perplexity_reference == pytest.approx(math.sqrt(8))
    assert found.perplexity == pytest.approx(2)
    assert found.relative == pytest.approx(2 / math.sqrt(8) - 1)
    assert found.kl_max == pytest.approx(math.log(2) / 4)
    assert found.kl_mean == pytest.approx(math.log(2) / 8)
    assert found.top1_agreement == 0.5
    with pytest.raises(InputError, match="not of the same model"):
        sums.add(p, q[:, :2], [0])
    with pytest.raises(InputError, match="fewer than two"):
        Sums().quality()


def test_a_worse_model_is_farther_from_the_reference(path: Path, model: Model) -> None:
    checkpoint = open_gguf(path)
    texts = windows(ids(300), 128)
    assert [len(t) for t in texts] == [128, 128, 44]
    reference = FloatReference(checkpoint)
    good = compare_texts(model, reference, texts, synthetic.KERNELS)
    worse = compare_texts(
        compile_decoder(checkpoint, synthetic.KERNELS, "w8a8"), reference, texts, synthetic.KERNELS
    )
    assert good.tokens == worse.tokens == 297
    assert 0 < good.kl_mean < worse.kl_mean
    assert good.kl_mean < good.kl_max
    assert abs(good.relative) < 0.01


class Biased:
    """The model's own logits, but for one token that it makes likely at a place of every text."""

    def __init__(self, model: Model, place: int, token: int) -> None:
        self._model, self._place, self._token = model, place, token

    def logits(
        self, texts: Sequence[Sequence[int] | npt.NDArray[np.int64]], progress: Progress = lambda a, b: None
    ) -> Iterator[F32]:
        for tokens in texts:
            found = rows(all_logits(self._model, synthetic.KERNELS, [tokens]))
            if len(found) > self._place:
                found[self._place, self._token] = found[self._place].max() + np.float32(0.5)
            for a in range(0, len(found), PIECE):
                yield found[a : a + PIECE]


def test_the_references_answer_is_its_own_greedy_one(model: Model) -> None:
    """Drafts of the model do not show in it: it is found token by token here."""
    asked = ["hello there", "the rest"]
    prompts = prompts_of(model, asked)
    place, token = max(map(len, prompts)) + 2, 77
    reference = Biased(model, place, token)
    steps: list[tuple[int, int]] = []
    found = compare_answers(
        model, reference, asked, synthetic.KERNELS, tokens=9, progress=lambda *s: steps.append(s)
    )
    vocabulary = model.card.vocabulary
    assert vocabulary is not None
    for prompt, a in zip(prompts, found, strict=True):
        expected: list[int] = []
        while len(expected) < 9 and (not expected or expected[-1] not in vocabulary.end_ids):
            expected.append(int(rows(reference.logits([[*prompt, *expected]]))[-1].argmax()))
        assert list(a.reference) == expected
        assert a.differs_at == place + 1 - len(prompt)
        assert a.model[: a.differs_at] == a.reference[: a.differs_at]
        assert a.model[a.differs_at] != a.reference[a.differs_at] == token
        assert a.gap == pytest.approx(0.5, abs=1e-5)
        assert 0 < a.nearest <= 0.5 + 1e-5
    assert sum(s for s, _ in steps) == steps[0][1] == 18
    (same,) = compare_answers(model, Biased(model, 10**6, 0), asked[:1], synthetic.KERNELS, tokens=5)
    assert same.reference == same.model
    assert (same.differs_at, same.gap) == (None, None)


def test_what_the_package_compares_on() -> None:
    assert len(questions()) == len(set(questions())) == 50
    assert text().startswith("Alice")
    assert len(text()) > 10_000


@pytest.fixture(scope="module")
def file(path: Path) -> Path:
    out = path.with_name("tiny.pc")
    done("import", path, "-o", out, "--precision", "w16a16")
    return out


def test_the_command(path: Path, file: Path, tmp_path: Path) -> None:
    words = tmp_path / "text"
    words.write_text("The rest is in the hello of her and the line. " * 20)
    options = ("--tokens", 90, "--questions", 2, "--answer-tokens", 4)
    found = done("quality", file, path, words, *options)
    assert found["tokens"] == 89
    assert found["reference"] == "float32"
    assert 0 < found["kl_mean"] < 0.01
    assert found["relative"] == pytest.approx(found["perplexity"] / found["perplexity_reference"] - 1)
    assert [len(a["reference"]) <= 4 for a in found["answers"]] == [True, True]
    assert found["answers"][0]["question"] == questions()[0]


def test_bad_input_of_the_command(path: Path, file: Path, tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=3, width=32)
    words = tmp_path / "text"
    words.write_bytes(b"\xff")
    assert "not UTF-8" in refused("quality", file, path, words)
    words.write_text("T")
    assert "fewer than two" in refused("quality", file, path, words)
    assert "none of float32, transformers" in refused("quality", file, path, "--reference", "onnx")
    assert "is of kind gguf" in refused("quality", path, path)
    assert "No such file" in refused("quality", file, tmp_path / "missing")
    assert "cannot read" in refused("quality", file, path, tmp_path / "missing")
    assert refused("quality", file, tmp_path)  # a folder without a configuration
    assert open_reference(other, open_gguf(path).vocabulary)[1] != open_gguf(path).digest


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_transformers_is_named_where_it_is_missing(path: Path, file: Path) -> None:
    assert "pip install 'proofcompute[quality]'" in refused(
        "quality", file, path, "--reference", "transformers"
    )
