"""What the commands that verify share: files checked under one key, and what is said of the outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from proofcompute.cli.common import (
    Output,
    complain,
    hex_bytes,
    kernels,
    load_model,
    progress,
    read_challenge,
    read_receipt,
    read_request,
    read_terms,
    rejection,
    size,
)
from proofcompute.cli.kinds import expect, kind_of
from proofcompute.errors import InputError, ProofcomputeError, UnsupportedError, VerificationError
from proofcompute.freivalds.soundness import shown

if TYPE_CHECKING:
    from proofcompute.arrays import Array
    from proofcompute.models.model import Model
    from proofcompute.protocol.messages import Receipt, Request
    from proofcompute.verifier import Key, Verified
    from proofcompute.verifier.auditor import Auditor

__all__ = ["Checked", "Verifier", "accept", "check_many", "held", "reject"]

SHARES = (0.01, 0.1)
"""Shares of altered cells for which the probability of detection is stated."""


@dataclass(frozen=True)
class Checked:
    """What held: the evidence, and what it is about."""

    evidence: Verified
    request: Request
    receipt: Receipt
    outputs: Mapping[str, Array]
    """Rows of each output by name, [n, *shape]."""
    answer: str | None
    """Text of the answer, of programs that generate text."""


@dataclass(frozen=True)
class Verifier:
    """An auditor that works on files."""

    auditor: Auditor
    tokens_only: bool = False
    """Whether the text of a request is neither compared with its tokens nor shown."""

    @staticmethod
    def of(
        path: Path,
        device: str,
        node: str | None,
        *,
        terms: Path | None = None,
        retention: int = 0,
        patience: float | None = None,
        tokens_only: bool = False,
    ) -> Verifier:
        """With the key at ``path``, or the model; VerificationError if terms of the node do not hold."""
        from proofcompute.verifier.auditor import PATIENCE, Auditor

        return Verifier(
            Auditor(
                held(path),
                device=kernels(device),
                node=None if node is None else hex_bytes(node, "the node's public key"),
                terms=None if terms is None else read_terms(terms),
                retention=retention,
                patience=PATIENCE if patience is None else patience,
            ),
            tokens_only,
        )

    @property
    def holds(self) -> Key | Model:
        """The key or the model."""
        from proofcompute.models.card import ModelCard

        holds = self.auditor.holds
        if isinstance(holds, ModelCard):
            raise InputError("a card checks no cells")
        return holds

    @property
    def attempts(self) -> int | None:
        """Verifications made under the key so far; a model needs no count."""
        from proofcompute.verifier import Key

        return self.auditor.attempts if isinstance(self.holds, Key) else None

    def hash_weights(self) -> None:
        """Know, with a bar, that the weights of a model are those of its model id; a key has none."""
        from proofcompute.models.model import Model

        holds = self.holds
        if isinstance(holds, Model):
            with progress("weights", sum(s.rows * s.row_bytes for s in holds.program.weights)) as advance:
                holds.require_roots(self.auditor.kernels.hash_rows, advance)

    def check(
        self, request: Path, receipt: Path, challenge: Path, opening: Path, waited: float | None = None
    ) -> Checked:
        """Check an opening. VerificationError if the node is rejected, InputError for what is the user's."""
        from proofcompute.verifier import Key

        asked, cells = self._request(request), read_challenge(challenge)
        self.hash_weights()
        if cells.hints != isinstance(self.holds, Key):
            raise InputError(
                "the challenge is for a verifier with a key; make one with the model file"
                if cells.hints
                else "the challenge is for a verifier that holds the model; make one with the key"
            )
        total = sum(c.b - c.a for c in cells.cells)
        with _opened(opening) as stream, progress("verify", total) as advance:
            data = read_receipt(receipt, asked)
            found = self.auditor.check(asked, data, cells, stream, waited=waited, progress=advance)
        return self._checked(found, asked, data)

    def check_public(self, request: Path, receipt: Path, opening: Path, cells: int) -> Checked:
        """Check a public proof of so many cells; what is held is the model. Raises as :meth:`check`."""
        from proofcompute.models.model import Model
        from proofcompute.verifier import verify_public

        if not isinstance(self.holds, Model):
            raise InputError("a public proof is checked with the model file")
        asked = self._request(request)
        self.hash_weights()
        with _opened(opening) as stream, progress("verify", cells) as advance:
            data = read_receipt(receipt, asked)
            found = verify_public(
                self.holds,
                asked,
                data,
                cells,
                stream,
                kernels=self.auditor.kernels,
                node=self.auditor.node,
                progress=advance,
            )
        return self._checked(found, asked, data)

    def replay(self, request: Path, receipt: Path) -> Checked:
        """Compute an answer again; what is held is the model. Raises as :meth:`check`."""
        asked = self._request(request)
        self.hash_weights()
        with progress("replay") as advance:
            data = read_receipt(receipt, asked)
            found = self.auditor.replay(asked, data, progress=advance)
        return self._checked(found, asked, data)

    def _request(self, path: Path) -> Request:
        from proofcompute.protocol.requests import inputs_of

        asked, card = read_request(path), self.holds.card
        inputs_of(asked, card.program, card.model_id)
        if asked.text and not self.tokens_only:
            try:
                from proofcompute.tokens import check_text
            except UnsupportedError as e:
                raise UnsupportedError(
                    f"{e}; or pass --tokens-only, and the request's text is neither checked nor shown"
                ) from e
            check_text(card, asked)
        return asked

    def _checked(self, found: Verified, request: Request, data: bytes) -> Checked:
        from proofcompute.protocol.answer import answer_text
        from proofcompute.protocol.messages import Receipt
        from proofcompute.protocol.statement import rows_from_bytes

        card, receipt = self.holds.card, Receipt.decode(data)
        outputs = {
            name: rows_from_bytes(card.program.specs[name], rows, f"output {name}")
            for name, rows in receipt.outputs
        }
        answer = None
        if card.vocabulary is not None and card.program.feedback:
            tokens = outputs[card.program.outputs[0]].tolist()
            answer = answer_text(card.vocabulary, request.generation, tokens, receipt.stop_reason)
        return Checked(found, request, receipt, outputs, answer)


def held(path: Path) -> Key | Model:
    """The key, or the model with weights that nobody has checked yet."""
    from proofcompute.verifier import Key

    if kind_of(path) == "model":
        return load_model(path)
    expect(path, "key")
    return Key.load(path)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise InputError(f"cannot read opening {path}: {e.strerror or e}") from e


# -- what is said ----------------------------------------------------------------------------------------
def accept(
    out: Output, checked: Checked, verifier: Verifier, seconds: float, *, public: bool = False
) -> None:
    """What was checked, and how sure that makes whom."""
    found = checked.evidence
    work = {s: found.grinding_bits(s) for s in SHARES} if public else {}
    out.say("verified: every cell asked for was checked and holds")
    facts: dict[str, object] = {
        "cells": f"{found.cells} of {found.total}{' (all)' if found.complete else ''}",
        "soundness": f"{shown(found.soundness_bits)} for each checked cell",
    }
    if public:
        for s, bits in work.items():
            facts[f"{s:.0%} altered"] = (
                f"hidden by trying 2^{bits:.1f} receipts" if math.isfinite(bits) else "found in any case"
            )
    else:
        facts["one altered cell"] = f"found with probability {found.detects_one:.4g}"
        for s in SHARES:
            facts[f"{s:.0%} altered"] = f"found with probability {found.detects_share(s):.4g}"
    facts["node"] = found.node.hex()
    if found.bytes_opened:
        facts["opening"] = f"{size(found.bytes_opened)}, checked in {seconds:.2f} s"
    else:
        facts["rows"] = f"{found.rows}, computed again in {seconds:.2f} s"
    if checked.answer is not None:
        facts["answer"] = checked.answer
    out.facts(facts)
    out.result(_accepted(checked, verifier, seconds, public=public))


def _accepted(checked: Checked, verifier: Verifier, seconds: float, *, public: bool) -> dict[str, object]:
    found = checked.evidence
    fields: dict[str, object] = {
        "verified": True,
        "cells": found.cells,
        "total_cells": found.total,
        "complete": found.complete,
        "rows": found.rows,
        "outputs": found.outputs,
        "stop_reason": found.stop_reason,
        "node": found.node.hex(),
        "model_id": verifier.holds.card.model_id.hex(),
        "soundness_bits": found.soundness_bits,
        "attempts": verifier.attempts,
        "detects_one": found.detects_one,
        "detects_shares": {str(s): found.detects_share(s) for s in SHARES},
        "bytes_opened": found.bytes_opened,
        "text": None if verifier.tokens_only else checked.request.text,
        "answer": checked.answer,
        "seconds": seconds,
    }
    if public:  # cells that the prover could choose are found by no probability
        del fields["detects_one"], fields["detects_shares"]
        bits = {s: found.grinding_bits(s) for s in SHARES}
        fields["grinding_bits"] = {str(s): b if math.isfinite(b) else None for s, b in bits.items()}
    return fields


def reject(out: Output, error: VerificationError, verifier: Verifier, seconds: float) -> None:
    """What failed."""
    complain(f"REJECTED: {error}")
    out.result(_rejected(error, verifier, seconds))


def _rejected(error: VerificationError, verifier: Verifier, seconds: float) -> dict[str, object]:
    """Without anything that would tell about the secret columns (the error holds nothing)."""
    return {
        **rejection(error),
        "cells": 0,
        "soundness_bits": 0.0,
        "attempts": verifier.attempts,
        "seconds": seconds,
    }


def check_many(out: Output, verifier: Verifier, directories: Sequence[Path]) -> dict[str, int]:
    """Check the files of each directory; what is wrong with one does not keep the others from being checked.

    Returns the numbers of directories that were "verified", "rejected" and "unusable".
    """
    count = {"verified": 0, "rejected": 0, "unusable": 0}
    for directory in directories:
        start = time.perf_counter()
        request, receipt, challenge, opening = (
            directory / name for name in ("request", "receipt", "challenge", "opening")
        )
        try:
            checked = verifier.check(request, receipt, challenge, opening)
        except VerificationError as e:
            state, text = "rejected", str(e)
            fields = _rejected(e, verifier, time.perf_counter() - start)
        except ProofcomputeError as e:
            state, text = "unusable", str(e)
            fields = {"verified": False, "error": text}
        else:
            found = checked.evidence
            state, text = "verified", f"{found.cells} of {found.total} cells"
            fields = _accepted(checked, verifier, time.perf_counter() - start, public=False)
        count[state] += 1
        out.say(f"{directory}: {state.upper() if state == 'rejected' else state}: {text}")
        out.result({"directory": str(directory), "state": state, **fields})
    out.say(", ".join(f"{number} {state}" for state, number in count.items()))
    out.result(count)
    return count
