"""Compilation is told of before it is waited for, and can be done ahead of time."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proofcompute.arithmetic.backends.numba import modules
from proofcompute.arithmetic.backends.numba.codegen.signatures import int64, void
from proofcompute.arithmetic.backends.numba.runtime import cache
from proofcompute.arithmetic.backends.numba.runtime.cache import load
from proofcompute.arithmetic.compiling import compiling, watching
from proofcompute.arithmetic.devices import warm_up

HOME = Path(modules.__file__).parent
ROOT = HOME.parents[2]


def test_every_kernel_is_counted_and_warmed_up() -> None:
    """A module with kernels that the list lacks would be compiled in silence."""
    found = [path for path in HOME.rglob("*.py") if "@kernel(" in path.read_text("utf-8")]
    names = [".".join(path.relative_to(HOME).with_suffix("").parts) for path in found]
    assert sorted(names) == sorted(modules.MODULES)
    told: list[tuple[int, int]] = []
    warm_up(lambda done, total: told.append((done, total)))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]
    mine = [f for f in cache._loaded.values() if f.__module__.startswith("proofcompute.")]
    assert len(mine) == cache.KERNELS
    assert warm_up() == 0


@pytest.mark.slow
def test_processes_help_each_other(tmp_path: Path) -> None:
    """All kernels are there at the end, whoever compiled them, and none is left behind."""
    n = cache.KERNELS
    code = (
        "from proofcompute.arithmetic.devices import warm_up\n"
        "told = []\n"
        "print(warm_up(lambda done, total: told.append((done, total)), processes=2))\n"
        f"assert told[0] == (0, {n}) and told[-1] == ({n}, {n}) and told == sorted(told)\n"
        "print(warm_up(processes=2))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(n), "0"]


def test_what_is_compiled_is_told_of_and_what_is_loaded_is_not(tmp_path: Path) -> None:
    told: list[tuple[str, int, str]] = []

    @contextmanager
    def watch(name: str, left: int) -> Iterator[None]:
        told.append((name, left, "begin"))
        yield
        told.append((name, left, "end"))

    def nothing(n: int) -> None:
        return

    with watching(watch):
        for _ in range(2):
            load(nothing, (void(int64),), tmp_path)
    name = f"{__name__.rpartition('.')[2]}.nothing"
    assert told == [(name, cache.KERNELS, "begin"), (name, cache.KERNELS, "end")]
    with compiling("something", 1):
        assert len(told) == 2
    assert cache.left(tmp_path) == cache.KERNELS - 1


def test_a_command_says_that_it_compiles(tmp_path: Path) -> None:
    """On standard error, once, when that is no terminal; and says nothing when there is nothing to do."""
    code = (
        "import sys\n"
        "from proofcompute.arithmetic.compiling import compiling\n"
        "from proofcompute.cli.progress import tell_of_compilation\n"
        "with tell_of_compilation():\n"
        "    for i in range(int(sys.argv[1])):\n"
        "        with compiling('rows.hash', 44 - i): pass\n"
    )
    for kernels, lines in ((0, 0), (2, 1)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(kernels)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == lines
        assert ("at most 44" in done.stderr) == bool(lines)


def test_a_library_warns_once_and_logs_each_kernel() -> None:
    """Where nobody watches, logging says it: a warning, which Python prints even if nothing was set up."""
    code = (
        "import logging, sys\n"
        "from proofcompute.arithmetic.compiling import compiling, watching\n"
        "if sys.argv[1:]: logging.basicConfig(level=logging.INFO)\n"
        "for i in range(3):\n"
        "    with compiling('rows.hash', 44 - i): pass\n"
    )
    for words, lines in (((), 1), (("all",), 4)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(done.stderr.splitlines()) == lines
        assert "compiling kernels for this machine, at most 44" in done.stderr
        assert done.stderr.count("compiling rows.hash") == lines - 1


def test_every_command_is_watched_and_tells_of_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from proofcompute.cli import app, main

    def command(*arguments: object, **named: object) -> int:
        with compiling("rows.hash", 7):
            logging.getLogger("proofcompute.somewhere").warning("a warning")
        return 0

    monkeypatch.setattr(app, "app", lambda names: command)
    for name in app.COMMANDS:
        assert main([name]) == 0
        said = capsys.readouterr().err.splitlines()
        assert [line.partition(",")[0] for line in said] == [
            "proofcompute: compiling kernels for this machine",
            "proofcompute: a warning",
        ]


def test_a_bar_within_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, compilation shows in the bar of whatever needed it."""
    from proofcompute.cli import progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.tell_of_compilation(), progress.progress("import", 3) as advance:
        (bar,) = progress._bars
        advance(1)
        with compiling("rows.hash", 7):
            assert [task.description for task in bar.tasks] == [
                "import",
                "compiling rows.hash, at most 7 left",
            ]
        assert [task.description for task in bar.tasks] == ["import"]
    assert not progress._bars
