"""Checks files under one key or model, for the commands that verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from proofcompute.cli.files import (
    load_model,
    read_challenge,
    read_receipt,
    read_received,
    read_request,
    read_terms,
)
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import hex_bytes, kernels
from proofcompute.cli.progress import progress
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError, VerificationError

if TYPE_CHECKING:
    from proofcompute.arrays import Array
    from proofcompute.beacons import Beacon
    from proofcompute.models.model import Model
    from proofcompute.protocol.messages import Receipt, Request
    from proofcompute.public.openings import ByPublicProof
    from proofcompute.verifier import Key, Verified
    from proofcompute.verifier.auditor import Auditor

__all__ = ["Checked", "Verifier", "held", "held_public"]


@dataclass(frozen=True)
class Checked:
    """An answer that was verified: the evidence, and what it is about."""

    evidence: Verified
    request: Request
    receipt: Receipt
    outputs: Mapping[str, Array]
    """Rows of each output by name, [n, *shape]."""
    answer: str | None
    """Text of the answer, if the program generates text."""


@dataclass(frozen=True)
class Verifier:
    """An auditor that reads the messages it checks from files."""

    auditor: Auditor
    tokens_only: bool = False
    """Whether the request's text is ignored: neither compared with its tokens nor shown."""

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
        """Make the verifier that holds the key or the model at ``path``.

        Raises VerificationError if the node's ``terms`` do not hold.
        """
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
        """The key or the model; InputError if it is a card, with which no cell can be checked."""
        from proofcompute.models.model import Model
        from proofcompute.verifier import Key

        holds = self.auditor.holds
        if not isinstance(holds, Key | Model):
            raise InputError("a card does not suffice to check cells; give a key or a model file")
        return holds

    @property
    def attempts(self) -> int | None:
        """The number of attempts under the key so far; None for a model, which needs no count."""
        from proofcompute.verifier import Key

        return self.auditor.attempts if isinstance(self.holds, Key) else None

    def hash_weights(self) -> None:
        """Check, with a progress bar, that a model's weights have its model id; do nothing for a key."""
        from proofcompute.models.model import Model

        holds = self.holds
        if isinstance(holds, Model):
            with progress("weights", sum(s.rows * s.row_bytes for s in holds.program.weights)) as advance:
                holds.require_roots(self.auditor.kernels.hash_rows, advance)

    def check(
        self, request: Path, receipt: Path, challenge: Path, opening: Path, waited: float | None = None
    ) -> Checked:
        """Check an opening.

        Raises VerificationError if the node is rejected, InputError if the user's own files are unusable.
        """
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

    def check_public(
        self,
        request: Path,
        receipt: Path,
        opening: Path,
        cells: int,
        beacon: Path | None = None,
        attestors: Sequence[bytes] = (),
    ) -> Checked:
        """Check a public proof of ``cells`` cells with the model. Raises as :meth:`check`."""
        from proofcompute.models.model import Model
        from proofcompute.verifier import verify_public

        if not isinstance(self.holds, Model):
            raise InputError("a public proof is checked with the model file, not with a key")
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
                beacon=None if beacon is None else _beacon(beacon),
                attestors=attestors,
                progress=advance,
            )
        return self._checked(found, asked, data)

    def replay(self, request: Path, receipt: Path) -> Checked:
        """Compute an answer again with the model. Raises as :meth:`check`."""
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
                    f"{e}; or pass --tokens-only, which neither checks nor shows the request's text"
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
    """Load a key, or a model whose weights have not been checked yet."""
    from proofcompute.verifier import Key

    if kind_of(path) == "model":
        return load_model(path)
    expect(path, "key")
    return Key.load(path)


def held_public(path: Path) -> ByPublicProof:
    """Load a public key, with which openings are checked that end with a public proof."""
    from proofcompute.public.key import PublicKey
    from proofcompute.public.openings import ByPublicProof

    expect(path, "public key")
    return ByPublicProof(PublicKey.load(path))


def _beacon(path: Path) -> Beacon:
    """Read a beacon that came with a public proof; if it is none, that is the prover's fault."""
    from proofcompute.beacons import Beacon
    from proofcompute.limits import MAX_BEACON

    data = read_received(path, MAX_BEACON, "beacon")
    try:
        return Beacon.decode(data)
    except (FormatError, LimitError) as e:
        raise VerificationError(1, str(e)) from e


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise InputError(f"cannot read opening {path}: {e.strerror or e}") from e
