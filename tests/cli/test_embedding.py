"""The whole session on files for an encoder: a text, its vector, an audit of every cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import proofcompute as pc
from cli.driver import done, refused
from proofcompute.tokens.embedding import Embedder
from serving.embedding import embedder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "model"
    embedder().save(path)
    return path


def test_a_text_is_asked_run_and_audited(model: Path, tmp_path: Path) -> None:
    done("keygen", model, "-o", tmp_path / "key")
    done("identity", "-o", tmp_path / "identity")
    made = done("request", model, "--prompt", "A fox!", "-o", tmp_path / "request")
    assert made["rows"] == 5
    where = ("-o", tmp_path / "run", "--identity", tmp_path / "identity", "--outputs", tmp_path / "out.npy")
    answer = done("run", model, tmp_path / "request", *where)
    assert answer["outputs"] == {"embedding": {"dtype": "float32", "shape": [1, 30]}}
    found = np.load(tmp_path / "out.npy")
    expected = pc.Node(embedder(), device="numpy").answer(Embedder(embedder()).text("A fox!"))
    assert found.tobytes() == expected.outputs["embedding"].tobytes()
    receipt, asked = tmp_path / "run" / "receipt", ("--request", tmp_path / "request")
    done("challenge", tmp_path / "key", receipt, *asked, "--all", "-o", tmp_path / "challenge")
    done("open", tmp_path / "run", tmp_path / "challenge", "-o", tmp_path / "opening")
    words = (tmp_path / "key", receipt, tmp_path / "challenge", tmp_path / "opening", *asked)
    verified = done("verify", *words)
    assert (verified["cells"], verified["complete"]) == (4 * 5 + 1, True)
    assert done("replay", model, receipt, *asked)["verified"]


@pytest.mark.parametrize(
    "options",
    [
        ("--max-tokens", "3"),
        ("--temperature", "0.5"),
        ("--stop", "x"),
        ("--seed", "1"),
        ("--ignore-end",),
        ("--choice", "1"),
        ("--system", "x"),
        ("--date", "2026-01-31"),
        ("--may-omit",),
        ("--raw",),
    ],
)
def test_options_of_language_models_are_refused(
    model: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    said = refused("request", model, "--prompt", "x", *options, "-o", tmp_path / "request")
    assert "embeddings" in said
    assert not (tmp_path / "request").exists()
