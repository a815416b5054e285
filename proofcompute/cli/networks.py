"""What ``import`` does with an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proofcompute.errors import InputError
from proofcompute.errors.extras import lacking

if TYPE_CHECKING:
    import numpy as np

    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.arrays import Array
    from proofcompute.importers.onnx import OnnxFile, Pixels
    from proofcompute.importers.onnx.rows import Inputs
    from proofcompute.models.model import Model

__all__ = ["NetworkOptions", "PixelOptions", "import_onnx", "shapes_of"]


@dataclass(frozen=True)
class PixelOptions:
    """Options of ``import`` about inputs that are made of pictures."""

    names: Sequence[str]
    divisor: float | None
    mean: str | None
    std: str | None
    bgr: bool

    def read(self) -> dict[str, Pixels]:
        """Return what they say of each input. Raises InputError if they cannot be used."""
        from proofcompute.importers.onnx import Pixels

        told = {"--divisor": self.divisor, "--mean": self.mean, "--std": self.std, "--bgr": self.bgr or None}
        given = [option for option, value in told.items() if value is not None]
        if given and not self.names:
            raise InputError(f"{given[0]} is about inputs of pixels: name them with --pixels")
        how = Pixels(
            255.0 if self.divisor is None else self.divisor,
            (0.0,) if self.mean is None else _numbers("--mean", self.mean),
            (1.0,) if self.std is None else _numbers("--std", self.std),
            self.bgr,
        )
        return dict.fromkeys(self.names, how)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text!r} is not of the form 0.485,0.456,0.406") from None


@dataclass(frozen=True)
class NetworkOptions:
    """Options of ``import`` about ONNX files."""

    shapes: Sequence[str]
    constants: Sequence[str]
    examples: Sequence[str]
    pixels: PixelOptions
    context: int | None
    whole: bool


def import_onnx(
    source: Path, precision: str | None, recipe: str | None, kernels: Kernels, options: NetworkOptions
) -> Model:
    """Compile an ONNX file. Raises InputError, of which there are many kinds, if it cannot be."""
    said = shapes_of(options.shapes)
    try:
        from proofcompute.importers.onnx import CONTEXT, Recipe, compile_onnx, inputs_of, open_onnx
    except ModuleNotFoundError as e:
        raise lacking(e, "importing an ONNX file") from e
    pictures = options.pixels.read()
    if options.examples and precision != "auto":
        raise InputError("--example is for --precision auto")
    wanted = precision or "w16a16" if recipe is None else Recipe.from_text(recipe)
    file = open_onnx(source)
    values = {}
    for word in options.constants:
        name, value = _constant(file, word)
        if name in values:
            raise InputError(f"--constant {name} is given twice")
        values[name] = value
    examples = None
    if options.examples:
        inputs = inputs_of(file, said, values, whole=options.whole)
        examples = _examples(file, inputs, pictures, options.examples)
    return compile_onnx(
        file,
        kernels,
        wanted,
        shapes=said,
        values=values,
        examples=examples,
        whole=options.whole,
        pixels=pictures,
        context=CONTEXT if options.context is None else options.context,
    )


def _constant(file: OnnxFile, word: str) -> tuple[str, Array]:
    """Return the input that a word such as ``axes=1,2`` or ``table=table.npy`` names, and its value."""
    import numpy as np

    from proofcompute.cli.npy import read_npy
    from proofcompute.encoding.npy import npy_header
    from proofcompute.importers.lowering.values import STORED
    from proofcompute.program.types import Spec

    name, equals, text = word.partition("=")
    declared = next((d for d in file.inputs if d.name == name and d.dtype), None)
    if not equals or declared is None:
        names = ", ".join(d.name[:80] for d in file.inputs)
        raise InputError(
            f"--constant {word[:80]!r} is not of the form NAME=1,2 or NAME=FILE.npy: NAME is {names}"
        )
    kind = Spec(STORED[declared.dtype], ())
    if text.endswith(".npy"):
        path = Path(text)
        try:
            with path.open("rb") as stream:
                shape = npy_header(stream, path).shape
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from e
        return name, read_npy(path, Spec(kind.dtype, shape), f"--constant {name}")
    try:
        numbers = [kind.numpy.type(_number(kind.numpy, n)) for n in text.split(",") if n]
    except (ValueError, OverflowError):
        raise InputError(
            f"--constant {word[:80]!r}: {text[:80]!r} are no numbers of type {kind.numpy.name}"
        ) from None
    flat = np.array(numbers, kind.numpy)
    return name, flat.reshape(()) if declared.dims == () and len(flat) == 1 else flat


def _number(dtype: np.dtype[Any], text: str) -> int | float:
    if dtype.kind == "f":
        return float(text)
    if dtype.kind == "b":
        return ("false", "true").index(text)
    return int(text)


def _examples(
    file: OnnxFile, inputs: Inputs, pixels: Mapping[str, Pixels], words: Sequence[str]
) -> dict[str, Array]:
    """Return examples [n, ...] of each input, read from files as ``request --input`` reads rows."""
    from proofcompute.cli.inputs import read_arrays
    from proofcompute.importers.onnx import specs_of

    specs = specs_of(file, inputs, pixels)
    found = {}
    for name, array in read_arrays(specs, words).items():
        many = array if array.ndim > len(specs[name].shape) else array[None]
        if name in pixels:
            many = pixels[name].floats(many, inputs.shapes[name][1:])
        if name not in inputs.batch and len(many) != 1:
            raise InputError(f"an example of {name[:80]!r} is one array, as the input has no batch")
        found[name] = many if name in inputs.batch else many[0]
    return found


def shapes_of(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return shapes by input from words such as ``image=1,3,224,224``. Raises InputError for others."""
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, equals, numbers = word.rpartition("=")
        try:
            found[name] = tuple(int(n) for n in numbers.split(",") if n)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"--shape {word!r} is not of the form NAME=1,3,224,224")
    return found
