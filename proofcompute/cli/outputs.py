"""Outputs of a program as a file for other programs: ``--outputs FILE``.

What the file is follows from its name: ``.npz`` holds one NumPy array of every output by its name, ``.npy``
the array of the only one, ``.json`` an object of nested lists. Rows come first, [n, *shape].
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.common import check_output
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.arrays import Array

__all__ = ["Outputs", "check_outputs", "write_outputs"]

SUFFIXES = (".npz", ".npy", ".json")

Outputs = Annotated[
    Path | None,
    typer.Option("--outputs", metavar="FILE", help="Write the outputs here too: .npz, .npy or .json."),
]


def check_outputs(path: Path | None) -> None:
    """InputError unless outputs may be written there; called before any long work."""
    if path is None:
        return
    check_output(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: outputs are written as {', '.join(SUFFIXES)}")


def write_outputs(path: Path | None, outputs: Mapping[str, Array]) -> None:
    """Write rows of outputs by name, [n, *shape]; nothing without a path.

    InputError where the file holds one array and there are several.
    """
    if path is None:
        return
    import numpy as np

    from proofcompute.encoding.files import writing

    arrays = {name: np.asarray(rows) for name, rows in outputs.items()}
    if path.suffix == ".npy" and len(arrays) != 1:
        raise InputError(f"the program has {len(arrays)} outputs; write them as .npz")
    with writing(path) as stream:
        if path.suffix == ".json":
            text = json.dumps({name: rows.tolist() for name, rows in arrays.items()})
            stream.write(f"{text}\n".encode())
        elif path.suffix == ".npy":
            np.save(stream, next(iter(arrays.values())), allow_pickle=False)
        else:
            with zipfile.ZipFile(stream, "w") as archive:  # numpy.savez takes no output called "file"
                for name, rows in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, rows, allow_pickle=False)
