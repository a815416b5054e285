"""The option ``--outputs FILE``: writes a program's outputs to a file that other programs can read.

The name's ending gives the format: ``.npz`` holds a NumPy array for each output, under its name; ``.npy`` the
array of a single output; ``.json`` an object of nested lists. The first axis is the rows: [n, *shape].
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.files import check_output
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.arrays import Array
    from proofcompute.program.program import Program

__all__ = ["Outputs", "check_outputs", "described", "values_of", "write_outputs"]

SUFFIXES = (".npz", ".npy", ".json")
FEW = 32
"""The most values of an output that are shown."""

Outputs = Annotated[
    Path | None,
    typer.Option(
        "--outputs", metavar="FILE", help="Also write the outputs to this file: .npz, .npy or .json."
    ),
]


def check_outputs(path: Path | None, program: Program | None = None) -> None:
    """Check, before any long work, that outputs may be written at ``path``; InputError if not.

    Once the program is known, its outputs must fit into such a file.
    """
    if path is None:
        return
    if program is not None:
        _check_count(path, len(program.outputs))
        return
    check_output(path, force=True)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: outputs are written as {', '.join(SUFFIXES)}")


def described(outputs: Mapping[str, Array]) -> dict[str, dict[str, object]]:
    """Return type and shape of each output."""
    import numpy as np

    arrays = {name: np.asarray(rows) for name, rows in outputs.items()}
    return {name: {"dtype": a.dtype.name, "shape": list(a.shape)} for name, a in arrays.items()}


def values_of(outputs: Mapping[str, Array]) -> dict[str, object]:
    """Return what people see of each output: type and shape, and the values if they are few."""
    import numpy as np

    found: dict[str, object] = {}
    for name, rows in outputs.items():
        a = np.asarray(rows)
        values = f"\n{np.array2string(a, precision=6, separator=', ')}" if a.size <= FEW else ""
        found[f"output {name}"] = f"{a.dtype.name} {list(a.shape)}{values}"
    return found


def write_outputs(path: Path | None, outputs: Mapping[str, Array]) -> None:
    """Write the rows of each output, [n, *shape], to ``path``; do nothing without a path.

    Raises InputError if ``path`` ends in .npy and there is not exactly one output.
    """
    if path is None:
        return
    import numpy as np

    from proofcompute.encoding.files import writing

    arrays = {name: np.asarray(rows) for name, rows in outputs.items()}
    _check_count(path, len(arrays))
    with writing(path) as stream:
        if path.suffix == ".json":
            text = json.dumps({name: rows.tolist() for name, rows in arrays.items()})
            stream.write(f"{text}\n".encode())
        elif path.suffix == ".npy":
            np.save(stream, next(iter(arrays.values())), allow_pickle=False)
        else:
            with zipfile.ZipFile(stream, "w") as archive:  # numpy.savez cannot store an output named "file"
                for name, rows in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, rows, allow_pickle=False)


def _check_count(path: Path, count: int) -> None:
    if path.suffix == ".npy" and count != 1:
        raise InputError(f"the program has {count} outputs; write them as .npz")
