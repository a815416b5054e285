"""A model, a prompt and lengths of the caller's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import synthetic
from cli.driver import call, done, refused
from proofcompute.bench import Lengths, Own, Settings
from proofcompute.bench.settings import OWN
from proofcompute.errors import InputError

FAST = ("--quick", "--rounds", 1, "--device", "numpy")
TEXT = "the quick brown fox"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "model"
    synthetic.model().save(path)
    return path


def test_a_model_file_is_measured_as_it_was_compiled(model: Path, tmp_path: Path) -> None:
    options = ("--model", model, "--sections", "sizes,columns,budgets", "--columns", 1, "--budgets", 2)
    found = done("bench", *FAST, *options, "--lengths", "5+3", "-o", tmp_path)
    (row,) = found["sizes"]
    own = synthetic.model()
    assert row["weights"] == sum(w.limbs * w.rows * w.width for w in own.program.weights)
    assert (row["prompt"], row["tokens"], row["rows"]) == (5, 3, 7)
    assert found["settings"]["sizes"] == [OWN]
    assert found["settings"]["model"] == own.model_id.hex()[:16]
    assert found["settings"]["precisions"] == [row["precision"]]
    assert str(model) not in str(found)
    assert "--model FILE" in found["command"]
    assert {r["model"] for r in (*found["columns"], *found["budgets"])} == {
        f"{row['model']} {row['precision']}"
    }


def test_without_sections_a_model_is_not_scaled(model: Path) -> None:
    own = Own(model)
    assert own.fixed_precision
    lines = call(
        "bench", *FAST, "--model", model, "--lengths", "2+1", "--suites", "sha256", "--columns", 1
    ).out
    assert "scaling in" not in lines
    assert "1/" in lines.splitlines()[0]
    assert "size own" in lines.splitlines()[0]


def test_several_lengths_are_measured_each(model: Path) -> None:
    found = done("bench", *FAST, "--model", model, "--sections", "sizes", "--lengths", "3+2,6+1")
    assert [(r["prompt"], r["tokens"]) for r in found["sizes"]] == [(3, 2), (6, 1)]
    assert len({r["step"] for r in found["sizes"]}) == 2


def test_a_prompt_is_what_the_model_reads(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt"
    file.write_text(TEXT)
    words = ("bench", *FAST, "--model", model, "--sections", "sizes", "--lengths", "4+1")
    first = done(*words, "--prompt", TEXT)
    second = done(*words, "--prompt-file", file)
    assert first["settings"] == second["settings"]
    assert first["settings"]["prompt"]
    assert TEXT not in str(first)
    assert "--prompt TEXT" in first["command"]
    own, made = Own(model, TEXT), synthetic.model()
    assert own.tokens(made, 3).tolist() == own.tokens(made, 4).tolist()[:3]


def test_other_models_and_prompts_are_other_settings(model: Path, tmp_path: Path) -> None:
    words = ("bench", *FAST, "--model", model, "--sections", "sizes", "--lengths", "4+1", "-o", tmp_path)
    done(*words, "--prompt", TEXT)
    message = refused(*words, "--prompt", TEXT + "!")
    assert "prompt " in message
    assert " there, " in message
    assert "prompt " in refused(*words)


def test_what_does_not_go_together_is_refused(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xff\xfe")
    for options, message in (
        (("--model", model, "--sizes", "tiny"), "--model replaces --sizes"),
        (("--model", tmp_path / "absent"), "cannot read"),
        (("--model", file), "of no known kind"),
        (("--model", model, "--precisions", "w16a16,w8a8"), "compiled at"),
        (("--prompt", "a", "--prompt-file", file), "not both"),
        (("--prompt-file", file), "not UTF-8 at byte 0"),
        (("--prompt-file", tmp_path / "absent"), "cannot read prompt"),
        (("--prompt", ""), "the prompt is empty"),
        (("--prompt", "a", "--sizes", "tiny"), "needs a model with a tokenizer"),
        (("--model", model, "--prompt", "a", "--lengths", "64+1"), "fewer than the 64"),
        (("--lengths", "64"), "prompt+generated"),
        (("--lengths", "0+1"), "at least 1"),
        (("--lengths", "1+1,1+1"), "none twice"),
        (("--sizes", "own"), "--model FILE"),
    ):
        assert message in refused("bench", *FAST, "--sections", "sizes", *options), options


def test_a_program_without_tokens_is_refused(tmp_path: Path) -> None:
    from proofcompute.testing.models import random_network

    random_network([4, 3, 2]).save(tmp_path / "mlp")
    assert "generates no tokens" in refused("bench", *FAST, "--model", tmp_path / "mlp")


def test_settings_want_the_digest_of_a_model() -> None:
    with pytest.raises(InputError, match="--model FILE"):
        Settings(sizes=(OWN,))
    with pytest.raises(InputError, match="--model FILE"):
        Settings(model="abc")
    assert Settings(sizes=(OWN,), model="abc", lengths=(Lengths(1, 1),)).model == "abc"
