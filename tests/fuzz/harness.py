"""How many mutants each decoder gets, and what is demanded of it.

``PROOFCOMPUTE_MUTANTS`` sets the number for a decoder of share 1; by default 200, and LONG in the long
Hypothesis profile (``make fuzz``). The quick profile is the same on every run. The long one draws a seed and
prints it; ``PROOFCOMPUTE_FUZZ_SEED`` repeats it.
"""

from __future__ import annotations

import os
import secrets
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Final, TypeVar

from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from proofcompute.errors import InputError, ProofcomputeError
from proofcompute.limits import MIB

T = TypeVar("T")
E = TypeVar("E", bound=ProofcomputeError)

LONG: Final = 10_000
"""Mutants for a decoder of share 1 in the long profile."""
LONG_PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE") == "long"
MUTANTS: Final = int(os.environ.get("PROOFCOMPUTE_MUTANTS", LONG if LONG_PROFILE else 200))
SEED: Final = int(os.environ.get("PROOFCOMPUTE_FUZZ_SEED", secrets.randbits(63) if LONG_PROFILE else 1))

SHARES: Final = {
    "request": 1.5,
    "receipt": 1.5,
    "signed receipt": 1.0,
    "terms": 0.5,
    "audit policy": 0.3,
    "signed terms": 0.5,
    "model card": 0.5,
    "challenge": 1.0,
    "opening head": 0.5,
    "opening part": 1.5,
    "opening end": 0.5,
    "hint": 1.0,
    "program": 1.0,
    "vocabulary": 1.0,
    "key": 1.0,
    "key file": 0.2,
    "identity": 0.3,
    "model file": 1.0,
    "run directory": 0.5,
    "interrupted tokens": 0.1,
    "allocation": 0.5,
    "verified receipt": 0.5,
    "verified opening": 1.0,
    "public receipt": 0.2,
    "public key": 0.2,
    "public factor": 0.3,
    "public proof head": 0.3,
    "evaluation": 0.2,
    "coded proof": 0.1,
    "public opening": 0.4,
    "recommitted trace": 0.1,
    "verifier's material": 0.3,
    "product request": 0.3,
    "product receipt": 0.3,
    "product challenge": 0.3,
    "product part": 0.3,
    "product opening": 0.5,
    "commands: receipt": 0.4,
    "commands: opening": 0.2,
    "commands: terms": 0.2,
    "commands: card": 0.2,
    "product proof": 0.2,
    "product key": 0.2,
    "inputs: array": 0.5,
    "inputs: JSON": 0.5,
    "inputs: picture": 1.0,
    "stages": 0.3,
    "evidence": 1.0,
    "evidence file": 0.5,
    "evidence: opening": 0.3,
    "evidence: receipt": 0.3,
    "evidence: verdict": 0.2,
    "beacon": 0.3,
    "beacon statement": 0.3,
    "signed verdict": 0.3,
    "quorum verdict": 0.3,
    "quorum policy": 0.3,
    "round": 0.3,
}
"""Shares of all tests; ``test_decoders`` adds them up."""

TEXT: Final = 1_000
"""Characters that no error has, whatever a message holds: it ends up in logs and on terminals."""

COUNTS: dict[str, int] = {}
"""Mutants tried in this process."""


def share(name: str) -> int:
    """Mutants that a decoder gets."""
    return max(10, round(MUTANTS * SHARES[name]))


def drive(name: str, make: Callable[[Random], T], check: Callable[[T], None]) -> None:
    """``check`` as many mutants from ``make`` as the decoder's share says, under Hypothesis."""
    wanted, tried = share(name), 0

    @seed(SEED)
    @settings(max_examples=wanted, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def one(rng: Random) -> None:
        nonlocal tried
        tried += 1
        made = make(rng)
        note(f"PROOFCOMPUTE_FUZZ_SEED={SEED}, mutant: {made.hex() if isinstance(made, bytes) else made!r}")
        check(made)

    print(f"{name}: {wanted} mutants, PROOFCOMPUTE_FUZZ_SEED={SEED}")
    one()
    COUNTS[name] = COUNTS.get(name, 0) + tried
    assert tried >= wanted


def attempt(run: Callable[[], T], errors: type[E]) -> T | E:
    """What ``run`` returns, or the error of the expected type; any other error passes through."""
    try:
        return run()
    except errors as error:
        return error


def survives(decode: Callable[[bytes], T], encode: Callable[[T], bytes]) -> Callable[[bytes], None]:
    """The property of a decoder: a typed error, or an object with exactly these bytes."""

    def check(data: bytes) -> None:
        decoded = attempt(lambda: decode(data), InputError)
        if isinstance(decoded, InputError):
            assert 0 < len(str(decoded)) < TEXT
        else:
            assert encode(decoded) == data

    return check


def allowed(size: int) -> int:
    """Bytes that decoding an input of ``size`` bytes may have allocated at any time."""
    return 64 * size + 8 * MIB


def peak(run: Callable[[], object]) -> int:
    """The most bytes that ``run`` held at once (NumPy's included); an InputError ends it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        try:
            run()
        except InputError:
            pass
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
