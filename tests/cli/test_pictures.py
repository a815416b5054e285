"""Pictures as inputs: pixels that a model takes, and files that are refused before they are decoded."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.driver import done, refused
from cli.networks import pixel_model, typed_model
from cuda_rig import ROOT
from proofcompute.arrays import U8
from proofcompute.protocol.messages import Request

SHAPES = {"colour": (4, 6, 3), "grey": (4, 6), "plane": (4, 6, 1), "opaque": (4, 6, 4), "odd": (4, 6, 2)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cards of models that take pictures of six by four pixels."""
    home = tmp_path_factory.mktemp("pictures")
    for name, shape in SHAPES.items():
        pixel_model(shape).card.save(home / name)
    typed_model().card.save(home / "typed")
    return home


def pixels(*shape: int) -> U8:
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


RGB = pixels(4, 6, 3)
GREY = pixels(4, 6)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def asked(card: Path, folder: Path, *files: bytes, suffix: str = "png", options: tuple[str, ...] = ()) -> U8:
    """The rows of a request for these pictures."""
    words: list[object] = []
    for i, data in enumerate(files):
        path = folder / f"{i}.{suffix}"
        path.write_bytes(data)
        words += ["--input", path]
    done("request", card, *words, *options, "-o", folder / "out", "--force")
    ((_, rows),) = Request.decode((folder / "out").read_bytes()).inputs
    return np.frombuffer(rows, np.uint8).reshape(len(files), *SHAPES[card.name])


# -- what is read ------------------------------------------------------------------------------------------
def test_colours_stay_what_they_are(home: Path, tmp_path: Path) -> None:
    rgb, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    black = Image.fromarray(GREY > 127)
    palette = Image.fromarray(RGB % 4 * 60).quantize(64, dither=Image.Dither.NONE)
    alpha = Image.fromarray(pixels(4, 6, 4))
    three = np.repeat(GREY[..., np.newaxis], 3, 2)
    two = np.where(GREY > 127, np.uint8(255), np.uint8(0))
    colour, plain, opaque = home / "colour", home / "grey", home / "opaque"
    assert np.array_equal(asked(colour, tmp_path, encoded(rgb))[0], RGB)
    assert np.array_equal(asked(colour, tmp_path, encoded(rgb), encoded(grey)), np.stack([RGB, three]))
    found = asked(colour, tmp_path, encoded(palette))[0]
    assert np.array_equal(found, np.asarray(palette.convert("RGB")))
    assert np.array_equal(asked(plain, tmp_path, encoded(grey))[0], GREY)
    assert np.array_equal(asked(plain, tmp_path, encoded(black))[0], two)
    assert np.array_equal(asked(home / "plane", tmp_path, encoded(grey))[0, ..., 0], GREY)
    assert np.array_equal(asked(opaque, tmp_path, encoded(alpha))[0], np.asarray(alpha))
    full = np.concatenate([RGB, np.full((4, 6, 1), 255, np.uint8)], 2)
    assert np.array_equal(asked(opaque, tmp_path, encoded(rgb))[0], full)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG"])
def test_photographs(home: Path, tmp_path: Path, suffix: str) -> None:
    data = encoded(Image.fromarray(RGB), "JPEG", quality=95)
    right = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(asked(home / "colour", tmp_path, data, suffix=suffix)[0], right)


def test_photographs_are_turned_upright(home: Path, tmp_path: Path) -> None:
    """A camera that was held sideways stores 4 x 6 pixels and says how to turn them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(np.rot90(RGB).copy()), "JPEG", quality=95, exif=exif.tobytes())
    right = np.rot90(np.asarray(Image.open(io.BytesIO(data))), -1)
    assert np.array_equal(asked(home / "colour", tmp_path, data, suffix="jpg")[0], right)


def test_pictures_of_other_sizes_are_scaled_if_wanted(home: Path, tmp_path: Path) -> None:
    picture = Image.fromarray(pixels(30, 20, 3))
    data = encoded(picture)
    found = asked(home / "colour", tmp_path, data, options=("--resize", "stretch"))[0]
    assert np.array_equal(found, np.asarray(picture.resize((6, 4), Image.Resampling.BILINEAR)))
    middle = picture.resize((6, 4), Image.Resampling.BILINEAR, box=(0, 25 / 3, 20, 65 / 3))
    found = asked(home / "colour", tmp_path, data, options=("--resize", "crop"))[0]
    assert np.array_equal(found, np.asarray(middle))
    same = encoded(Image.fromarray(RGB))
    assert np.array_equal(asked(home / "colour", tmp_path, same, options=("--resize", "crop"))[0], RGB)


def test_a_picture_among_other_inputs(home: Path, tmp_path: Path) -> None:
    (tmp_path / "rest.json").write_text(
        '{"x": [[[1, 2, 3], [4, 5, 6]]], "n": [1, 2, 3, 4], "big": [7], "flag": [true, false]}'
    )
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RGB)))
    words = ("--input", tmp_path / "rest.json", "--input", f"image={tmp_path / 'a.png'}")
    made = done("request", home / "typed", *words, "-o", tmp_path / "out")
    assert made["rows"] == 1
    assert dict(Request.decode((tmp_path / "out").read_bytes()).inputs)["image"] == RGB.tobytes()
    again = ("--input", f"image={tmp_path / 'a.png'}")
    said = refused("request", home / "typed", *words, *again, "-o", tmp_path / "two")
    assert "different numbers of rows" in said
    np.save(tmp_path / "image.npy", RGB)
    twice = ("--input", f"image={tmp_path / 'image.npy'}")
    assert "given twice" in refused("request", home / "typed", *words, *twice, "-o", tmp_path / "two")


# -- what is refused -----------------------------------------------------------------------------------------
def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *before: bytes) -> bytes:
    """A PNG of so many RGB pixels with any compressed data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def animated() -> bytes:
    frames = [Image.fromarray(pixels(4, 6, 3)), Image.fromarray(255 - pixels(4, 6, 3))]
    return encoded(frames[0], save_all=True, append_images=frames[1:])


def cut_off_turn() -> bytes:
    """A photograph whose note of how to turn it says more entries than there are."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(exif.tobytes())
    at = data.index(b"\x12\x01") if data[6:8] == b"II" else data.index(b"\x01\x12")
    data[at - 2 : at] = b"\x05\0" if data[6:8] == b"II" else b"\0\x05"
    return encoded(Image.fromarray(RGB), "JPEG", exif=bytes(data))


ZEROS = zlib.compress(bytes(4 * 19))
NOISE = encoded(Image.fromarray(RGB))
BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("colour", lambda: b"", "neither a PNG nor a JPEG"),
    "a text": ("colour", lambda: b"hello", "neither a PNG nor a JPEG"),
    "a GIF": ("colour", lambda: encoded(Image.fromarray(GREY), "GIF"), "neither a PNG nor a JPEG"),
    "cut off": ("colour", lambda: NOISE[:-40], "damaged"),
    "cut off in its head": ("colour", lambda: NOISE[:20], "damaged"),
    "a damaged chunk": ("colour", lambda: NOISE[:-30] + bytes(30), "damaged"),
    "another size": ("colour", lambda: encoded(Image.fromarray(pixels(6, 4, 3))), "4 x 6 pixels, where the"),
    "a bomb": ("colour", lambda: png(60000, 60000, ZEROS), "3600000000 pixels"),
    "a smaller bomb": ("colour", lambda: png(9000, 9000, ZEROS), "9000 x 9000 pixels, where the"),
    "a bomb of text": (
        "colour",
        lambda: png(6, 4, ZEROS, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 25), 9))),
        "damaged",
    ),
    "a bomb of colour profiles": (
        "colour",
        lambda: png(6, 4, ZEROS, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 27), 9))),
        "damaged",
    ),
    "transparent": ("colour", lambda: encoded(Image.fromarray(pixels(4, 6, 4))), "mode RGBA"),
    "a transparent colour": (
        "colour",
        lambda: encoded(Image.fromarray(RGB), transparency=(1, 2, 3)),
        "transparent",
    ),
    "colours for grey": ("grey", lambda: NOISE, "mode RGB"),
    "sixteen bits": ("grey", lambda: encoded(Image.fromarray(pixels(4, 6).astype(np.uint16))), "mode I;16"),
    "animated": ("colour", animated, "animated"),
    "a turn that is cut off": ("colour", cut_off_turn, "damaged"),
    "for two channels": ("odd", lambda: NOISE, "no pixels"),
    "printers' colours": (
        "colour",
        lambda: encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
        "mode CMYK",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures(home: Path, tmp_path: Path, name: str) -> None:
    card, make, said = BAD[name]
    path = tmp_path / "bad.png"
    path.write_bytes(make())
    before = path.read_bytes()
    error = refused("request", home / card, "--input", path, "-o", tmp_path / "out")
    assert said in error
    assert os.listdir(tmp_path) == ["bad.png"]
    assert path.read_bytes() == before


def test_large_pictures_are_not_scaled(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(png(9000, 9000, ZEROS))
    words = ("request", home / "colour", "--input", path, "-o", tmp_path / "out", "--resize")
    assert "81000000 pixels, more than" in refused(*words, "crop")
    assert "crop or stretch" in refused(*words, "shrink")


def test_a_model_that_takes_no_pixels_says_so(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(NOISE)
    said = refused("request", home / "typed", "--input", f"x={path}", "-o", tmp_path / "out")
    assert "float32 [2, 3] and no pixels" in said
    assert "ProgramBuilder.pixels" in said


def test_what_decodes_pictures_is_an_extra(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(NOISE)
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from proofcompute.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ("request", home / "colour", "--input", tmp_path / "a.png", "-o", tmp_path / "out")
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "pip install 'proofcompute[images]'" in result.stderr
    assert not (tmp_path / "out").exists()
