"""What ``inspect`` says of weights of two limbs: which they are, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proofcompute.program.program import Program

__all__ = ["limb_facts"]

Facts = dict[str, object]


def limb_facts(program: Program) -> tuple[Facts, Facts]:
    """Return what there is to say of weights of two limbs, as JSON and for people; nothing if there are none.

    The costs are those of the matrices of products, over those that they would have with one limb each: bytes
    that a row reads which emits a token, and multiplications of a row of a prompt, which needs no last
    segment. For a mixture all experts are counted.
    """
    found = list(dict.fromkeys(site.weight for plan in program.plans for site in plan.sites))
    two = [name for name in found if program.weight[name].limbs > 1]
    if not two:
        return {}, {}
    last = {site.weight for site in program.plans[-1].sites}
    token = _ratio(program, found)
    prompt = _ratio(program, [name for name in found if name not in last] or found)
    facts: Facts = {"two_limbs": two, "token_cost": token, "prompt_cost": prompt}
    shown: Facts = {
        "two limbs": _listed(two) if len(two) < len(found) else "all matrices of products",
        "cost": f"a token reads {token:.2f} times the bytes that it would with one limb, a prompt takes "
        f"{prompt:.2f} times the multiplications",
    }
    return facts, shown


def _ratio(program: Program, names: Sequence[str]) -> float:
    specs = [program.weight[name] for name in names]
    one = sum(s.rows * s.width for s in specs)
    return sum(s.rows * s.width * s.limbs for s in specs) / one


def _listed(names: Sequence[str]) -> str:
    """Return names, those of blocks by what they are and by ranges of blocks."""
    blocks: dict[str, list[int]] = {}
    other: list[str] = []
    for name in names:
        number, _, rest = name.removeprefix("block.").partition(".")
        if name.startswith("block.") and number.isdecimal() and rest:
            blocks.setdefault(rest, []).append(int(number))
        else:
            other.append(name)
    return "\n".join([*(f"{rest} of blocks {_ranges(at)}" for rest, at in blocks.items()), *other])


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers as ranges: 0-3, 7."""
    found: list[list[int]] = []
    for n in sorted(numbers):
        if found and found[-1][1] == n - 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)
