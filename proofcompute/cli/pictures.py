"""Reads a picture, PNG or JPEG, as the pixels that an input of a model takes.

Such an input holds bytes: uint8 [height, width, channels] with 1, 3 or 4 channels, or [height, width]. How
pixels become floats is part of the model (``ProgramBuilder.pixels``), so a request says exactly which pixels
were asked about. The picture's size is compared with the model's before anything is decoded. Colours are
converted only where nothing is lost. A picture is decoded by Pillow (extra ``images``).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.encoding.files import read_limited
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.errors.extras import lacking
from proofcompute.limits import MAX_REQUEST
from proofcompute.program.types import Spec

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ModuleNotFoundError as e:
    raise lacking(e, "reading pictures") from e

__all__ = ["RESIZES", "read_picture"]

RESIZES: Final = ("crop", "stretch")
"""Ways to scale a picture that has another size: the middle part of it, or all of it whatever its shape."""
MAX_PIXELS: Final = 1 << 26
"""Pixels of a picture that is scaled."""
_MODES: Final = {1: ("L", "1"), 3: ("RGB", "L", "1", "P"), 4: ("RGBA", "RGB", "LA", "L", "1", "P")}
"""By the number of channels, the modes of Pillow that become so many without loss; the first is the result's.
"""
_ORIENTATION: Final = 0x0112
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, UserWarning, struct.error, zlib.error)
"""What Pillow raises for a damaged file."""


def read_picture(path: Path, spec: Spec, what: str, resize: str | None = None) -> Array:
    """Return the pixels of a picture, of the input's shape.

    ``resize`` is how a picture of another size is scaled (bilinear); None: it is refused. Raises InputError
    if the file cannot be read or the model takes something else, FormatError if it is damaged,
    UnsupportedError if its pixels would lose something, LimitError if it is too large.
    """
    channels = _channels(spec, what)
    height, width = spec.shape[:2]
    data = read_limited(path, MAX_REQUEST, "picture")
    try:
        with warnings.catch_warnings():
            # Sizes are checked here, against the model's; Pillow would warn of large ones.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("error", UserWarning)  # damage that Pillow reads past, as of how to turn it
            with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as picture:
                seen = _size(picture)
                if resize is None and seen != (width, height):
                    raise InputError(
                        f"{path} is {seen[0]} x {seen[1]} pixels, where the model takes {width} x {height}: "
                        f"scale it first, or pass --resize {' or '.join(RESIZES)}"
                    )
                if seen[0] * seen[1] > max(MAX_PIXELS, width * height):
                    raise LimitError(f"{path} has {seen[0] * seen[1]} pixels, more than {MAX_PIXELS}")
                _check_colours(picture, channels, path)
                picture.load()
                upright = ImageOps.exif_transpose(picture) if picture.format != "PNG" else picture
                pixels = upright.convert(_MODES[channels][0])
    except Image.DecompressionBombError as e:
        raise LimitError(f"{path}: {e}") from e
    except UnidentifiedImageError as e:
        raise FormatError(f"{path} is neither a PNG nor a JPEG picture") from e
    except _BROKEN as e:
        raise FormatError(f"{path} is damaged: {e}") from e
    if pixels.size != (width, height):
        fit = ImageOps.fit if resize == "crop" else Image.Image.resize
        pixels = fit(pixels, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(spec.shape)


def _channels(spec: Spec, what: str) -> int:
    """Return the channels of an input of pixels. Raises InputError if it takes something else."""
    channels = spec.shape[2] if len(spec.shape) == 3 else 1
    if spec.dtype != "u8" or len(spec.shape) not in (2, 3) or channels not in _MODES:
        raise InputError(
            f"{what}: the model takes {spec.numpy.name} {list(spec.shape)} and no pixels, which are uint8 "
            "[height, width, 1, 3 or 4]; how pixels become other numbers is for the model to say "
            "(ProgramBuilder.pixels), so give them as .npy"
        )
    return channels


def _size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture as it is to be looked at; cameras store some of them turned."""
    turned = picture.format != "PNG" and picture.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


def _check_colours(picture: Image.Image, channels: int, path: Path) -> None:
    if getattr(picture, "is_animated", False) and picture.format == "PNG":
        raise UnsupportedError(f"{path} is animated")
    if channels != 4 and "transparency" in picture.info:
        raise UnsupportedError(f"{path} is transparent in places; put it on a background first")
    if picture.mode not in _MODES[channels]:
        raise UnsupportedError(
            f"{path} has pixels of mode {picture.mode}, and making {channels} channels of them would lose "
            "something; convert them first"
        )
