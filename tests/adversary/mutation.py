"""Removing one check: source-level mutation of functions in place, and the places where checks raise.

A mutation replaces one piece of a module's source, compiles the result, and gives each function of the module
its new code object. The function objects stay the same, so the change reaches every importer.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import types
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "proofcompute"


class Edit(NamedTuple):
    """``old``, which occurs exactly once in the module's source, becomes ``new`` of as many lines."""

    module: str
    old: str
    new: str


def apply(patch: pytest.MonkeyPatch, edits: Sequence[Edit]) -> None:
    """Mutate; undone with ``patch``. AssertionError if an edit does not fit or changes nothing."""
    by_module: dict[str, list[Edit]] = {}
    for edit in edits:
        by_module.setdefault(edit.module, []).append(edit)
    for name, group in by_module.items():
        module = importlib.import_module(f"proofcompute.{name}")
        source = inspect.getsource(module)
        for edit in group:
            assert source.count(edit.old) == 1, f"{name} holds {source.count(edit.old)} times: {edit.old}"
            assert edit.old.count("\n") == edit.new.count("\n"), "an edit keeps the number of lines"
            source = source.replace(edit.old, edit.new)
        mutant = types.ModuleType(module.__name__)
        mutant.__file__ = module.__file__
        exec(compile(source, str(module.__file__), "exec"), mutant.__dict__)  # noqa: S102
        old, new = dict(_functions(module)), dict(_functions(mutant))
        changed = [q for q in old if q in new and old[q].__code__ != new[q].__code__]
        assert changed, f"nothing changed in {name}"
        for qualname in changed:
            patch.setattr(old[qualname], "__code__", new[qualname].__code__)


def _functions(module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    """Functions and methods that a module's source defines, by qualified name."""
    for value in list(vars(module).values()):
        yield from _unwrap(value, module)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for member in list(vars(value).values()):
                yield from _unwrap(member, module)


def _unwrap(value: Any, module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, cached_property):
        value = value.func
    value = inspect.unwrap(value) if callable(value) and not inspect.isclass(value) else value
    if isinstance(value, types.FunctionType) and value.__code__.co_filename == module.__file__:
        yield value.__qualname__, value


# -- places ------------------------------------------------------------------------------------------------
RAISED = {
    **{f"verifier/{f.name}": {"VerificationError"} for f in sorted((PACKAGE / "verifier").glob("*.py"))},
    "protocol/boundaries.py": {"VerificationError"},
    "protocol/frames.py": {"VerificationError"},
    "protocol/hints.py": {"FormatError"},
    "protocol/messages/opening.py": {"FormatError"},
    "protocol/promises.py": {"VerificationError"},
    "protocol/receipts.py": {"VerificationError"},
    "protocol/stop.py": {"FormatError"},
    "protocol/statement.py": {"FormatError", "LimitError"},
}
"""Files whose every ``raise`` of these errors needs a mutant."""
RESPONSES = {
    f"openai/{name}.py": {"VerificationError"}
    for name in ("checking", "embedding", "proof", "sent", "streaming")
}
"""The same for what a client reads besides receipts; ``tests/binding`` has the mutants."""
CLIENT = {
    f"client/{name}.py": {"VerificationError"}
    for name in (
        "challenger",
        "events",
        "exchange",
        "flow",
        "heads",
        "inflate",
        "published",
        "sources",
        "terms",
    )
}
"""The same for a client over HTTP; ``tests/client`` has the mutants."""
PUBLIC = {
    f"{name}.py": {"VerificationError"}
    for name in (
        "beacons/checking",
        "public/evaluation",
        "public/openings",
        "public/products",
        "public/proving",
        "public/reading",
    )
}
"""The same for public proofs without weights; ``tests/public`` has the mutants."""
PIPELINES = {f"client/{name}.py": {"VerificationError"} for name in ("pipeline", "reopening", "stages")}
"""The same for a client of several nodes that serve one model; ``tests/pipelines`` has the mutants."""
SCOPE = {
    "client/challenger.py": ("Challenger._claim", "Challenger._try"),
    "protocol/statement.py": ("Statement.",),
}
"""Where only a part of a file is meant: how the qualified names there begin."""
FILES = RAISED | RESPONSES | CLIENT


class Site(NamedTuple):
    """One ``raise``: first and last line, and a name that says what it checks."""

    first: int
    last: int
    name: str


@cache
def sites(file: str) -> tuple[Site, ...]:
    """The places in a file of the package that raise one of the errors listed for it."""
    tree = ast.parse((PACKAGE / file).read_text("utf-8"))
    found: list[Site] = []

    def walk(node: ast.AST, path: tuple[str, ...]) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            path = (*path, node.name)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = node.exc.func
            if isinstance(called, ast.Name) and called.id in (FILES | PUBLIC | PIPELINES)[file]:
                words = ": ".join(_text(a) for a in node.exc.args)
                name = f"{file.removesuffix('.py')}:{'.'.join(path)}: {words}"
                if ".".join(path).startswith(SCOPE.get(file, ("",))):
                    found.append(Site(node.lineno, node.end_lineno or node.lineno, name))
        for child in ast.iter_child_nodes(node):
            walk(child, path)

    walk(tree, ())
    return tuple(found)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
    return ast.unparse(node)


def raised_at(error: BaseException, files: Iterable[str] = tuple(FILES)) -> set[str]:
    """Names of the sites in some files at which an error and its causes were raised."""
    found: set[str] = set()
    seen: BaseException | None = error
    while seen is not None:
        frame = seen.__traceback__
        last: tuple[str, int] | None = None
        while frame is not None:
            last = (frame.tb_frame.f_code.co_filename, frame.tb_lineno)
            for file in files:
                if last[0] == str(PACKAGE / file):
                    found |= {s.name for s in sites(file) if s.first <= last[1] <= s.last}
            frame = frame.tb_next
        seen = seen.__cause__
    return found
