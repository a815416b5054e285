"""Define a quorum's policy: whose signatures count, and how many it takes (docs/spec/verdicts.md#the-policy).

People write and read a policy as JSON. Its digest is that of a canonical encoding with the keys in order, so
neither the order of keys nor spaces in the JSON change it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from proofcompute.bls.signatures import KEY, SIGNATURE, possesses
from proofcompute.commitments import hashing
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import FormatError, InputError, LimitError, VerdictError, VerdictFault
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_NAME, MAX_POLICY, MAX_SIGNERS
from proofcompute.verdicts.statement import MAX_SECONDS

__all__ = ["Member", "QuorumPolicy"]

KIND: Final = "proofcompute quorum policy"
VERSION: Final = 1


@dataclass(frozen=True, order=True)
class Member:
    """An auditor whose signature counts."""

    key: bytes
    """Public key, 48 bytes."""
    proof: bytes
    """Proof of possession of the key's secret, 96 bytes."""
    name: str = ""
    """A name for people; it is part of the policy's digest."""

    @staticmethod
    def from_json(data: bytes) -> Member:
        """Read a member from JSON of its own. Raises FormatError or LimitError if it is none."""
        return _member(read_json(data, MAX_POLICY))


@dataclass(frozen=True, kw_only=True)
class QuorumPolicy:
    """Whose verdicts count, how many are needed, and for how long."""

    name: str
    """A name for people; it is part of the digest."""
    members: tuple[Member, ...]
    """The auditors, in ascending order of their keys."""
    threshold: int
    """The fewest signers of a verdict."""
    valid_from: int
    """The first second since the Unix epoch at which verdicts under this policy may hold."""
    valid_until: int
    """The last second since the Unix epoch at which verdicts under this policy may hold."""
    longest: int
    """The most seconds for which one verdict may hold."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= MAX_SIGNERS:
            raise InputError(f"a policy names 1 to {MAX_SIGNERS} keys, not {len(self.members)}")
        if not 1 <= self.threshold <= len(self.members):
            raise InputError(f"a threshold of {self.threshold} of {len(self.members)} keys makes no quorum")
        if not self.valid_from <= self.valid_until:
            raise InputError("a policy that ends before it begins is never valid")
        keys = [member.key for member in self.members]
        if any(a >= b for a, b in pairwise(keys)):
            raise InputError("a policy names each key once, in ascending order")

    @staticmethod
    def of(
        members: list[Member], *, name: str, threshold: int, valid_from: int, valid_until: int, longest: int
    ) -> QuorumPolicy:
        """Make a policy of members in any order. Raises InputError if a value cannot be used."""
        made = QuorumPolicy(
            name=name,
            members=tuple(sorted(members)),
            threshold=threshold,
            valid_from=valid_from,
            valid_until=valid_until,
            longest=longest,
        )
        return QuorumPolicy.from_json(made.to_json())  # within the limits, so that others can read it

    @cached_property
    def digest(self) -> bytes:
        """The digest by which verdicts name the policy, 32 bytes."""
        members = tuple((m.key, m.proof, m.name) for m in self.members)
        numbers = (self.threshold, self.valid_from, self.valid_until, self.longest)
        return hashing.message_digest(
            "sha256", "quorum policy", wire.encode((KIND, VERSION, self.name, members, *numbers))
        )

    def place_of(self, key: bytes) -> int:
        """Return the number of a key among the members. Raises VerdictError if it is none of theirs."""
        for number, member in enumerate(self.members):
            if member.key == key:
                return number
        raise VerdictError(VerdictFault.SIGNER, f"the signer {key.hex()} is not in the policy {self.name!r}")

    def keys_of(self, numbers: Sequence[int]) -> list[bytes]:
        """Return the keys of members by number, in any order. Raises VerdictError if one is no member."""
        for number in numbers:
            if not 0 <= number < len(self.members):
                raise VerdictError(VerdictFault.SIGNER, f"there is no member {number} in the policy")
        return [self.members[number].key for number in numbers]

    def check_possession(self, numbers: list[int] | None = None) -> None:
        """Raise VerdictError unless the proofs of possession of members hold: of some by number, or of all.

        A member's proof takes half a second with py_ecc and is checked once in a process.
        """
        for number in range(len(self.members)) if numbers is None else numbers:
            member = self.members[number]
            if not possesses(member.key, member.proof):
                raise VerdictError(
                    VerdictFault.POSSESSION,
                    f"nothing shows that anybody has the secret of the key {member.key.hex()}",
                )

    # -- JSON -----------------------------------------------------------------------------------------------
    def to_json(self) -> bytes:
        """Return the policy as JSON, as people keep it."""
        fields = {
            "kind": KIND,
            "version": VERSION,
            "name": self.name,
            "threshold": self.threshold,
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "longest": self.longest,
            "keys": [{"name": m.name, "key": m.key.hex(), "proof": m.proof.hex()} for m in self.members],
        }
        return json.dumps(fields, indent=2).encode() + b"\n"

    @staticmethod
    def from_json(data: bytes) -> QuorumPolicy:
        """Read a policy from JSON; keys may be in any order.

        Proofs of possession are not checked here. Raises FormatError, LimitError or InputError if it is no
        policy, has a key that this version does not know, or lacks one.
        """
        top = read_json(data, MAX_POLICY)
        wanted = {"kind", "version", "name", "threshold", "valid_from", "valid_until", "longest", "keys"}
        if top.get("kind") != KIND:
            raise FormatError(f"this is no {KIND}")
        if top.get("version") != VERSION or type(top.get("version")) is not int:
            raise FormatError(f"this is not version {VERSION} of a {KIND}")
        _exactly(top, wanted, "a policy")
        keys = top["keys"]
        if not isinstance(keys, list):
            raise FormatError("the keys of a policy are an array")
        if len(keys) > MAX_SIGNERS:
            raise LimitError(f"a policy names at most {MAX_SIGNERS} keys, not {len(keys)}")
        return QuorumPolicy(
            name=wire.as_str(top["name"], "name of the policy", MAX_NAME),
            members=tuple(sorted(_member(one) for one in keys)),
            threshold=wire.as_int(top["threshold"], "threshold", 1, MAX_SIGNERS),
            valid_from=wire.as_int(top["valid_from"], "beginning of the policy", 0, MAX_SECONDS),
            valid_until=wire.as_int(top["valid_until"], "end of the policy", 0, MAX_SECONDS),
            longest=wire.as_int(top["longest"], "longest verdict", 0, MAX_SECONDS),
        )

    def save(self, path: StrPath) -> None:
        """Write the JSON file, whole or not at all."""
        write_atomic(path_of(path), self.to_json())

    @staticmethod
    def load(path: StrPath) -> QuorumPolicy:
        """Read a policy's JSON file. Raises as :meth:`from_json`, and InputError if it cannot be read."""
        return QuorumPolicy.from_json(read_limited(path_of(path), MAX_POLICY, "quorum policy"))


def _exactly(found: dict[str, Json], wanted: set[str], what: str) -> None:
    if missing := sorted(wanted - set(found)):
        raise FormatError(f"{what} lacks {', '.join(missing)}")
    if more := sorted(set(found) - wanted):
        raise FormatError(f"{what} has {', '.join(name[:64] for name in more)}, which nothing here knows")


def _member(value: Json) -> Member:
    if not isinstance(value, dict):
        raise FormatError("each key of a policy is an object")
    _exactly(value, {"name", "key", "proof"}, "a key of a policy")
    return Member(
        _hex(value["key"], "key", KEY),
        _hex(value["proof"], "proof of possession", SIGNATURE),
        wire.as_str(value["name"], "name of a key", MAX_NAME),
    )


def _hex(value: Json, what: str, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size or not value.isascii() or not value.isalnum():
        raise FormatError(f"the {what} in a policy is text of {2 * size} hexadecimal digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise FormatError(f"the {what} in a policy is not hexadecimal") from None
