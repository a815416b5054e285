"""Keys made from a file or in pieces: the same bytes as at once, and nothing unfinished passes for a key."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import FormatError, InputError, MismatchError
from proofcompute.models.card import Weight
from proofcompute.models.file import ModelFile
from proofcompute.verifier import Key, keygen, write_key
from proofcompute.verifier.partial import PartialKey, partial_path
from protocol.unfinished_keys import SEED, WEIGHTS, Reader, Stopped, interrupted, make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key"


def test_a_model_file_gives_the_same_key_as_the_model_in_memory(tmp_path: Path) -> None:
    model = synthetic.model(precision="w16a16")
    model.save(tmp_path / "model")
    file = ModelFile.open(tmp_path / "model")
    assert file.card.model_id == model.model_id
    assert file.manifest == model.manifest
    key = keygen(file, synthetic.KERNELS, seed=SEED)
    assert key.encode() == keygen(model, synthetic.KERNELS, seed=SEED).encode()


@pytest.mark.parametrize("stop", WEIGHTS)
def test_an_interrupted_key_goes_on_and_is_the_same(path: Path, stop: str) -> None:
    """Whatever weight the process stopped at: nothing is made twice, and the key is that of one go."""
    interrupted(path, stop)
    assert not path.exists()
    assert partial_path(path).stat().st_mode & 0o777 == 0o600
    done = WEIGHTS.index(stop)
    rest = Reader()
    steps: list[int] = []
    key = write_key(rest, synthetic.KERNELS, path, seed=SEED, progress=steps.append)
    assert rest.asked == WEIGHTS[done:]
    assert sum(steps) == sum(s.rows * s.row_bytes for s in rest.card.program.weights)
    whole = keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()
    assert key.encode() == path.read_bytes() == whole
    assert path.stat().st_mode & 0o777 == 0o600
    assert not partial_path(path).exists()


def test_a_key_of_random_seed_keeps_it(path: Path) -> None:
    interrupted(path, seed=None)
    key = make(path, Reader(), None)
    again = keygen(synthetic.model(), synthetic.KERNELS, seed=key.columns.seed)
    assert again.encode() == path.read_bytes()


def test_a_file_cut_anywhere_goes_on_and_is_the_same(path: Path) -> None:
    """What a process that dies while it writes leaves behind."""
    whole = keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()
    data = interrupted(path, WEIGHTS[2])
    for size in [*range(150), *range(150, len(data), 97), len(data) - 1]:
        path.unlink(missing_ok=True)
        partial_path(path).write_bytes(data[:size])
        partial_path(path).chmod(0o600)
        assert make(path, Reader()).encode() == path.read_bytes() == whole


def test_a_file_interrupted_again_and_again(path: Path) -> None:
    for stop in WEIGHTS:
        interrupted(path, stop)
    assert make(path, Reader()).encode() == keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()


def test_an_unfinished_key_is_no_key(path: Path) -> None:
    data = interrupted(path, WEIGHTS[-1])
    for size in (len(data), len(data) // 2, 0):
        with pytest.raises(FormatError):
            Key.decode(data[:size])
    with pytest.raises(FormatError):
        Key.load(partial_path(path))


def test_a_finished_but_unwritten_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the last weight and the key: no weight is read again."""
    with monkeypatch.context() as m:
        m.setattr(Key, "save", _stop)
        with pytest.raises(Stopped):
            make(path, Reader())
    rest = Reader()
    make(path, rest)
    assert rest.asked == []
    assert path.read_bytes() == keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_seed_of_a_written_key_is_not_used_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """Stopped between writing the key and removing the partial file: the next key is another one."""
    with monkeypatch.context() as m:
        m.setattr(PartialKey, "discard", _stop)
        with pytest.raises(Stopped):
            make(path, Reader(), None)
    first = path.read_bytes()
    path.chmod(mode)
    rest = Reader()
    make(path, rest, None)
    assert rest.asked == WEIGHTS
    assert Key.decode(path.read_bytes()).columns.seed != Key.decode(first).columns.seed


def _stop(*_: object) -> None:
    raise Stopped


# -- what is refused -------------------------------------------------------------------------------------
def changed(data: bytes) -> Iterator[tuple[str, bytes]]:
    for at in (
        0,
        1,
        2,
        8,
        20,
        40,
        60,
        90,
        110,
        130,
        200,
        1000,
        len(data) // 2,
        len(data) - 40,
        len(data) - 1,
    ):
        yield f"bit of byte {at}", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    yield "bytes before", b"\x40" + data
    yield "a frame after", data + b"\x41\x00"
    yield "not a frame", b"\x00" * 200
    yield "another file", b"proofcompute"


def test_damage_never_becomes_a_key(path: Path) -> None:
    """Every damage is refused, or looks like a frame cut short, and what follows is made again."""
    whole = keygen(synthetic.model(), synthetic.KERNELS, seed=SEED).encode()
    good, refused = interrupted(path), 0
    for what, data in changed(good):
        path.unlink(missing_ok=True)
        partial_path(path).unlink(missing_ok=True)
        partial_path(path).touch(0o600)
        partial_path(path).write_bytes(data)
        error = ""
        try:
            make(path, Reader())
        except (FormatError, MismatchError) as e:
            refused, error = refused + 1, str(e)
        if error:
            assert str(partial_path(path)) in error, what
            assert "remove it" in error, what
            assert not path.exists()
        else:
            assert path.read_bytes() == whole, what
    assert refused >= 12


def test_frames_in_another_order_are_refused(path: Path) -> None:
    stream = io.BytesIO(interrupted(path))
    frames = []
    while (frame := read_frame(stream, limit=1 << 20, what="frame")) is not None:
        frames.append(frame)
    for order in ([0, 2, 1], [0, 1, 1], [1, 2, 3], [0, 2]):
        out = io.BytesIO()
        for i in order:
            write_frame(out, frames[i])
        partial_path(path).write_bytes(out.getvalue())
        with pytest.raises(FormatError, match="damaged"):
            make(path, Reader())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p: make(p, Reader(model=synthetic.model(1))), "another model"),
        (lambda p: make(p, Reader(model=synthetic.model(precision="w8a8"))), "another model"),
        (lambda p: make(p, Reader(), columns=3), "2 columns, not 3"),
        (lambda p: make(p, Reader(), bytes(32)), "another seed"),
    ],
)
def test_a_partial_key_of_something_else_is_not_taken_up(
    path: Path, call: Callable[[Path], Key], text: str
) -> None:
    before = interrupted(path)
    with pytest.raises(MismatchError, match=text):
        call(path)
    assert partial_path(path).read_bytes() == before
    assert not path.exists()


def test_a_weight_that_is_not_of_the_stated_type_is_refused(path: Path) -> None:
    """What is hashed is what is used: not numbers that become the model's when they are hashed."""

    class Wide(Reader):
        def weight(self, name: str) -> Weight:
            w: Any = super().weight(name)
            if not isinstance(w, Matrix):
                return cast(Weight, w.astype(np.float64) * (1 + 1e-9))
            scale: Any = w.scale.astype(np.float64) * (1 + 1e-9)
            return Matrix(w.q, scale, w.bias)

    with pytest.raises(FormatError, match="shape and type"):
        make(path, Wide())


def test_a_weight_of_another_model_is_refused_and_nothing_is_kept_of_it(path: Path) -> None:
    class Mixed(Reader):
        def weight(self, name: str) -> Weight:
            w = super().weight(name)
            if name != WEIGHTS[3] or not isinstance(w, Matrix):
                return w
            q = w.q.copy()
            q[0, 5, 3] ^= 1
            return Matrix(q, w.scale, w.bias)

    with pytest.raises(MismatchError, match=WEIGHTS[3]):
        make(path, Mixed())
    rest = Reader()
    make(path, rest)
    assert rest.asked == WEIGHTS[3:]


@pytest.mark.parametrize("columns", [0, 9])
def test_columns_that_do_not_exist(path: Path, columns: int) -> None:
    with pytest.raises(InputError, match="columns"):
        make(path, Reader(), columns=columns)
    assert list(path.parent.iterdir()) == []


def test_a_seed_of_another_length(path: Path) -> None:
    with pytest.raises(MismatchError, match="32 bytes"):
        make(path, Reader(), bytes(31))
