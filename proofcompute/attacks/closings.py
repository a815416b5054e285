"""Attacks on the closing frame of an opening; with the step that rejects each.

The node signs what it sends, so most are somebody else's: whoever holds an opening and changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from proofcompute.attacks.attack import Forged
from proofcompute.attacks.case import Build, Case, case
from proofcompute.attacks.identities import NODE, STRANGER
from proofcompute.attacks.openings import audited
from proofcompute.attacks.taken_apart import Opening, opened
from proofcompute.attacks.target import Target
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.protocol.messages import OpeningEnd, frame_digest, frames_digest

__all__ = ["CLOSINGS", "edited", "end_of", "ends", "flipped", "framed"]


def end_of(opening: Opening, identity: NodeIdentity = NODE, **changes: bytes) -> bytes:
    """Return the closing frame of an opening; over another receipt, challenge or frames if given."""
    frames = changes.get("frames", frames_digest([frame_digest(f) for f in opening.frames()]))
    receipt = changes.get("receipt", opening.head.receipt_digest)
    challenge = changes.get("challenge", opening.head.challenge_digest)
    end = OpeningEnd(frames)
    return end.signed(identity.sign(end.signed_digest(receipt, challenge))).encode()


def framed(payload: bytes) -> bytes:
    """Return a frame."""
    return wire.encode(payload)


def ends(make: Callable[[Opening], Sequence[bytes]], *, evidence: bool = False) -> Build:
    """Return the honest opening, ended otherwise."""

    def build(t: Target) -> Case:
        good = case(t, t.honest(), *audited(t))
        opening = opened(t.honest(), good.challenge)
        frames = [*opening.frames(), *make(opening)]
        return replace(good, opening=b"".join(map(framed, frames)), evidence=evidence)

    return build


def edited(index: int, value: wire.Value) -> Build:
    """Return the honest opening, with one element of the closing frame replaced."""

    def make(opening: Opening) -> list[bytes]:
        fields = list(cast("list[Any]", wire.decode(end_of(opening), limit=1 << 10, what="opening end")))
        fields[index] = value
        return [wire.encode(tuple(fields))]

    return ends(make)


def flipped(at: int) -> Build:
    """Return the honest opening, with one bit changed on the way."""

    def build(t: Target) -> Case:
        good = case(t, t.honest(), *audited(t))
        data = bytearray(good.opening)
        data[at] ^= 1
        return replace(good, opening=bytes(data))

    return build


CLOSINGS: Final[Mapping[str, Forged]] = {
    "no closing frame": Forged(ends(lambda o: []), 10, "denial"),
    "the closing frame twice": Forged(ends(lambda o: 2 * [end_of(o)]), 10, "denial"),
    "a frame after the closing one": Forged(ends(lambda o: [end_of(o), b""]), 10, "denial"),
    "an empty closing frame": Forged(ends(lambda o: [b""]), 1, "denial"),
    "a closing frame of another version": Forged(edited(1, 2), 1, "denial"),
    "a closing frame of another kind": Forged(edited(0, "proofcompute opening"), 1, "denial"),
    "a digest of frames that is too short": Forged(edited(2, bytes(31)), 1, "denial"),
    "a scheme that does not exist": Forged(edited(3, "none"), 1, "denial"),
    "a scheme that is reserved": Forged(edited(3, "eip712-secp256k1"), 1, "denial"),
    "a signature that is too long": Forged(edited(4, bytes(65)), 1, "denial"),
    "a closing frame that is not signed": Forged(edited(4, bytes(64)), 2, "framing"),
    "a closing frame of another node": Forged(ends(lambda o: [end_of(o, STRANGER)]), 2, "relay"),
    "a closing frame for another receipt": Forged(
        ends(lambda o: [end_of(o, receipt=bytes(32))]), 2, "stale receipt"
    ),
    "a closing frame for another challenge": Forged(
        ends(lambda o: [end_of(o, challenge=bytes(32))]), 2, "stale receipt"
    ),
    "another digest of frames under the old signature": Forged(edited(2, bytes(32)), 2, "framing"),
    "right frames, another digest signed": Forged(
        ends(lambda o: [end_of(o, frames=bytes(32))], evidence=True), 2, "denial"
    ),
    "a bit flipped on the way": Forged(flipped(-1000), 2, "framing"),
}
"""Attacks on the end of an opening."""
