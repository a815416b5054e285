"""Mutated files: model files, run directories, interrupted runs."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

import pytest

import synthetic
from fuzz import honest
from fuzz.harness import attempt, drive
from fuzz.mutate import BOUNDARIES, mutant, mutate_bytes
from proofcompute.errors import FormatError, InputError, MismatchError, ProofcomputeError
from proofcompute.limits import KIB
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt
from proofcompute.prover import RunDirectory, make_receipt

DTYPES = (
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "I16", "U16", "F16", "BF16", "I32",
    "U32", "F32", "C64", "F64", "I64", "U64", "", "X",
)  # fmt: skip


# -- model files -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model"
    synthetic.model().save(path)
    return path.read_bytes()


def taken_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def put_together(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def mutated_model(rng: Random, data: bytes) -> bytes:
    header, body = taken_apart(data)
    kind = rng.randrange(8)
    if kind == 0:
        return mutate_bytes(rng, data, [])
    if kind == 1:
        size = rng.choice([n for n in BOUNDARIES if 0 <= n < 1 << 64])
        return struct.pack("<Q", size) + data[8:]
    if kind == 2:
        return put_together(mutate_bytes(rng, json.dumps(header).encode(), []), body)
    if kind == 3:  # the CBOR inside, with the offsets behind it moved
        name = rng.choice(("program", "tokenizer"))
        return with_tensor(header, body, name, mutant(rng, [slice_of(header, body, name)]))
    if kind == 4:
        name = rng.choice(("program", "tokenizer", "template", "roots"))
        return with_tensor(header, body, name, mutate_bytes(rng, slice_of(header, body, name), []))
    if kind == 5:
        return put_together(header, mutate_bytes(rng, body, []))
    change_header(rng, header)
    return put_together(header, body)


def slice_of(header: dict[str, Any], body: bytes, name: str) -> bytes:
    a, b = header[name]["data_offsets"]
    return body[a:b]


def with_tensor(header: dict[str, Any], body: bytes, name: str, data: bytes) -> bytes:
    a, b = header[name]["data_offsets"]
    moved = len(data) - (b - a)
    for key, entry in header.items():
        if key != "__metadata__" and entry["data_offsets"][0] >= b:
            entry["data_offsets"] = [offset + moved for offset in entry["data_offsets"]]
    header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [a, a + len(data)]}
    return put_together(header, body[:a] + data + body[b:])


def change_header(rng: Random, header: dict[str, Any]) -> None:
    name = rng.choice(list(header))
    texts = ("{}", "[]", '{"a": 1}', '{"a": "\\ud800"}', "[" * 9_000, "1" * 5_000, "NaN", '"', "")
    odd: Any = rng.choice((None, True, 0, -1, 1.5, "", "x", [], {}, [[]], {"a": []}, 1 << 70))
    if name == "__metadata__" or rng.random() < 0.1:
        text = rng.choice(texts)
        header["__metadata__"] = rng.choice((odd, {"proofcompute": odd}, {"proofcompute": text}, {"a": text}))
        return
    entry, kind = header[name], rng.randrange(8)
    if kind == 0:
        del header[name]
    elif kind == 1:
        header[name + rng.choice("x/\0é")] = header.pop(name)
    elif kind == 2:
        entry["dtype"] = rng.choice(DTYPES)
    elif kind == 3:
        shape = entry["shape"]
        entry["shape"] = rng.choice(([], [0], [*shape, 1], [1, *shape], shape[::-1]))
    elif kind == 4 and entry["shape"]:
        entry["shape"][rng.randrange(len(entry["shape"]))] = rng.choice(BOUNDARIES)
    elif kind == 5:
        entry["data_offsets"][rng.randrange(2)] = rng.choice((*BOUNDARIES, 8, 100))
    elif kind == 6:
        other = rng.choice([k for k in header if k != "__metadata__"])
        header[name], header[other] = header[other], header[name]
    else:
        entry[rng.choice(("dtype", "shape", "data_offsets", "more"))] = odd


def test_model_files(container: bytes, tmp_path: Path) -> None:
    path, again = tmp_path / "mutant", tmp_path / "again"
    rows = synthetic.KERNELS.hash_rows

    def check(data: bytes) -> None:
        path.unlink(missing_ok=True)  # never rewritten while it is mapped
        path.write_bytes(data)
        model = attempt(lambda: Model.load(path), InputError)
        if isinstance(model, InputError):
            assert str(model)
            return
        model.save(again)
        copy = Model.load(again)
        assert copy.model_id == model.model_id
        assert copy.manifest == model.manifest
        try:
            model.check_roots(rows)
        except MismatchError:
            return
        genuine = synthetic.model()  # the weights are those of the roots, and so of the model that was saved
        if model.card.roots == genuine.card.roots:
            for name in genuine.weights:
                assert repr(model.weights[name]) == repr(genuine.weights[name])

    check(container)
    assert put_together(*taken_apart(container))[8:].endswith(taken_apart(container)[1])
    drive("model file", lambda rng: mutated_model(rng, container), check)


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8), bytes(100), b"\xff" * 100])
def test_files_that_are_no_containers(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="not a model file"):
        Model.load(path)


def test_a_model_that_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent" / "too"):
        with pytest.raises(InputError):
            Model.load(path)


# -- run directories -------------------------------------------------------------------------------------
FILES = ("request", "receipt", "trace", "tokens")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The directory of a finished run."""
    session, path = honest.session(), tmp_path / "run"
    directory = RunDirectory(path)
    assert directory.begin(session.request) == []
    directory.log(session)
    directory.finish(session, honest.run().receipt)
    return path


def test_run_directories(finished: Path) -> None:
    genuine = {name: (finished / name).read_bytes() for name in FILES}
    directory, model = RunDirectory(finished), synthetic.model()

    def make(rng: Random) -> tuple[str, bytes]:
        name = rng.choice(FILES[:3])
        if name == "trace":
            return name, mutate_bytes(rng, genuine[name], [])
        others = honest.requests() if name == "request" else honest.receipts()
        return name, mutant(rng, [genuine[name], *others])

    def check(made: tuple[str, bytes]) -> None:
        name, data = made
        for other, content in {**genuine, name: data}.items():
            (finished / other).unlink(missing_ok=True)  # never rewritten while it is mapped
            (finished / other).write_bytes(content)
        found = attempt(lambda: directory.stored(model, synthetic.KERNELS), InputError)
        if isinstance(found, InputError):
            assert str(found)
            return
        stored, receipt = found
        assert receipt.encode() == (finished / "receipt").read_bytes()
        assert directory.request().encode() == (finished / "request").read_bytes()
        assert b"".join(g.tobytes() for g in stored.groups) == genuine["trace"]
        assert receipt.rows == stored.statement.rows
        assert receipt.request_digest == directory.request().digest

    check(("request", genuine["request"]))
    drive("run directory", make, check)


@pytest.mark.parametrize("data", [b"", b"\0", b"/model\0", bytes(17 * KIB), b"\xff\xfe", b"/nowhere/\xff"])
def test_damaged_paths_of_model_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model").write_bytes(data)
    with pytest.raises(InputError):
        Model.load(RunDirectory(tmp_path).model_path())


def test_a_receipt_with_other_outputs_is_refused(finished: Path) -> None:
    receipt = honest.run().receipt
    for outputs in ((), (("x.0", bytes(128)),), (("nothing", b""),), (*receipt.outputs, *receipt.outputs)):
        (finished / "receipt").write_bytes(dataclasses.replace(receipt, outputs=outputs).encode())
        with pytest.raises(InputError):
            RunDirectory(finished).stored(synthetic.model(), synthetic.KERNELS)


def test_a_damaged_trace_is_not_opened(finished: Path) -> None:
    """Whoever signs an opening of it gives proof against its own node."""
    trace = bytearray((finished / "trace").read_bytes())
    trace[len(trace) // 2] ^= 1
    (finished / "trace").unlink()
    (finished / "trace").write_bytes(trace)
    with pytest.raises(FormatError, match="trace is damaged"):
        RunDirectory(finished).stored(synthetic.model(), synthetic.KERNELS)


def test_interrupted_runs(tmp_path: Path) -> None:
    """Whatever the kept tokens are: a typed error, or the receipt that an undisturbed run gives."""
    session, path = honest.session(), tmp_path / "run"
    right = b"".join(t.to_bytes(4, "little") for t in session.answer)
    wanted = honest.run().data

    def make(rng: Random) -> bytes:
        kept = right[: rng.randrange(len(right) + 1)]
        return kept if rng.random() < 0.2 else mutate_bytes(rng, kept, [right, bytes(40), b"\xff" * 40])

    def check(data: bytes) -> None:
        path.mkdir(exist_ok=True)
        (path / "tokens").write_bytes(data)
        directory = RunDirectory(path)
        resumed = attempt(
            lambda: honest.fresh_session(session.request, directory.begin(session.request)), ProofcomputeError
        )
        directory.close()
        if isinstance(resumed, ProofcomputeError):
            assert str(resumed)
            return
        assert make_receipt(synthetic.model(), resumed, synthetic.KERNELS, synthetic.NODE).encode() == wanted

    for kept in range(len(right) + 1):
        check(right[:kept])
    drive("interrupted tokens", make, check)


def test_kept_tokens_beyond_the_end_are_refused() -> None:
    """More than the request allows, or tokens after one that completes a stop string."""
    session = honest.session()
    at, byte = next((i, t) for i, t in enumerate(session.answer) if t < 128)
    generation = dataclasses.replace(honest.generation(), stops=(chr(byte),))
    stopping = dataclasses.replace(session.request, generation=generation)
    assert honest.fresh_session(stopping, []).answer == session.answer[: at + 1]
    for request, kept in (
        (session.request, [*session.answer, session.answer[-1]]),
        (session.request, [*session.answer, *[0] * 100]),
        (stopping, session.answer[: at + 2]),
    ):
        with pytest.raises(MismatchError, match="interrupted run"):
            honest.fresh_session(request, list(kept))


def test_a_receipt_of_another_request_is_refused(finished: Path) -> None:
    other = honest.other_run().receipt
    (finished / "receipt").write_bytes(other.encode())
    with pytest.raises(InputError):
        RunDirectory(finished).stored(synthetic.model(), synthetic.KERNELS)
    assert Receipt.decode((finished / "receipt").read_bytes()) == other
