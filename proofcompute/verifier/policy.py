"""Define how much of an answer is checked, drawn after its receipt (docs/spec/messages.md#audit-policy).

With probability ``whole`` every cell of an answer is checked, with probability ``sampled`` a sample of it,
and else nothing but its receipt. Probabilities are multiples of 2^-32, so that a draw of 32 bits meets them
exactly.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_AUDIT_POLICY
from proofcompute.protocol.samples import Sample

__all__ = ["AuditPolicy"]

KIND = "proofcompute audit policy"
VERSION = 1
_ONE: Final = 1 << 32


@dataclass(frozen=True)
class AuditPolicy:
    """How much of an answer is checked.

    Probabilities are rounded to multiples of 2^-32, but one above 0 never to 0. Raises InputError unless they
    are from 0 to 1, their sum is above 0 and at most 1, and a sample is given exactly if it is ever drawn.
    """

    whole: float = 0.0
    """Probability with which every cell is checked."""
    sampled: float = 0.0
    """Probability with which :attr:`sample` is."""
    sample: Sample | None = None

    def __post_init__(self) -> None:
        for name in ("whole", "sampled"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise InputError(f"policy: {name} is a probability from 0 to 1, not {value!r}")
            object.__setattr__(self, name, (max(1, round(value * _ONE)) if value else 0) / _ONE)
        if not 0 < self.whole + self.sampled <= 1:
            raise InputError(
                f"policy: {self.whole:g} of all cells and {self.sampled:g} of a sample add up to "
                f"{self.whole + self.sampled:g}, not to more than 0 and at most 1"
            )
        if (self.sample is None) != (self.sampled == 0):
            raise InputError("policy: give a sample and its probability, or neither")

    def choose(self, below: Callable[[int], int] = secrets.randbelow) -> Sample | Literal["all"] | None:
        """Draw what of an answer is checked: all of it, the sample, or nothing (None).

        Call it when the receipt has come, and never before: who knows that an answer is not checked can alter
        it. ``below`` gives a uniform number from 0 to its argument less one; it is for simulations.
        """
        drawn = below(_ONE)
        if drawn < round(self.whole * _ONE):
            return "all"
        return self.sample if drawn < round((self.whole + self.sampled) * _ONE) else None

    @property
    def parts(self) -> int:
        """In how many ways answers are checked: all cells, runs, scattered cells."""
        runs, _, cells = (0, 0, 0) if self.sample is None else self.sample.fields()
        return (self.whole > 0) + (runs > 0) + (cells > 0)

    @property
    def always(self) -> bool:
        """Whether something of every answer is checked."""
        return self.whole + self.sampled == 1

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        sample = () if self.sample is None else self.sample.fields()
        return wire.encode((KIND, VERSION, round(self.whole * _ONE), round(self.sampled * _ONE), sample))

    @staticmethod
    def decode(data: bytes) -> AuditPolicy:
        """Decode a policy. Raises FormatError, LimitError or UnsupportedError if ``data`` encodes none."""
        top = wire.as_list(wire.decode(data, limit=MAX_AUDIT_POLICY, what="policy"), "policy", n=5)
        wire.check_head(top, KIND, VERSION)
        whole, sampled = (wire.as_int(v, "probability", 0, _ONE) / _ONE for v in top[2:4])
        sample = None if top[4] == () else Sample.of(top[4])
        try:
            return AuditPolicy(whole, sampled, sample)
        except InputError as e:
            raise FormatError(str(e)) from e

    def save(self, path: StrPath) -> None:
        """Write the policy to a file."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> AuditPolicy:
        """Read a policy from a file. Raises InputError or one of its kinds if it holds none."""
        return AuditPolicy.decode(read_limited(path_of(path), MAX_AUDIT_POLICY, "policy"))

    def __str__(self) -> str:
        parts = [f"all cells with probability {self.whole:.6g}"] if self.whole else []
        if self.sample is not None:
            parts.append(f"{self.sample} with probability {self.sampled:.6g}")
        return ", ".join(parts)
