"""Mutated files of inputs: arrays, JSON and pictures are read or refused, and nothing else happens."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, PngImagePlugin

from fuzz.harness import attempt, drive
from fuzz.mutate import mutate_bytes
from proofcompute.arrays import Array
from proofcompute.cli.json_arrays import read_json_arrays
from proofcompute.cli.npy import read_npy
from proofcompute.cli.pictures import read_picture
from proofcompute.errors import InputError
from proofcompute.program.types import Spec

PIXELS = Spec("u8", (4, 6, 3))
PICTURE = np.random.default_rng(0).integers(0, 256, PIXELS.shape).astype(np.uint8)


def tried(name: str, make: Callable[[Random], bytes], path: Path, read: Callable[[], Array]) -> None:
    """What is read is an array of bytes of one row or several; what is refused is refused with words."""

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = attempt(read, InputError)
        if isinstance(found, InputError):
            assert str(found)
            return
        assert found.dtype == np.uint8
        assert found.shape[-3:] == PIXELS.shape
        assert found.ndim in (3, 4)

    drive(name, make, check)


def test_arrays(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, PICTURE)
    honest, path = stream.getvalue(), tmp_path / "x.npy"
    path.write_bytes(honest)
    assert np.array_equal(read_npy(path, PIXELS, "x"), PICTURE)
    tried(
        "inputs: array",
        lambda rng: mutate_bytes(rng, honest, [b"\x93NUMPY", b"(4, 6, 3)", b"'|u1'", b"'|O'", b"(10**9,)"]),
        path,
        lambda: read_npy(path, PIXELS, "x"),
    )


def test_json(tmp_path: Path) -> None:
    honest, path = json.dumps({"x": PICTURE.tolist()}).encode(), tmp_path / "x.json"
    path.write_bytes(honest)
    assert np.array_equal(read_json_arrays(path, {"x": PIXELS})["x"], PICTURE)
    tried(
        "inputs: JSON",
        lambda rng: mutate_bytes(rng, honest, [b"[" * 99, b"NaN", b"-1", b"256", b"1e9", b"true", b'"x":[]']),
        path,
        lambda: read_json_arrays(path, {"x": PIXELS})["x"],
    )


def repaired(data: bytes) -> bytes:
    """A PNG whose chunks have the right check sums, so that what is in them is looked at."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        body = data[at + 4 : at + 8 + size]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return bytes(out) + data[at:]


def test_pictures(tmp_path: Path) -> None:
    exif, texts = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    texts.add_text("a", "b" * 50, zip=True)
    texts.add_itxt("c", "d" * 50, zip=True)
    plain, turned = Image.fromarray(PICTURE), Image.fromarray(np.rot90(PICTURE).copy())
    files = []
    for picture, kind, options in (
        (plain, "PNG", {"pnginfo": texts, "icc_profile": b"x" * 200}),
        (plain, "JPEG", {"quality": 95, "progressive": True}),
        (turned, "JPEG", {"exif": exif.tobytes()}),
    ):
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        files.append(stream.getvalue())
    path = tmp_path / "x.png"
    for honest in files:
        path.write_bytes(honest)
        assert read_picture(path, PIXELS, "x").shape == PIXELS.shape

    def make(rng: Random) -> bytes:
        data = mutate_bytes(rng, rng.choice(files), [b"IHDR\0\0\xff\xff", b"acTL", b"tRNS\0\1\0\2\0\3"])
        return repaired(data) if rng.random() < 0.7 and data[:4] == b"\x89PNG" else data

    tried("inputs: picture", make, path, lambda: read_picture(path, PIXELS, "x", "crop"))
