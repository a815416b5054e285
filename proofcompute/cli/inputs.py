"""The option ``--input [NAME=]FILE``: arrays for the inputs of a model that takes no prompt.

The name's ending gives the format: ``.npy`` holds one array, ``.json`` an object of nested lists by input, as
``--outputs`` writes it, and ``.png``, ``.jpg`` or ``.jpeg`` a picture. Whatever the format, an array has the
input's type and shape: [*shape] for one row, [n, *shape] for n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.arrays import Array
    from proofcompute.program.program import Program
    from proofcompute.program.types import Spec

__all__ = ["Inputs", "Resize", "read_arrays", "read_inputs", "shown"]

PICTURES = (".png", ".jpg", ".jpeg")
SUFFIXES = (".npy", ".json", *PICTURES)

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]FILE",
        help="Rows of an input, for a model without prompts: .npy, .json, .png or .jpg. May be repeated, "
        "for other inputs and for more pictures.",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(help="Scale pictures of another size: crop (the middle) or stretch."),
]


def read_inputs(program: Program, given: Sequence[str], resize: str | None = None) -> dict[str, Array]:
    """Return the array of each input that the option names; several pictures are as many rows.

    Raises InputError if one cannot be used.
    """
    if program.feedback:
        raise InputError("the model is a language model: it takes a prompt (--prompt), not --input")
    found = read_arrays(dict(program.inputs), given, resize)
    if missing := [name for name, _ in program.inputs if name not in found]:
        raise InputError(f"give --input {missing[0]}=FILE; the model takes {shown(program)}")
    return found


def read_arrays(
    specs: Mapping[str, Spec], given: Sequence[str], resize: str | None = None
) -> dict[str, Array]:
    """Return the array that each word [NAME=]FILE stands for, of rows as ``specs`` says of its input.

    Raises InputError if one cannot be used.
    """
    arrays: dict[str, Array] = {}
    pictures: dict[str, list[Array]] = {}
    for text in given:
        name, path = _named(text, specs)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"{path}: inputs are read from {', '.join(SUFFIXES)}")
        if not name and suffix != ".json":
            name = _only(specs, path)
        if suffix in PICTURES:
            pictures.setdefault(name, []).append(_picture(path, name, specs[name], resize))
            continue
        for found, array in _read(path, name, specs):
            if found in arrays:
                raise InputError(f"input {found} is given twice")
            arrays[found] = array
    if resize is not None and not pictures:
        raise InputError("--resize is about pictures, and there is none")
    import numpy as np

    if twice := [name for name in pictures if name in arrays]:
        raise InputError(f"input {twice[0]} is given twice")
    return arrays | {name: np.stack(each) for name, each in pictures.items()}


def shown(program: Program) -> str:
    """Return names, types and shapes of a program's inputs, as people read them."""
    return ", ".join(f"{name} ({spec.dtype} {list(spec.shape)} a row)" for name, spec in program.inputs)


def _named(text: str, specs: Mapping[str, Spec]) -> tuple[str, Path]:
    """Return the input's name, which is empty if there is none, and the file."""
    name, equals, file = text.partition("=")
    if not equals or (name not in specs and Path(text).exists()):
        return "", Path(text)
    if name not in specs:
        raise InputError(f"the model has no input {name}; its inputs are {', '.join(specs)}")
    return name, Path(file)


def _only(specs: Mapping[str, Spec], path: Path) -> str:
    """Return the name of the only input. Raises InputError if there are several."""
    if len(specs) != 1:
        raise InputError(f"say which input {path} is: NAME={path}; the model's inputs are {', '.join(specs)}")
    return next(iter(specs))


def _read(path: Path, name: str, specs: Mapping[str, Spec]) -> Iterable[tuple[str, Array]]:
    """Return inputs and their arrays; only a file of JSON may hold several."""
    if path.suffix.lower() == ".json":
        from proofcompute.cli.json_arrays import read_json_arrays

        return read_json_arrays(path, {name: specs[name]} if name else specs).items()
    from proofcompute.cli.npy import read_npy

    return ((name, read_npy(path, specs[name], f"input {name}")),)


def _picture(path: Path, name: str, spec: Spec, resize: str | None) -> Array:
    from proofcompute.cli.pictures import RESIZES, read_picture

    if resize is not None and resize not in RESIZES:
        raise InputError(f"--resize is {' or '.join(RESIZES)}, not {resize!r}")
    return read_picture(path, spec, f"input {name}", resize)
