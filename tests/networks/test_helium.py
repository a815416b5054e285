"""Helium: files of records that protobuf's own implementation reads, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import KINDS, saved, work
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.networks import helium
from proofcompute.networks.helium import PROTO, check, file_name, records, write
from proofcompute.networks.work import Work
from proofcompute.protocol.messages import Outcome

BYTES = ("node", "auditor", "receipt", "request", "model", "evidence")
NUMBERS = ("result", "step", "rows", "timestamp")


def message() -> Any:
    """The class of the message, built by protobuf from the lines of our own definition."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    pool = pytest.importorskip("google.protobuf.descriptor_pool").DescriptorPool()
    factory = pytest.importorskip("google.protobuf.message_factory")
    file = descriptor_pb2.FileDescriptorProto(name="work.proto", package="proofcompute", syntax="proto3")
    made = file.message_type.add(name="verified_work_v1")
    outcomes = made.enum_type.add(name="outcome")
    kinds = {"bytes": 12, "uint32": 13, "uint64": 4}
    for line in PROTO.splitlines():
        words = line.split("//")[0].strip().rstrip(";").split()
        if len(words) == 3 and words[1] == "=" and words[2].isdigit():
            outcomes.value.add(name=words[0], number=int(words[2]))
        elif len(words) == 4 and words[2] == "=":
            field = made.field.add(name=words[1], number=int(words[3]), label=1)
            if words[0] == "outcome":
                field.type, field.type_name = 14, ".proofcompute.verified_work_v1.outcome"
            else:
                field.type = kinds[words[0]]
    assert len(made.field) == 10
    assert len(outcomes.value) == 5
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName("proofcompute.verified_work_v1"))


@pytest.fixture
def works(tmp_path: Path) -> list[Work]:
    found = [work(tmp_path, kind) for kind in KINDS]
    found.append(replace(found[0], bundle_sha256=bytes(32), outcome=Outcome("refused"), rows=1 << 40))
    return found


def test_protobuf_reads_what_is_written(works: list[Work]) -> None:
    kind = message()
    made = write(works)
    assert made.interface == "ours"
    check(made.data, works, file_name(works))
    read = [kind.FromString(record) for record in records(made.data)]
    by_evidence = {each.evidence: each for each in read}
    assert len(by_evidence) == 3
    for each in works:
        said = by_evidence[each.bundle_sha256]
        assert (said.node, said.auditor) == (b"\x01" + each.node, b"\x01" + each.auditor)
        assert (said.receipt, said.request, said.model) == (
            each.receipt_digest,
            each.request_digest,
            each.model_id,
        )
        assert kind.outcome.Name(said.result) == each.outcome.kind
        assert (said.step, said.rows, said.timestamp) == (each.outcome.step, each.rows, each.made)
    # What protobuf writes has the same bytes, and the order of the bundles does not matter.
    assert [each.SerializeToString(deterministic=True) for each in read] == list(records(made.data))
    assert write(works[::-1]).data == made.data


def framed(parts: list[bytes]) -> bytes:
    return gzip.compress(b"".join(len(part).to_bytes(4) + part for part in parts), mtime=0)


CHANGES: dict[str, Callable[[Any], object]] = {
    "another node": lambda m: setattr(m, "node", bytes(33)),
    "another auditor": lambda m: setattr(m, "auditor", bytes(33)),
    "another receipt": lambda m: setattr(m, "receipt", bytes(32)),
    "another model": lambda m: m.ClearField("model"),
    "another bundle": lambda m: setattr(m, "evidence", b"e" * 32),
    "another outcome": lambda m: setattr(m, "result", 4 if m.result != 4 else 1),
    "another step": lambda m: setattr(m, "step", 3),
    "more rows": lambda m: setattr(m, "rows", m.rows + 1),
    "another time": lambda m: setattr(m, "timestamp", 5),
}


@pytest.mark.parametrize("name", CHANGES)
def test_records_that_say_something_else_are_rejected(works: list[Work], name: str) -> None:
    kind = message()
    read = [kind.FromString(record) for record in records(write(works).data)]
    CHANGES[name](read[1])
    with pytest.raises(EnvelopeError, match="record 1"):
        check(framed([each.SerializeToString() for each in read]), works)


TORN: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda r: r[:-1],
    "cut off inside a digest": lambda r: r[:20],
    "field 0": lambda r: b"\x00\x01" + r,
    "a type of field that there is not": lambda r: r + b"\x0f\x01",
    "a length beyond the end": lambda r: r[:1] + b"\x7f\xff" + r[2:],
    "a number without an end": lambda r: r + b"\x58" + b"\xff" * 10,
    "a group without an end": lambda r: r + b"\x5b",
}


@pytest.mark.parametrize("name", TORN)
def test_records_that_are_torn_are_refused_by_both(works: list[Work], name: str) -> None:
    first, *rest = records(write(works).data)
    decoding = pytest.importorskip("google.protobuf.message")
    with pytest.raises(decoding.DecodeError):
        message().FromString(TORN[name](first))
    with pytest.raises(EnvelopeError, match="record 0"):
        check(framed([TORN[name](first), *rest]), works)


def test_files_that_are_none(works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(works).data
    parts = list(records(data))
    for raw, because in [
        (b"", "cut off"),
        (b"no gzip at all", "no gzip"),
        (data[:-1], "cut off"),
        (data + b"x", "after its end"),
        (data + data, "after its end"),
        (framed(parts[:2]), "2 records"),
        (framed([*parts, parts[0]]), "more records"),
        # What follows one record too many is not read: records of no bytes would be twelve million.
        (gzip.compress(bytes(4 * (len(parts) + 1)) + b"cut"), "more records"),
        (framed(parts[::-1]), "record 0"),
        (framed([parts[0] + b"\x58\x01", *parts[1:]]), "record 0"),
        (gzip.compress(b"\0\0\0"), "record is cut off"),
        (gzip.compress(b"\0\0\0\5abc"), "record is cut off"),
        (gzip.compress(b"\xff\xff\xff\xffabc"), "record is cut off"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            check(raw, works)
    for name in (
        "other.1.gz",
        file_name(works)[:-3],
        f"../{file_name(works)}",
        "proofcompute_verified_work.1.gz",
    ):
        with pytest.raises(EnvelopeError, match="named"):
            check(data, works, name)
    monkeypatch.setattr(helium, "MAX_FILE", 1000)
    with pytest.raises(EnvelopeError, match="unpacks to more"):
        list(records(gzip.compress(bytes(100_000))))
    monkeypatch.setattr(helium, "MAX_FILE", 10)
    with pytest.raises(InputError, match="at most 10"):
        write(works)
    monkeypatch.setattr(helium, "MAX_PACKED", 10)
    with pytest.raises(EnvelopeError, match="at most 10"):
        list(records(data))
    with pytest.raises(InputError, match="one or more"):
        write([])
    with pytest.raises(InputError, match="each once"):
        write([works[0], works[0]])
    with pytest.raises(InputError, match="one record"):
        file_name([])


MUTANTS: dict[str, tuple[Edit, Callable[[list[Work]], object]]] = {
    "what a record says": (
        Edit("networks.helium", "        if said != wanted:", "        if False:"),
        lambda w: check(write([*w[:2], replace(w[2], rows=7)]).data, w),
    ),
    "the end": (
        Edit("networks.helium", "    if not unpacker.eof or unpacker.unused_data:", "    if False:"),
        lambda w: check(write(w).data + b"x", w),
    ),
    "the name": (
        Edit("networks.helium", "    if name is not None and (", "    if False and ("),
        lambda w: check(write(w).data, w, "other.1.gz"),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    works: list[Work], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, act = MUTANTS[name]
    with pytest.raises(EnvelopeError):
        act(works)
    with monkeypatch.context() as patch:
        apply(patch, [edit])
        act(works)


def test_the_commands(tmp_path: Path) -> None:
    good, bad = saved(tmp_path, "accepted"), saved(tmp_path, "contradicted")
    network, folder = ("network", "helium"), tmp_path / "records"
    said = done(*network, "records", good, bad, "-o", folder)
    assert said["interface"] == "ours"
    file = Path(said["file"])
    assert file.name.startswith("proofcompute_verified_work.")
    assert done(*network, "verify", file, bad, good)["records"] == 2
    assert call(*network, "verify", file, good).status == 1
    assert "each once" in refused(*network, "records", good, good, "-o", folder, "--force")
    assert call(*network, "proto").out == PROTO
