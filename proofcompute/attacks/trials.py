"""Makes attacks on a target, and says what stopped each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

from proofcompute.attacks.attack import Cheat, Forged, Mode
from proofcompute.attacks.bundles import HOLDERS, Shown, bundle, judged, said
from proofcompute.attacks.case import Case, case
from proofcompute.attacks.proofs import Public, PublicCase, PublicForged
from proofcompute.attacks.rates import Rate, altered_cells, measured_rate
from proofcompute.attacks.registry import Attack
from proofcompute.attacks.target import NotApplicable, Target
from proofcompute.errors import Cell, ExecutionError, VerificationError
from proofcompute.protocol.messages import Request
from proofcompute.testing.forging import Forgery
from proofcompute.verifier.replay import replay

__all__ = ["PASSED", "Ground", "Outcome", "Trial", "attempt"]

PASSED = "passed"
"""What is found of an attack that nothing stopped."""


@dataclass(frozen=True)
class Trial:
    """One verification of one attack."""

    variant: str
    """What distinguishes it from the attack's other trials in this mode: products, or who judges."""
    expected: tuple[str, ...]
    """The steps or findings of which one must stop it."""
    found: str
    """The step that stopped it, or the finding; PASSED if nothing did."""
    why: str = ""
    """The error, in words."""

    @property
    def holds(self) -> bool:
        """Whether it was stopped by what must stop it."""
        return self.found in self.expected


@dataclass(frozen=True)
class Outcome:
    """What became of one attack in one mode."""

    attack: Attack
    mode: Mode
    trials: tuple[Trial, ...] = ()
    """Empty if the attack does not apply."""
    reason: str = ""
    """Why it does not apply."""
    rate: Rate | None = None
    """How often sampled audits find it; in private mode, if it alters cells."""
    seconds: float = 0.0

    @property
    def applies(self) -> bool:
        """Whether the attack could be made."""
        return not self.reason

    @property
    def holds(self) -> bool:
        """Whether every trial was stopped where it must be, and the rates agree. False if none was made."""
        return (
            bool(self.trials) and all(t.holds for t in self.trials) and (self.rate is None or self.rate.holds)
        )


@dataclass(eq=False)
class Ground:
    """A target, and what trials on it share."""

    target: Target
    cells: int = 8
    """Cells of a sampled audit."""
    draws: int = 1000
    """Challenges that are drawn to measure a rate."""
    audits: int = 4
    """Sampled audits of each cheat that are opened and verified."""
    seed: int = 0
    coding: Callable[[int], None] | None = None
    """Is called with the bytes of weights that were coded for public proofs."""
    _forged: dict[str, Forgery | NotApplicable] = field(default_factory=dict, repr=False)
    _altered: dict[str, frozenset[Cell]] = field(default_factory=dict, repr=False)

    @cached_property
    def public(self) -> Public:
        """The target's public key and proofs."""
        return Public(self.target, self.coding)

    def forged(self, attack: Attack) -> Forgery:
        """Return what a cheat commits to; the last one is kept. Raises NotApplicable."""
        if attack.label not in self._forged:
            self._forged.clear()
            self._altered.clear()
            self._forged[attack.label] = self._forge(attack)
        made = self._forged[attack.label]
        if isinstance(made, NotApplicable):
            raise made
        return made

    def _forge(self, attack: Attack) -> Forgery | NotApplicable:
        cheat = cast(Cheat, attack.made)
        try:
            forgery = cheat.build(self.target)
        except NotApplicable as e:
            return e
        except ExecutionError as e:
            return NotApplicable(f"the cheat's own run has no result: {e}")
        self._altered[attack.label] = altered = altered_cells(self.target, forgery)
        if not altered:
            return NotApplicable("it changes nothing of this model's answer")
        return forgery

    def altered(self, attack: Attack) -> frozenset[Cell]:
        """Return the cells that a cheat alters."""
        self.forged(attack)
        return self._altered[attack.label]


def attempt(ground: Ground, attack: Attack, mode: Mode) -> Outcome:
    """Make an attack in one mode, and return what became of it."""
    start = time.perf_counter()
    made, rate = attack.made, None
    try:
        if isinstance(made, Cheat):
            trials = tuple(_CHEATS[mode](ground, attack))
            if mode is Mode.PRIVATE:
                rate = _rate(ground, attack)
        elif isinstance(made, Shown):
            trials = tuple(_judgements(ground, made))
        elif isinstance(made, PublicForged):
            trials = (_trial("", (str(made.step),), made.build(ground.public).verify),)
        else:
            trials = tuple(_FORGED[mode](ground, made))
    except NotApplicable as e:
        return Outcome(attack, mode, reason=str(e), seconds=time.perf_counter() - start)
    return Outcome(attack, mode, trials, "", rate, time.perf_counter() - start)


def _trial(variant: str, expected: tuple[str, ...], verify: Callable[[], object]) -> Trial:
    try:
        verify()
    except VerificationError as e:
        return Trial(variant, expected, str(e.step), str(e))
    return Trial(variant, expected, PASSED)


# -- nodes that compute something else -----------------------------------------------------------------------
def _private(ground: Ground, attack: Attack) -> Iterator[Trial]:
    """An audit of all cells, with true products of the committed rows and with those that the cheat made.

    An auditor that holds the model makes the products itself.
    """
    t, forgery = ground.target, ground.forged(attack)
    audit = case(t, forgery, using=t.model)
    yield _trial("true products", ("9",), lambda: audit.verify(t.kernels))
    held = case(t, forgery, holder=t.model)
    yield _trial("no products", ("9",), lambda: held.verify(t.kernels))
    own = case(t, forgery)
    yield _trial("own products", _own(t, attack), lambda: own.verify(t.kernels))
    where = cast(Cheat, attack.made).where
    stray = [cell for cell in ground.altered(attack) if not where(t, cell)]
    if stray:
        yield Trial("altered cells", ("where they may be",), f"{stray[0]} is altered too")


def _own(t: Target, attack: Attack) -> tuple[str, ...]:
    return tuple(map(str, cast(Cheat, attack.made).own_steps(t)))


def _rate(ground: Ground, attack: Attack) -> Rate:
    return measured_rate(
        ground.target,
        ground.forged(attack),
        ground.altered(attack),
        cells=ground.cells,
        draws=ground.draws,
        audits=ground.audits,
        seed=ground.seed,
    )


def _public(ground: Ground, attack: Attack) -> Iterator[Trial]:
    """A proof of all cells; products of the cheat's own pass no evaluation, or give other rows."""
    t, forgery, public = ground.target, ground.forged(attack), ground.public
    yield _trial("true products", ("9",), public.case(forgery, t.model).verify)
    if forgery.runs is not t.model and forgery.runs.program == t.model.program:
        wanted = ("7",) if _own(t, attack) == ("7",) else ("8", "9")
        yield _trial("own products", wanted, public.case(forgery).verify)


def _replayed(ground: Ground, attack: Attack) -> Iterator[Trial]:
    """The answer is computed again: it has other tokens (9), or another trace (7)."""
    t, forgery = ground.target, ground.forged(attack)
    same = t.answer(forgery) == t.answer(t.honest(forgery.request))
    yield _replay(t, forgery.request, forgery.receipt.encode(), None, ("7",) if same else ("9",))


def _replay(
    t: Target, request: Request, receipt: bytes, node: bytes | None, expected: tuple[str, ...]
) -> Trial:
    return _trial(
        "",
        expected,
        lambda: replay(t.model, request, receipt, kernels=t.kernels, node=node),
    )


def _evidence(ground: Ground, attack: Attack) -> Iterator[Trial]:
    """An auditor's bundle about one altered cell, and one about a node that opens nothing."""
    t, forgery = ground.target, ground.forged(attack)
    first = min(ground.altered(attack))
    shown = bundle(t, case(t, forgery, first, using=t.model))
    verdict = judged(t, shown)
    found = verdict.finding.value
    if verdict.contradiction is not None and verdict.contradiction.step != 9:
        found = f"{found} at step {verdict.contradiction.step}"
    yield Trial("judged with a key", ("contradicted",), found, verdict.reason)
    silent = bundle(t, case(t, forgery, first, using=t.model), "silent", opening=b"")
    yield Trial("silence, judged with the model", ("contradicted",), said(t, silent, t.model))


# -- what is forged of a verification ------------------------------------------------------------------------
def _audited(ground: Ground, made: Forged) -> Iterator[Trial]:
    t = ground.target
    forged = made.build(t)
    yield _trial("", (str(made.step),), lambda: forged.verify(t.kernels))


def _proved(ground: Ground, made: Forged) -> Iterator[Trial]:
    """A public proof holds the forged receipt."""
    forged = made.build(ground.target)
    shown = replace(ground.public.changed(receipt=forged.receipt), requests=(forged.request,))
    yield _trial("", (str(made.public or made.step),), lambda: _verify_for(shown, forged))


def _verify_for(shown: PublicCase, forged: Case) -> object:
    return replace(shown, node=forged.node).verify()


def _computed_again(ground: Ground, made: Forged) -> Iterator[Trial]:
    forged = made.build(ground.target)
    yield _replay(ground.target, forged.request, forged.receipt, forged.node, (str(made.step),))


# -- evidence ------------------------------------------------------------------------------------------------
def _judgements(ground: Ground, made: Shown) -> Iterator[Trial]:
    t = ground.target
    for name, hold in HOLDERS.items():
        wanted: str = getattr(made, name)
        yield Trial(f"judged with a {name}", (wanted,), said(t, made.build(t), hold(t)))


_CHEATS: dict[Mode, Callable[[Ground, Attack], Iterator[Trial]]] = {
    Mode.PRIVATE: _private,
    Mode.PUBLIC: _public,
    Mode.REPLAY: _replayed,
    Mode.EVIDENCE: _evidence,
}
_FORGED: dict[Mode, Callable[[Ground, Forged], Iterator[Trial]]] = {
    Mode.PRIVATE: _audited,
    Mode.PUBLIC: _proved,
    Mode.REPLAY: _computed_again,
}
