"""What came of attacks, counted, and as JSON (docs/guides/attack.md#the-report)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.attacks.attack import Mode
from proofcompute.attacks.builtin import BUILTIN, builtin
from proofcompute.attacks.rates import Rate
from proofcompute.attacks.registry import Attack
from proofcompute.attacks.trials import Ground, Outcome, attempt

__all__ = ["FORMAT", "Report", "attempts", "family", "word"]

FORMAT: Final = "proofcompute attacks 1"
"""The format of reports."""


def attempts(
    grounds: Mapping[str, Ground], attacks: Iterable[Attack], modes: frozenset[Mode]
) -> Iterator[tuple[str, Outcome]]:
    """Yield what becomes of attacks, each on the first of several targets to which it applies.

    The name of the target comes with it.
    """
    for attack in attacks:
        for mode in attack.expected:
            if mode not in modes:
                continue
            found = ((name, attempt(ground, attack, mode)) for name, ground in grounds.items())
            first = last = next(found)
            while not last[1].applies and (following := next(found, None)) is not None:
                last = following
            yield last if last[1].applies else first


def family(kernels: Kernels, **options: Any) -> dict[str, Ground]:
    """Return the family of built-in models as targets, with options of :class:`.trials.Ground`."""
    seed = options.get("seed", 0)
    return {name: Ground(builtin(name, kernels, seed), **options) for name in BUILTIN}


@dataclass(eq=False)
class Report:
    """The outcomes of attacks, and the settings that they were made with."""

    settings: Mapping[str, Any]
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)
    """The name of the model, and what became of an attack on it."""
    complete: bool = False
    """Whether all attacks were made that were asked for."""

    def add(self, model: str, outcome: Outcome) -> None:
        """Add an outcome."""
        self.outcomes.append((model, outcome))

    def counts(self, mode: Mode | None = None) -> Counter[str]:
        """Return how many attacks were stopped, were not, and do not apply, in one mode or in all."""
        return Counter(word(o) for _, o in self.outcomes if mode in (None, o.mode))

    @property
    def failed(self) -> Sequence[Outcome]:
        """Attacks that nothing stopped, or something else than must."""
        return [o for _, o in self.outcomes if o.applies and not o.holds]

    def fields(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "format": FORMAT,
            "complete": self.complete,
            **self.settings,
            "counts": {
                "all": _counted(self.counts()),
                **{mode.value: _counted(self.counts(mode)) for mode in Mode},
            },
            "attacks": [_fields(model, outcome) for model, outcome in self.outcomes],
        }


def word(outcome: Outcome) -> str:
    """Return in a word what became of an attack."""
    return "not applicable" if not outcome.applies else "stopped" if outcome.holds else "failed"


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {name.replace(" ", "_"): counts[name] for name in ("stopped", "failed", "not applicable")}


def _fields(model: str, outcome: Outcome) -> dict[str, Any]:
    attack = outcome.attack
    return {
        "attack": attack.label,
        "subject": attack.subject,
        "name": attack.name,
        "does": attack.does,
        "kind": attack.kind,
        "source": attack.source,
        "model": model,
        "mode": outcome.mode.value,
        "outcome": word(outcome),
        "reason": outcome.reason,
        "trials": [{**asdict(trial), "holds": trial.holds} for trial in outcome.trials],
        "rate": None if outcome.rate is None else _rate(outcome.rate),
        "seconds": round(outcome.seconds, 3),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {
        **asdict(rate),
        "measured": rate.measured,
        "low": low,
        "high": high,
        "formula": rate.formula,
        "holds": rate.holds,
    }
