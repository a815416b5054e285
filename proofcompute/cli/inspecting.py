"""The command ``inspect``: shows what a file or a run's directory holds, but no secret value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from proofcompute.cli.bundles import bundle_facts
from proofcompute.cli.console import Output, size
from proofcompute.cli.files import load_model
from proofcompute.cli.inspecting_jobs import JOB_FILES, JOB_MESSAGES
from proofcompute.cli.inspecting_public import PUBLIC_FILES
from proofcompute.cli.inspecting_verdicts import VERDICT_FILES, VERDICT_MESSAGES
from proofcompute.cli.network import network_facts
from proofcompute.cli.options import Json
from proofcompute.cli.programs import program_facts
from proofcompute.encoding.kinds import kind_in, kind_of
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import (
    MAX_AUDIT_POLICY,
    MAX_CARD,
    MAX_CHALLENGE,
    MAX_PIPELINE,
    MAX_RECEIPT,
    MAX_REQUEST,
    MAX_TERMS,
    MIB,
)

if TYPE_CHECKING:
    from proofcompute.protocol.messages import Receipt

__all__ = ["inspect"]

Facts = dict[str, object]
SHOWN = 20
"""The most cells of a challenge that are listed."""
MAX_PIPED = 256 * MIB
"""The most bytes that are read from a pipe."""


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A file, the folder of a checkpoint, or the directory of a run.",
            show_default=False,
        ),
    ],
    json: Json = False,
) -> None:
    """Show what a file is and what it holds: GGUF, model, key, identity, request, receipt, and so on."""
    if path.is_dir():
        folder = (path / "config.json").exists()
        kind, facts = ("checkpoint", _checkpoint(path)) if folder else ("run", _run(path))
    else:
        kind, facts = _look(path)
    out = Output(json)
    facts = {"kind": kind, **facts}
    as_json, shown = program_facts(facts.pop("program", None))
    out.facts(facts | shown)
    out.result(facts | as_json)


def _look(path: Path) -> tuple[str, Facts]:
    """Return the kind and the contents of a file or a pipe; a pipe is read once, whole."""
    from proofcompute.encoding.files import is_plain, read_limited, require_plain

    piped = None if is_plain(path) else read_limited(path, MAX_PIPED, "file")
    kind = kind_of(path) if piped is None else kind_in(piped)
    if kind == "opening":
        with path.open("rb") if piped is None else BytesIO(piped) as stream:
            return kind, _opening(stream)
    if kind is not None and (file := _FILES.get(kind)) is not None:
        require_plain(path, kind)
        return kind, file(path)
    if kind is not None and (message := _MESSAGES.get(kind)) is not None:
        limit, reader = message
        return kind, reader(read_limited(path, limit, kind) if piped is None else piped)
    raise InputError(
        f"{path} is none of: GGUF, model, card, key, identity, terms, request, receipt, challenge, opening, "
        "audit policy, evidence, run, public key or proof, verdict, beacon, head or export of a ledger, "
        "files of jobs, .npy"
    )


def _card(data: bytes) -> Facts:
    from proofcompute.models.card import ModelCard

    card = ModelCard.decode(data)
    return {"model_id": card.model_id.hex(), "bytes": len(data), "program": card}


def _terms(data: bytes) -> Facts:
    from proofcompute.commitments.signing import signature_holds
    from proofcompute.protocol.messages import Terms

    terms = Terms.decode(data)
    return {
        "base_seconds": terms.base,
        "rows_per_second": terms.rate,
        "retention_seconds": terms.retention,
        "public_proofs": [one.hex() for one in terms.proofs],
        "numerics": terms.numerics,
        "digest": terms.digest.hex(),
        "scheme": terms.scheme,
        "node": terms.node.hex(),
        "signature_holds": signature_holds(terms.node, terms.signed_digest, terms.signature),
    }


def _checkpoint(path: Path) -> Facts:
    from proofcompute.importers import open_checkpoint

    checkpoint = open_checkpoint(path)
    return {
        "name": checkpoint.name,
        "licence": checkpoint.licence,
        "sha256": checkpoint.digest.hex(),
        "vocabulary": 0 if checkpoint.words is None else len(checkpoint.words.tokens),
        "chat_template": bool(checkpoint.chat_template),
        **network_facts(checkpoint.arch),
        **{f"note {i}": note for i, note in enumerate(checkpoint.notes, 1)},
        "not_used": checkpoint.unused,
    }


def _model(path: Path) -> Facts:
    model = load_model(path)
    ours = {"kind", "model_id", "file_bytes", "program"}  # whoever wrote the manifest cannot pass for us
    return {
        "model_id": model.model_id.hex(),
        **{name: text for name, text in model.manifest.items() if name not in ours},
        "file_bytes": path.stat().st_size,
        "program": model.card,
    }


def _key(path: Path) -> Facts:
    from proofcompute.freivalds.soundness import soundness_bits
    from proofcompute.verifier import Key

    key = Key.load(path)
    attempts = len(key.log.attempts)
    return {
        "model_id": key.model_id.hex(),
        "columns": key.columns.k,
        "verifications": attempts,
        "soundness_bits": soundness_bits(key.columns.k, attempts + 1),
        "file_bytes": path.stat().st_size,
        "program": key.card,
    }


def _partial_key(path: Path) -> Facts:
    from proofcompute.verifier.partial import progress_of

    model_id, columns, done = progress_of(path)
    return {
        "model_id": model_id.hex(),
        "columns": columns,
        "weights_done": done,
        "file_bytes": path.stat().st_size,
    }


def _identity(path: Path) -> Facts:
    from proofcompute.commitments.signing import NodeIdentity

    return {"public": NodeIdentity.load(path).public.hex()}


def _request(data: bytes) -> Facts:
    from proofcompute.protocol.messages import Request

    request = Request.decode(data)
    facts: Facts = {
        "digest": request.digest.hex(),
        "model_id": request.model_id.hex(),
        "suite": request.suite,
        "nonce": request.nonce.hex(),
        "node": request.node.hex() or "any",
        "inputs": {name: len(data) for name, data in request.inputs},
        "text": request.text,
    }
    if request.generation is not None:
        g = request.generation
        facts |= {
            "max_tokens": g.max_tokens,
            **asdict(g.sampling),
            "seed": g.seed.hex(),
            "choice": request.choice,
            "stops": g.stops,
            "ignore_end": g.ignore_end,
        }
    return facts


def _receipt(data: bytes) -> Facts:
    from proofcompute.commitments.signing import signature_holds
    from proofcompute.protocol.messages import Receipt

    receipt = Receipt.decode(data)
    return {
        "digest": receipt.digest.hex(),
        "model_id": receipt.model_id.hex(),
        "request_digest": receipt.request_digest.hex(),
        "suite": receipt.suite,
        "outputs": {name: len(data) for name, data in receipt.outputs},
        "rows": receipt.rows,
        "stop_reason": receipt.stop_reason,
        "trace_root": receipt.trace_root.hex(),
        "numerics": receipt.numerics,
        "terms_digest": receipt.terms_digest.hex() or "none",
        "retention_seconds": receipt.retention,
        "scheme": receipt.scheme,
        "node": receipt.node.hex(),
        **_stage(receipt),
        "signature_holds": signature_holds(receipt.node, receipt.signed_digest, receipt.signature),
    }


def _stage(receipt: Receipt) -> Facts:
    if receipt.pipeline is None:
        return {}
    span = receipt.pipeline.segments(receipt.stage)
    return {
        "pipeline": receipt.pipeline.digest.hex(),
        "stage": receipt.stage,
        "segments": [span.start, span.stop],
    }


def _pipeline(data: bytes) -> Facts:
    from proofcompute.protocol.messages import Pipeline

    found = Pipeline.decode(data)
    return {
        "digest": found.digest.hex(),
        **{f"stage {i}": f"up to {s.end}, {s.node.hex()}" for i, s in enumerate(found.stages)},
    }


def _challenge(data: bytes) -> Facts:
    from proofcompute.protocol.messages import Challenge

    challenge = Challenge.decode(data)
    return {
        "digest": challenge.digest.hex(),
        "receipt_digest": challenge.receipt_digest.hex(),
        "cells": sum(c.b - c.a for c in challenge.cells),
        "first_cells": [list(c) for c in challenge.cells[:SHOWN]],
        "hints": challenge.hints,
        "public_proof": None if challenge.proof is None else challenge.proof.public_id.hex(),
        "tables": challenge.tables,
    }


def _policy(data: bytes) -> Facts:
    from proofcompute.verifier.policy import AuditPolicy

    policy = AuditPolicy.decode(data)
    facts: Facts = {"whole": policy.whole, "sampled": policy.sampled}
    if policy.sample is not None:
        facts |= dict(zip(("runs", "rows_of_a_run", "cells"), policy.sample.fields(), strict=True))
    return facts


def _opening(stream: BinaryIO) -> Facts:
    from proofcompute.encoding import wire
    from proofcompute.encoding.frames import read_frame
    from proofcompute.limits import MAX_OPENING_PART
    from proofcompute.protocol.messages import OpeningEnd, OpeningHead

    first = read_frame(stream, limit=MAX_OPENING_PART, what="opening")
    if first is None:
        raise FormatError("the opening is empty")
    fields = wire.as_list(wire.decode(first, limit=MAX_OPENING_PART, what="opening"), "opening", n=5)
    head = OpeningHead.decode(first, len(wire.as_list(fields[4], "roots")))
    sizes, last = [len(first)], b""
    while (frame := read_frame(stream, limit=MAX_OPENING_PART, what="opening")) is not None:
        sizes.append(len(frame))
        last = frame
    end = OpeningEnd.decode(last)
    return {
        "receipt_digest": head.receipt_digest.hex(),
        "challenge_digest": head.challenge_digest.hex(),
        "committed_groups": len(head.roots),
        "frames": len(sizes),
        "largest_frame": max(sizes),
        "frames_digest": end.frames.hex(),
        "scheme": end.scheme,
        "file_bytes": stream.tell(),
    }


def _run(path: Path) -> Facts:
    from proofcompute.prover import RunDirectory

    if not (path / "request").is_file():
        raise InputError(f"{path} is a directory, but not that of a run: it holds no request")
    if kind_of(path / "model") == "model":  # in a run's directory, this file holds a path
        raise InputError(f"{path} is a directory, but not that of a run: it holds a model itself")
    run = RunDirectory(path)
    request, finished = run.request(), run.receipt_path.is_file()
    facts: Facts = {
        "state": "finished" if finished else "interrupted, or not committed",
        "request_digest": request.digest.hex(),
    }
    if request.generation is not None:
        tokens = path / "tokens"
        made = tokens.stat().st_size // 4 if tokens.is_file() else 0
        facts |= {"text": request.text, "tokens": made}
    facts |= {
        "model": str(run.model_path()) if (path / "model").is_file() else "not noted",
    }
    if finished:
        receipt = run.receipt()
        facts |= {
            "rows": receipt.rows,
            "stop_reason": receipt.stop_reason,
            "trace_root": receipt.trace_root.hex(),
            "node": receipt.node.hex(),
            "trace": size((path / "trace").stat().st_size) if (path / "trace").is_file() else "missing",
        }
    return facts


_FILES: Final[Mapping[str, Callable[[Path], Facts]]] = {
    "gguf": _checkpoint,
    "model": _model,
    "key": _key,
    "interrupted key": _partial_key,
    "identity": _identity,
    "evidence": bundle_facts,
    **JOB_FILES,
    **PUBLIC_FILES,
    **VERDICT_FILES,
}
_MESSAGES: Final[Mapping[str, tuple[int, Callable[[bytes], Facts]]]] = {
    "request": (MAX_REQUEST, _request),
    "receipt": (MAX_RECEIPT, _receipt),
    "challenge": (MAX_CHALLENGE, _challenge),
    "card": (MAX_CARD, _card),
    "terms": (MAX_TERMS, _terms),
    "pipeline": (MAX_PIPELINE, _pipeline),
    "audit policy": (MAX_AUDIT_POLICY, _policy),
    **JOB_MESSAGES,
    **VERDICT_MESSAGES,
}
