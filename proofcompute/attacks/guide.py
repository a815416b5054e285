"""The table of attacks as the guide has it (docs/guides/attack.md)."""

from __future__ import annotations

from proofcompute.attacks.attack import Mode
from proofcompute.attacks.registry import ATTACKS, SUBJECTS

__all__ = ["table"]


def table() -> str:
    """Return the attacks in Markdown: a table for each subject, with the step for each mode."""
    parts = []
    for subject, (said, _) in SUBJECTS.items():
        modes = [m for m in Mode if any(m in a.expected for a in ATTACKS.values() if a.subject == subject)]
        head = ["attack", "kind", *(mode.value for mode in modes)]
        lines = [f"### {subject}", "", f"{said[0].upper()}{said[1:]}.", ""]
        lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for attack in ATTACKS.values():
            if attack.subject == subject:
                steps = [" or ".join(attack.expected.get(mode, ("-",))) for mode in modes]
                lines.append(f"| {attack.name} | {attack.kind} | {' | '.join(steps)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
