"""Hold a node against each line of a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError
from proofcompute.networks.cluster.forms import Node, Policy, Records, exact
from proofcompute.networks.work import Work

__all__ = ["Line", "lines"]

Basis = Literal["evidence", "records", "both"]
"""What a line stands on: bundles, which anybody can check; records, which are somebody's word; or both."""
_HOUR = 3_600_000


@dataclass(frozen=True)
class Line:
    """What one line of a policy asks of a node, and what was found."""

    name: str
    required: str
    found: str
    """The number, or ``unknown``, with the reason where it is not that there is nothing."""
    holds: bool
    basis: Basis
    evidence: tuple[bytes, ...] = ()
    """SHA-256 of the bundles behind it."""

    def value(self) -> dict[str, Json]:
        """Return the line as JSON; numbers are text."""
        return {
            "line": self.name,
            "required": self.required,
            "found": self.found,
            "holds": self.holds,
            "basis": self.basis,
            "evidence": [each.hex() for each in self.evidence],
        }


def text(value: Fraction) -> str:
    """Return a number with at most six digits behind the point, rounded half to even."""
    scaled = round(value * 1_000_000)
    whole, rest = divmod(abs(scaled), 1_000_000)
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "")


@dataclass(frozen=True)
class _Found:
    """What bundles say about one node."""

    works: Sequence[Work]

    def of(self, *kinds: str) -> list[Work]:
        return [work for work in self.works if work.outcome.kind in kinds]

    @staticmethod
    def answers(works: Sequence[Work]) -> int:
        """Return how many answers these are about: an answer counts once, whoever audits it."""
        return len({work.receipt_digest for work in works})


def lines(policy: Policy, records: Records, node: Node, works: Sequence[Work], at: int) -> list[Line]:
    """Return the lines of the policy for a node.

    Args:
        policy: what is asked for.
        records: the records that the node is of.
        node: what the operator recorded of it.
        works: what bundles say about it, in the order of their digests.
        at: when it is judged, in milliseconds since the Unix epoch.

    Raises InputError for more audited answers than the node gave.
    """
    found, wanted = _Found(works), policy.value["node"]
    audited = found.of("accepted", "contradicted")
    if found.answers(works) > node.answers:
        raise InputError(
            f"there is evidence about {found.answers(works)} answers of the node, which gave {node.answers}"
        )
    return [*_recorded(wanted, node, found), *_counted(wanted, node, found, audited, at)]


def _recorded(wanted: dict[str, Any], node: Node, found: _Found) -> Iterator[Line]:
    if "uptime" in wanted:
        least = exact(wanted["uptime"])
        share = None if not node.asked else Fraction(node.answered, node.asked)
        yield _at_least("uptime", least, share, "records", [])
    if "throughput" in wanted:
        by_class = wanted["throughput"]
        name = f"throughput of {node.hardware}"
        if node.hardware not in by_class:
            # Hardware that the policy does not know is no way around the line.
            shown = node.hardware or "unknown"
            yield Line("throughput", "a class of the policy", shown, holds=False, basis="records")
            return
        yield _throughput(name, exact(by_class[node.hardware]), node, found)


def _throughput(name: str, least: Fraction, node: Node, found: _Found) -> Line:
    """Return the line for generated tokens a second. Tokens of prompts count nothing, and take their time."""
    contradicted = {work.receipt_digest for work in found.of("contradicted")}
    proved = {work.receipt_digest: work for work in found.of("accepted")}
    held = {digest: work for digest, work in proved.items() if digest not in contradicted}
    untimed = len(held.keys() - node.seconds.keys())
    if untimed:
        # Whoever could leave answers out would leave out the slow ones.
        shown = f"unknown: nobody recorded what {untimed} of {len(held)} proved answers took"
        return Line(name, text(least), shown, holds=False, basis="both", evidence=_digests([*held.values()]))
    taken = sum((node.seconds[digest] for digest in held), Fraction())
    speed = None if not taken else sum(work.tokens for work in held.values()) / taken
    return _at_least(name, least, speed, "both", list(held.values()))


def _counted(
    wanted: dict[str, Any], node: Node, found: _Found, audited: Sequence[Work], at: int
) -> Iterator[Line]:
    if "audited" in wanted:
        share = None if not node.answers else Fraction(found.answers(audited), node.answers)
        yield _at_least("audited", exact(wanted["audited"]), share, "both", audited)
    if "audits" in wanted:
        many = Fraction(found.answers(audited))
        yield _at_least("audits", exact(wanted["audits"]), many, "evidence", audited)
    if "by" in wanted:
        auditors = Fraction(len({work.auditor for work in audited}))
        yield _at_least("by", exact(wanted["by"]), auditors, "evidence", audited)
    for name, kind in (
        ("contradictions", "contradicted"),
        ("silences", "silent"),
        ("refusals", "refused"),
    ):
        if name in wanted:
            works = found.of(kind)
            many = Fraction(found.answers(works))
            yield _at_most(name, exact(wanted[name]), many, works)
    if "newest" in wanted:
        newest = max(audited, key=lambda work: work.made, default=None)
        age = None if newest is None else Fraction(max(0, at - newest.made), _HOUR)
        yield _at_most("newest", exact(wanted["newest"]), age, [] if newest is None else [newest])


def _at_least(
    name: str, least: Fraction, found: Fraction | None, basis: Basis, works: Sequence[Work]
) -> Line:
    shown = "unknown" if found is None else text(found)
    return Line(name, text(least), shown, found is not None and found >= least, basis, _digests(works))


def _at_most(name: str, most: Fraction, found: Fraction | None, works: Sequence[Work]) -> Line:
    shown = "unknown" if found is None else text(found)
    return Line(name, text(most), shown, found is not None and found <= most, "evidence", _digests(works))


def _digests(works: Sequence[Work]) -> tuple[bytes, ...]:
    return tuple(sorted({work.bundle_sha256 for work in works}))
