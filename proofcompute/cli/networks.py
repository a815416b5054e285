"""What ``import`` does with an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proofcompute.errors import InputError
from proofcompute.errors.extras import lacking

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.importers.onnx import Pixels
    from proofcompute.models.model import Model

__all__ = ["PixelOptions", "import_onnx", "shapes_of"]


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


def import_onnx(
    source: Path,
    precision: str | None,
    shapes: Sequence[str],
    context: int | None,
    kernels: Kernels,
    *,
    whole: bool,
    pixels: PixelOptions,
) -> Model:
    """Compile an ONNX file. Raises InputError, of which there are many kinds, if it cannot be."""
    said = shapes_of(shapes)
    try:
        from proofcompute.importers.onnx import CONTEXT, compile_onnx, open_onnx
    except ModuleNotFoundError as e:
        raise lacking(e, "importing an ONNX file") from e
    pictures = pixels.read()
    return compile_onnx(
        open_onnx(source),
        kernels,
        precision or "w16a16",
        shapes=said,
        whole=whole,
        pixels=pictures,
        context=CONTEXT if context is None else context,
    )


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
