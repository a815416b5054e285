"""Reports how many mutants were tried."""

from __future__ import annotations

import pytest

from fuzz.harness import COUNTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COUNTS:
        parts = ", ".join(f"{name} {n}" for name, n in sorted(COUNTS.items()))
        terminalreporter.write_line(f"mutants: {sum(COUNTS.values())} ({parts})")
