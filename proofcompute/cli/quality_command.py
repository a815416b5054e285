"""The command ``quality``: how far a compiled model is from the float32 model that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain
from proofcompute.cli.files import load_model
from proofcompute.cli.options import Device, Json, kernels
from proofcompute.cli.progress import progress
from proofcompute.errors import InputError
from proofcompute.limits import MAX_TEXT

if TYPE_CHECKING:
    from proofcompute.models.vocabulary import Vocabulary
    from proofcompute.quality import Answers

__all__ = ["quality"]

SHOWN = 5
"""Answers that differ of which both texts are shown."""


def quality(
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    reference: Annotated[
        Path,
        typer.Argument(help="The checkpoint it was made of: a GGUF file or a folder.", show_default=False),
    ],
    text: Annotated[
        Path | None, typer.Argument(help="Text to predict (UTF-8); default: English prose.")
    ] = None,
    by: Annotated[
        str, typer.Option("--reference", help="What runs the checkpoint: float32 or transformers.")
    ] = "float32",
    tokens: Annotated[int, typer.Option(help="The most tokens of the text.", min=2)] = 4096,
    questions: Annotated[int, typer.Option(help="Questions that both answer.", min=0)] = 50,
    answer_tokens: Annotated[int, typer.Option(help="The most tokens of an answer.", min=1)] = 32,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare a model with the float32 model it was made of: perplexity, KL divergence, greedy answers.

    The logits are those of the model's own program, which proofs are about. KL is that of the model from the
    reference, in nats for each token.
    """
    out = Output(json)
    words = _read(text)
    compiled = load_model(model)
    vocabulary = compiled.card.vocabulary
    if vocabulary is None:
        raise InputError(f"{model} has no vocabulary; this command compares language models")
    from proofcompute.quality import compare_answers, compare_texts, open_reference, shown, windows
    from proofcompute.quality import questions as all_questions
    from proofcompute.tokens import Tokenizer

    theirs, digest = open_reference(reference, vocabulary, by, context=compiled.program.context)
    made_of = compiled.manifest.get("checkpoint_sha256", "")
    if digest and made_of and digest.hex() != made_of:
        complain(f"note: {model} was not made of {reference}, whose SHA-256 differs from the one it names")
    ids = Tokenizer(vocabulary).encode(words, special=False)[:tokens]
    backend = kernels(device)
    with progress("float32 reference") as one, progress("model") as other:
        found = compare_texts(
            compiled,
            theirs,
            windows(ids, compiled.program.context),
            backend,
            reference_progress=one,
            model_progress=other,
        )
    out.facts(
        {
            "predicted tokens": found.tokens,
            "perplexity of the reference": f"{found.perplexity_reference:.3f}",
            "perplexity of the model": f"{found.perplexity:.3f} ({found.relative:+.2%})",
            "KL divergence": f"{found.kl_mean:.6f} mean, {found.kl_max:.4f} at most",
            "same top token": f"{found.top1_agreement:.2%}",
        }
    )
    asked = all_questions()[:questions]
    with progress("answers") as advance:
        answers = compare_answers(compiled, theirs, asked, backend, tokens=answer_tokens, progress=advance)
    _show(answers, vocabulary, out)
    out.result(
        {
            "model_id": compiled.model_id.hex(),
            "reference": by,
            **asdict(found),
            "relative": found.relative,
            "answers": [
                {
                    **asdict(a),
                    "text": shown(vocabulary, a.model),
                    "reference_text": shown(vocabulary, a.reference),
                }
                for a in answers
            ],
        }
    )


def _read(path: Path | None) -> str:
    from proofcompute.encoding.files import read_limited
    from proofcompute.quality import text

    if path is None:
        return text()
    try:
        return read_limited(path, MAX_TEXT, "text").decode()
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not UTF-8 at byte {e.start}") from e


def _show(answers: Sequence[Answers], vocabulary: Vocabulary, out: Output) -> None:
    from proofcompute.quality import shown

    if not answers:
        return
    other = [a for a in answers if a.differs_at is not None]
    out.facts({"same answers": f"{len(answers) - len(other)} of {len(answers)} questions"})
    for a in other[:SHOWN]:
        out.say(f"\n{a.question}")
        out.facts(
            {
                "  reference": shown(vocabulary, a.reference).strip(),
                "  model": shown(vocabulary, a.model).strip(),
                "  differ": f"at token {(a.differs_at or 0) + 1}, where the reference prefers its own by "
                f"{a.gap:.4f}",
            }
        )
