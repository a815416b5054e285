"""The header scan against hostile files: a typed error or an exact reading, in bounded memory."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from importers.gguf_writer import ARRAY, BOOL, F64, I64, STRING, U8, U32, U64, GgufFile, Stored, Typed
from importers.tiny import tiny_file, write_tiny_gguf
from proofcompute.errors import FormatError, InputError, LimitError, StorageError, UnsupportedError
from proofcompute.importers import gguf_scan
from proofcompute.importers.gguf import open_gguf
from proofcompute.importers.gguf_scan import GgufHeader, scan, scan_stream
from proofcompute.limits import MIB

HUGE = 1 << 63


def read(data: bytes) -> GgufHeader:
    return scan_stream(io.BytesIO(data), len(data), "test.gguf")


def two(**first: Any) -> GgufFile:
    """Two F32 tensors, the first one altered."""
    a = Stored("a", (2, 8), bytes(range(64)))
    return GgufFile({"k": 1}, [dataclasses.replace(a, **first), Stored("b", (4,), bytes(16))])


def test_reads_every_kind_of_value() -> None:
    nested = Typed(ARRAY, [Typed(ARRAY, [1, 2], U8), Typed(ARRAY, [], STRING)], ARRAY)
    metadata = {
        "bool": True,
        "double": Typed(F64, 0.1),
        "single": 0.5,
        "negative": Typed(I64, -5),
        "big": Typed(U64, 2**64 - 1),
        "text": "Ġé🎉",
        "empty": "",
        "bools": Typed(ARRAY, [True, False], BOOL),
        "nested": nested,
    }
    header = read(GgufFile(metadata).build())
    assert header.version == 3
    assert dict(header.metadata) == {
        "bool": True,
        "double": 0.1,
        "single": 0.5,
        "negative": -5,
        "big": 2**64 - 1,
        "text": "Ġé🎉",
        "empty": "",
        "bools": (True, False),
        "nested": ((1, 2), ()),
    }
    assert not header.tensors


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 8, 32, 256])
def test_agrees_with_the_gguf_package_on_an_honest_file(tmp_path: Path, version: int, alignment: int) -> None:
    file = tiny_file(storage="Q8_0", layers=1)
    file.version, file.alignment = version, alignment
    assert isinstance(file.metadata, dict)
    file.metadata["general.alignment"] = alignment
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.build())
    header, oracle = scan(path), GGUFReader(path)
    assert tensors(header) == tensors_of_the_gguf_package(path)
    for key, value in header.metadata.items():
        contents = oracle.fields[key].contents()
        assert (tuple(contents) if isinstance(value, tuple) else contents) == value


HOSTILE: dict[str, tuple[Callable[[], bytes], type[InputError], str]] = {
    "empty": (lambda: b"", FormatError, "ends inside its header"),
    "other magic": (lambda: GgufFile(magic=b"GGML").build(), FormatError, "not a GGUF file"),
    "version 1": (lambda: GgufFile(version=1).build(), UnsupportedError, "version 1 "),
    "version 4": (lambda: GgufFile(version=4).build(), UnsupportedError, "version 4 "),
    "big-endian": (lambda: GgufFile(version=3 << 24).build(), UnsupportedError, "big-endian"),
    "tensors 2^63": (lambda: GgufFile(tensor_count=HUGE).build(), LimitError, f"{HUGE} tensors"),
    "tensors missing": (lambda: GgufFile(tensor_count=1000).build(), FormatError, "ends inside"),
    "keys 2^63": (lambda: GgufFile(key_count=HUGE).build(), LimitError, f"{HUGE} metadata entries"),
    "keys missing": (lambda: GgufFile(key_count=1000).build(), FormatError, "ends inside"),
    "key length 2^63": (
        lambda: GgufFile(key_count=1).build()[:24] + struct.pack("<Q", HUGE) + bytes(64),
        LimitError,
        "a metadata key of",
    ),
    "key not UTF-8": (lambda: GgufFile({b"\xff": 1}).build(), FormatError, "not valid UTF-8"),
    "key empty": (lambda: GgufFile({"": 1}).build(), FormatError, "key is empty"),
    "key twice": (lambda: GgufFile([("a", 1), ("a", 1)]).build(), FormatError, "'a' occurs twice"),
    "key long": (lambda: GgufFile({"k" * 300: 1}).build(), LimitError, "a metadata key of 300"),
    "text not UTF-8": (lambda: GgufFile({"a": b"\xc0\x80"}).build(), FormatError, "not valid UTF-8"),
    "text with a surrogate": (lambda: GgufFile({"a": b"\xed\xa0\x80"}).build(), FormatError, "UTF-8"),
    "bool 2": (lambda: GgufFile({"a": Typed(BOOL, 2)}).build(), FormatError, "neither 0 nor 1"),
    "unknown value type": (
        lambda: GgufFile({"a": Typed(U8, 0)}).build().replace(b"a" + bytes(4), b"a\x0d\0\0\0"),
        FormatError,
        "unknown value type 13",
    ),
    "unknown element type": (
        lambda: GgufFile({"a": Typed(ARRAY, [], 13)}).build() + bytes(64),
        FormatError,
        "unknown value type 13",
    ),
    "array 2^63": (
        lambda: GgufFile({"abc": []}).build().replace(b"\x08\0\0\0" + bytes(8), b"\x08\0\0\0" + b"\xff" * 8),
        LimitError,
        "array elements",
    ),
    "array longer than the file": (
        lambda: (
            GgufFile({"abc": []}).build().replace(b"\x08\0\0\0" + bytes(8), b"\x08\0\0\0\0\0\x10" + bytes(5))
        ),
        FormatError,
        "ends inside",
    ),
    "arrays nested": (lambda: GgufFile({"a": nest(5)}).build(), LimitError, "nests arrays"),
    "arrays nested 200 deep": (lambda: GgufFile({"a": nest(200)}).build(), LimitError, "nests arrays"),
    "alignment 0": (lambda: aligned(0), FormatError, "general.alignment is 0"),
    "alignment 24": (lambda: aligned(24), FormatError, "general.alignment is 24"),
    "alignment text": (lambda: aligned("32"), FormatError, "general.alignment is '32'"),
    "alignment bool": (lambda: aligned(True), FormatError, "general.alignment is True"),
    "alignment 2^31": (lambda: aligned(1 << 31, two().tensors[:1]), FormatError, "ends after the file's"),
    "tensor twice": (lambda: two(name="b").build(), FormatError, "'b' occurs twice"),
    "tensor name empty": (lambda: two(name="").build(), FormatError, "name is empty"),
    "tensor name not UTF-8": (lambda: two(name=b"\xff").build(), FormatError, "UTF-8"),
    "no axes": (lambda: two(shape=()).build(), FormatError, "0 axes"),
    "five axes": (lambda: two(shape=(1, 1, 1, 2, 8)).build(), FormatError, "5 axes"),
    "axes 2^32 - 1": (lambda: two(axes=2**32 - 1).build(), FormatError, "4294967295 axes"),
    "empty tensor": (lambda: two(shape=(0, 8)).build(), FormatError, "is empty"),
    "axis 2^63": (lambda: two(shape=(HUGE, 2)).build(), FormatError, "ends after the file's"),
    "product wraps to 0": (lambda: two(shape=(1 << 32, 1 << 32)).build(), FormatError, "ends after"),
    "unknown type": (lambda: two(type=99).build(), UnsupportedError, "unknown ggml type 99"),
    "removed type": (lambda: two(type=4).build(), UnsupportedError, "unknown ggml type 4"),
    "odd blocks": (lambda: two(type=8).build(), FormatError, "Q8_0 stores blocks of 32"),
    "misaligned": (lambda: two(offset=16).build(), FormatError, "not a multiple of 32"),
    "overlap by a byte": (lambda: two(shape=(65,), type=24).build(), FormatError, "'a' and 'b' overlap"),
    "one place": (lambda: two(offset=64, shape=(4,)).build(), FormatError, "overlap"),
    "outside": (lambda: two(offset=128).build(), FormatError, "ends after"),
    "offset 2^64 - 32": (lambda: two(offset=2**64 - 32).build(), FormatError, "ends after"),
}


def nest(depth: int) -> Typed:
    value = Typed(ARRAY, [7], U32)
    for _ in range(depth - 1):
        value = Typed(ARRAY, [value], ARRAY)
    return value


def aligned(value: Any, tensors: list[Stored] | None = None) -> bytes:
    return GgufFile({"general.alignment": value}, tensors or two().tensors).build()


@pytest.mark.parametrize("name", HOSTILE)
def test_refuses(name: str) -> None:
    make, error, words = HOSTILE[name]
    with pytest.raises(error, match=words) as caught:
        read(make())
    assert type(caught.value) is error


def test_accepts_what_the_hostile_files_were_made_from() -> None:
    header = read(two().build())
    assert [(t.name, t.shape, t.nbytes) for t in header.tensors.values()] == [
        ("a", (2, 8), 64),
        ("b", (4,), 16),
    ]
    assert read(GgufFile({"a": nest(4)}).build()).metadata["a"] == ((((7,),),),)


def test_refuses_every_truncation() -> None:
    data = two().build()
    last = read(data).tensors["b"]
    for n in range(last.offset + last.nbytes):
        with pytest.raises(FormatError):
            read(data[:n])


def test_refuses_a_file_that_is_shorter_than_its_size() -> None:
    data = two().build()
    with pytest.raises(FormatError, match="ends inside its header"):
        scan_stream(io.BytesIO(data[:40]), len(data), "test.gguf")


def test_limits_hold_in_a_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_scan, "MAX_HEADER", 4096)
    with pytest.raises(LimitError, match="header is larger than 4096"):
        read(GgufFile({"a": "x" * 5000}).build())
    monkeypatch.setattr(gguf_scan, "MAX_ELEMENTS", 10)
    with pytest.raises(LimitError, match="4 array elements, the limit is 3"):
        read(GgufFile({"a": [1] * 7, "b": [2] * 4}).build())
    assert read(GgufFile({"a": [1] * 7, "b": [2] * 3}).build()).metadata["b"] == (2, 2, 2)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        scan(tmp_path / "none.gguf")
    with pytest.raises(StorageError):
        scan(tmp_path)


WORST = {
    "int32": Typed(ARRAY, [1000 + i for i in range(50_000)], U32),
    "strings": Typed(ARRAY, ["ab"] * 20_000, STRING),
    "arrays": Typed(ARRAY, [Typed(ARRAY, [], U8)] * 20_000, ARRAY),
    "wide text": "x" * 100_000 + "🎉",
    "int8": Typed(ARRAY, [200] * 200_000, U8),
}


@pytest.mark.parametrize("name", WORST)
def test_memory_is_linear_in_the_header(name: str) -> None:
    data = GgufFile({"a": WORST[name]}).build()
    assert peak(lambda: read(data)) < 64 * len(data) + MIB


def peak(f: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NUMBERS = [0, 1, 7, 31, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def mutate(rng: random.Random, data: bytes, header: int) -> bytes:
    """One or a few changes, mostly in the header."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(min(header, len(out)) if rng.random() < 0.9 else len(out))
        match rng.randrange(6):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.randrange(256)
            case 2:
                size = rng.choice((4, 8))
                out[at : at + size] = (rng.choice(NUMBERS) % (1 << (8 * size))).to_bytes(size, "little")
            case 3:
                del out[at : at + rng.randrange(1, 20)]
            case 4:
                end = at + rng.randrange(1, 40)
                out[at:at] = out[at:end]
            case _:
                del out[rng.randrange(len(out) // 2, len(out)) :]
        if len(out) < 8:
            break
    return bytes(out)


def test_mutants_are_read_exactly_or_refused(tmp_path: Path) -> None:
    """Each mutant gives a typed error or what another reader finds in it, each time; memory stays bounded."""
    file = tiny_file(storage="Q8_0", layers=1)
    data, header = file.build(), len(file.header())
    honest, path = read(data), tmp_path / "mutant.gguf"
    rng = random.Random(20250207)
    refused = read_twice = 0
    for _ in range(int(os.environ.get("PROOFCOMPUTE_MUTANTS", "500"))):
        mutant = mutate(rng, data, header)
        path.write_bytes(mutant)
        assert peak(lambda: attempt(path)) < 64 * len(mutant) + 8 * MIB, "memory out of proportion"
        first, second = attempt(path), attempt(path)
        if isinstance(first, InputError):
            refused += 1
            assert type(first) is type(second)
        else:
            assert first == second
        # what the scan lets through has been checked, so the other reader may have it
        if isinstance(scanned := attempt_scan(path), GgufHeader):
            assert tensors(scanned) == tensors_of_the_gguf_package(path)
            read_twice += 1
    assert refused > 0
    assert read_twice > 0
    assert read(data) == honest


def attempt_scan(path: Path) -> object:
    try:
        return scan(path)
    except InputError as e:
        return e


def tensors(header: GgufHeader) -> list[tuple[object, ...]]:
    return [(t.name, t.shape, t.type, t.offset, t.nbytes) for t in header.tensors.values()]


def tensors_of_the_gguf_package(path: Path) -> list[tuple[object, ...]]:
    return [
        (t.name, tuple(int(n) for n in t.shape)[::-1], t.tensor_type.name, t.data_offset, t.n_bytes)
        for t in GGUFReader(path).tensors
    ]


def attempt(path: Path) -> object:
    """All that the header and the description of the network say, or the error."""
    try:
        header, checkpoint = scan(path), open_gguf(path)
    except InputError as e:
        return e
    # repr, because a NaN is not equal to itself
    described = (checkpoint.arch, checkpoint.vocabulary, checkpoint.digest, checkpoint.chat_template)
    return repr(header), described


def test_a_valid_file_is_accepted_by_the_mutation_test(tmp_path: Path) -> None:
    assert not isinstance(attempt(write_tiny_gguf(tmp_path / "tiny.gguf")), InputError)
