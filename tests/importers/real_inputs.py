"""Real pictures and pages for the networks of packages, prepared as those packages prepare them.

The photographs are those that ship in scikit-image; pages are its own and some drawn with Pillow's font.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from proofcompute.arrays import F32, Array

PHOTOGRAPHS: Final = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "ihc.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
LINES: Final = (
    "The quick brown fox jumps over the lazy dog.",
    "Invoice 2024-0193: 17 items, total 1,284.50 EUR",
    "A receipt binds the rows that a node computed,",
    "and a verifier opens some cells of them.",
    "Temperature 21.4 C, humidity 63 %, wind 5 m/s",
    "Please deliver to 221B Baker Street, London NW1",
    "Serial no. X7K-99120-ZQ, batch 44",
    "Rows are samples; columns are channels.",
    "Departure 08:45 from platform 12",
    "Thank you for your order, Ms. Okonkwo!",
)
"""Lines of the drawn pages."""


def photograph(name: str, mode: str = "RGB") -> Image.Image:
    """Return a photograph of scikit-image."""
    skimage = pytest.importorskip("skimage")
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert(mode)


def page(lines: Sequence[str] = LINES, size: int = 22, width: int = 640) -> Array:
    """Return a drawn page, uint8 [height, width, 3], of a multiple of 32 pixels high."""
    font = ImageFont.load_default(size)
    height = -(-(len(lines) * 2 * size + 2 * size) // 32) * 32
    made = Image.new("RGB", (width, height), (250, 249, 245))
    draw = ImageDraw.Draw(made)
    for i, line in enumerate(lines):
        draw.text((20 + 7 * (i % 3), size + 2 * size * i), line, (20, 20, 40), font)
    return np.asarray(made)


def nsfw() -> F32:
    """Return the photographs as OpenNSFW takes them: [10, 224, 224, 3], blue first, less the mean."""
    found = []
    for name in PHOTOGRAPHS:
        picture = photograph(name).resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
        stored = BytesIO()
        picture.save(stored, "JPEG")
        pixels = np.asarray(Image.open(stored), np.float32)
        found.append(pixels[..., ::-1] - np.array([104, 117, 123], np.float32))
    return np.stack(found).astype(np.float32)


def pages(height: int = 320, width: int = 320) -> F32:
    """Return ten pages and photographs as the detector of text takes them: [10, 3, height, width]."""
    found = []
    for i in range(6):
        whole = page(LINES[i:] + LINES[:i], 16 + 2 * i)
        found.append(whole[40 * i :][:height, 20:][:, :width])
    for name in ("page.png", "text.png", "coffee.png", "rocket.jpg"):
        found.append(np.asarray(photograph(name).crop((20, 10, 20 + width, 10 + height))))
    return _centred(found)


def lines(width: int = 320) -> F32:
    """Return ten lines of text as the recogniser and the classifier take them: [10, 3, 48, width]."""
    found = []
    for i, line in enumerate(LINES):
        font = ImageFont.load_default(24 + i % 3 * 4)
        made = Image.new("RGB", (width, 48), (255 - 8 * i, 250, 245))
        draw = ImageDraw.Draw(made)
        draw.text((4, 8), line[: width // 16], (10 * i, 20, 60), font)
        found.append(np.asarray(made.rotate(180) if i % 2 and width < 300 else made))
    return _centred(found)


def heights() -> F32:
    """Return ten photographs as fields of heights: [10, 1, 128, 128], of mean 0 and variance 1."""
    found = []
    for name in PHOTOGRAPHS:
        field = np.asarray(photograph(name, "L").resize((128, 128), Image.Resampling.BICUBIC), np.float32)
        found.append(((field - field.mean()) / field.std())[None])
    return np.stack(found).astype(np.float32)


def _centred(pictures: Sequence[Array]) -> F32:
    """Return pictures [n, 3, height, width] from -1 to 1."""
    stacked = np.stack(pictures).astype(np.float32)
    centred = (stacked / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return np.ascontiguousarray(centred.transpose(0, 3, 1, 2))
