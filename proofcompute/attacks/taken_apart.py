"""An opening taken apart and put together again, so that one thing in it can be changed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from proofcompute.attacks.identities import NODE
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.models.model import Model
from proofcompute.protocol.messages import (
    Challenge,
    OpeningEnd,
    OpeningHead,
    Part,
    frame_digest,
    frames_digest,
)
from proofcompute.protocol.needs import needs
from proofcompute.protocol.pieces import cut
from proofcompute.protocol.shapes import part_shape
from proofcompute.testing.forging import Forgery

__all__ = ["LIMIT", "Opening", "closing", "frame", "joined", "opened", "opened_bytes"]

LIMIT: Final = 1 << 28
"""The largest frame that is taken apart."""


def joined(frames: Sequence[bytes]) -> bytes:
    """Return the opening of these frames."""
    out = io.BytesIO()
    for payload in frames:
        write_frame(out, payload)
    return out.getvalue()


def closing(
    frames: Sequence[bytes], receipt: bytes, challenge: bytes, identity: NodeIdentity = NODE
) -> bytes:
    """Return the closing frame over others, for the digests of a receipt and a challenge."""
    unsigned = OpeningEnd(frames_digest([frame_digest(f) for f in frames]))
    return unsigned.signed(identity.sign(unsigned.signed_digest(receipt, challenge))).encode()


@dataclass(frozen=True)
class Opening:
    """An opening taken apart."""

    head: OpeningHead
    parts: tuple[Part, ...]
    ahead: tuple[tuple[bytes, ...], ...] = ()
    """For each part, the frames of long rows before it; empty if there are none at all."""
    identity: NodeIdentity = NODE
    """Who signs it, whatever it holds."""
    answers: tuple[bytes, bytes] | None = None
    """Digests of receipt and challenge that are signed; those that the head names if there are none."""

    @staticmethod
    def parse(data: bytes, forgery: Forgery, challenge: Challenge) -> Opening:
        """Take the opening of a forgery apart. Its closing frame is made anew by :meth:`encode`."""
        stream = io.BytesIO(data)
        statement, program = forgery.statement, forgery.claims.program
        head = OpeningHead.decode(frame(stream), len(program.committed))
        parts: list[Part] = []
        ahead: list[tuple[bytes, ...]] = []
        for cell in challenge.cells:
            need = needs(statement, cell)
            ahead.append(tuple(frame(stream) for g in need.groups for _ in range(cut(program, g).ahead)))
            parts.append(
                Part.decode(
                    frame(stream),
                    part_shape(
                        program,
                        need,
                        statement.rows,
                        cell.b - cell.a,
                        tables=challenge.tables,
                        hints=challenge.hints,
                    ),
                )
            )
        return Opening(head, tuple(parts), tuple(ahead) if any(ahead) else (), forgery.identity)

    def frames(self) -> list[bytes]:
        """Return all but the closing one."""
        ahead = self.ahead or ((),) * len(self.parts)
        cells = (f for a, p in zip(ahead, self.parts, strict=True) for f in (*a, p.encode()))
        return [self.head.encode(), *cells]

    def end(self, frames: Sequence[bytes]) -> bytes:
        """Return the closing frame over frames: as an answer to what the head names."""
        answers = self.answers or (self.head.receipt_digest, self.head.challenge_digest)
        return closing(frames, *answers, self.identity)

    def closed(self, frames: Sequence[bytes]) -> bytes:
        """Return an opening of any frames, properly signed."""
        return joined([*frames, self.end(frames)])

    def encode(self) -> bytes:
        """Return the bytes, properly signed."""
        return self.closed(self.frames())

    def with_part(self, index: int, **changes: object) -> Opening:
        """Return the same with fields of one part replaced."""
        parts = list(self.parts)
        parts[index] = replace(parts[index], **changes)  # type: ignore[arg-type]
        return replace(self, parts=tuple(parts))


def frame(stream: io.BytesIO) -> bytes:
    """Return the next frame of an opening that has one."""
    return cast(bytes, read_frame(stream, limit=LIMIT, what="opening"))


def opened_bytes(forgery: Forgery, challenge: Challenge, using: Model | None = None) -> bytes:
    """Return the opening of a forgery, of one whose receipt is not well signed too.

    Its products are those of the weights ``using`` (of the model that ran, if not given).
    """
    receipt = forgery.receipt
    right = replace(forgery, receipt=receipt.signed(forgery.identity.sign(receipt.signed_digest)))
    named = replace(challenge, receipt_digest=right.receipt.digest)
    data = right.open(named, using)
    if right.receipt == receipt:
        return data
    opening = Opening.parse(data, forgery, named)
    head = replace(opening.head, receipt_digest=receipt.digest, challenge_digest=challenge.digest)
    return replace(opening, head=head).encode()


def opened(forgery: Forgery, challenge: Challenge, using: Model | None = None) -> Opening:
    """Return the same, taken apart."""
    return Opening.parse(opened_bytes(forgery, challenge, using), forgery, challenge)
