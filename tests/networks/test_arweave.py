"""Arweave: data items and bundles that arbundles accepts, and what both refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import AUDITOR, judge_key, saved, work
from networks.judging import judged
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.networks.arweave import items as module
from proofcompute.networks.arweave.files import check_evidence, tags_of
from proofcompute.networks.arweave.items import Item, bundle, deep_hash, sign, unbundle
from proofcompute.networks.arweave.tags import decode, encode

OWNER = NodeIdentity(bytes(range(40, 72)))
ITEM = sign(b"some data", (("Content-Type", "text/plain"), ("näme", "välue" * 30)), OWNER, b"a" * 32)
BARE = sign(b"", (), OWNER)
MANY = sign(b"\0" * 1000, tuple((f"n{i}", f"v{i}") for i in range(128)), OWNER)
ITEMS = (ITEM, BARE, MANY)


def test_their_code_accepts_and_reads_ours() -> None:
    asked: list[dict[str, object]] = [{"item": each.encode().hex()} for each in ITEMS]
    *answers, bundled = judged("arweave.mjs", [*asked, {"bundle": bundle(ITEMS).hex()}])
    for each, said in zip(ITEMS, answers, strict=True):
        assert said["valid"] is True
        assert said["item"] == {
            "id": each.id.hex(),
            "type": 2,
            "owner": OWNER.public.hex(),
            "anchor": each.anchor.hex(),
            "tags": [list(tag) for tag in each.tags],
            "data": hashlib.sha256(each.data).hexdigest(),
        }
    assert bundled["valid"] is True
    assert [item["id"] for item in bundled["items"]] == [each.id.hex() for each in ITEMS]


def test_what_their_code_makes_is_read() -> None:
    tags = [{"name": "Content-Type", "value": "text/plain"}, {"name": "x", "value": "y" * 100}]
    wanted = [{"data": "hello", "tags": tags, "anchor": "b" * 32}, {"data": "", "tags": []}]
    for key, kind in ((OWNER.seed.hex(), 2), ("rsa", 1)):
        (made,) = judged("arweave.mjs", [{"make": {"key": key, "items": wanted}}])
        found = unbundle(bytes.fromhex(made["bundle"]))
        assert [item.encode().hex() for item in found] == made["items"]
        first = found[0]
        assert (first.kind, first.data, first.anchor) == (kind, b"hello", b"b" * 32)
        assert first.tags == (("Content-Type", "text/plain"), ("x", "y" * 100))
        # What others sign holds for nothing else.
        for changed in (
            replace(first, data=b"hallo"),
            replace(first, tags=first.tags[:1]),
            replace(first, owner=first.owner[:-1] + bytes([first.owner[-1] ^ 2])),
        ):
            with pytest.raises(EnvelopeError, match="did not sign"):
                changed.check()


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


RAW = ITEM.encode()
SPOILED = {
    "signature": flipped(RAW, 2 + 5),
    "owner": flipped(RAW, 66 + 5),
    "anchor": flipped(RAW, 98 + 2 + 5),
    "a tag": flipped(RAW, RAW.index(b"text/plain")),
    "data": flipped(RAW, len(RAW) - 1),
    "more data": RAW + b"x",
    "less data": RAW[:-1],
    "number of tags": flipped(RAW, 98 + 1 + 33),
    "bytes of tags": flipped(RAW, 98 + 1 + 33 + 8),
    "type": b"\x04" + RAW[1:],
}


def test_changed_items_are_rejected_by_both() -> None:
    answers = judged("arweave.mjs", [{"item": raw.hex()} for raw in SPOILED.values()])
    for (name, raw), said in zip(SPOILED.items(), answers, strict=True):
        assert said.get("valid") is not True, name
        with pytest.raises(EnvelopeError):
            Item.decode(raw).check()


def test_changed_bundles_are_rejected() -> None:
    body = bundle(ITEMS)
    first = len(ITEM.encode())
    for raw, because in [
        (body + b"x", "after its items"),
        (body[:-1], "larger than"),
        (body[:100], "list of items"),
        (b"", "list of items"),
        (b"\xff" * 32 + body[32:], "list of items"),
        ((2).to_bytes(32, "little") + body[32:], "."),
        (flipped(body, 64), "another id"),
        (flipped(body, 32), "|".join(("another", "ends early", "type", "sign", "tags"))),
        (flipped(body, 32 + 3 * 64 + first - 1), "did not sign"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            unbundle(raw)
    assert unbundle(bundle(())) == []
    assert unbundle(body) == list(ITEMS)


SWAPPED: dict[str, Callable[[bytes], bytes]] = {
    "data": lambda b: flipped(b, 32 + 3 * 64 + len(RAW) - 1),
    "a signature": lambda b: flipped(b, 32 + 3 * 64 + 2 + 5),
    "an owner": lambda b: flipped(b, 32 + 3 * 64 + 66 + 5),
    "a tag": lambda b: flipped(b, b.index(b"text/plain")),
    "the last item": lambda b: flipped(b, len(b) - 1),
}


@pytest.mark.slow
def test_a_gateway_confirms_ours_and_nothing_that_was_changed() -> None:
    """arlocal gives bundles in transactions back, and keeps what does not hold out of its blocks."""
    body = bundle(ITEMS)
    asked: list[dict[str, object]] = [{"bundle": body.hex()}, {"bundle": body.hex(), "chunks": True}]
    spoiled = [change(body) for change in SWAPPED.values()]
    for each in spoiled:
        with pytest.raises(EnvelopeError):
            unbundle(each)
    asked += [{"bundle": each.hex(), "chunks": True} for each in spoiled]
    about = ("signature", "tag", "owner", "reward", "root")
    asked += [{"bundle": body.hex(), "change": each} for each in about]
    answers = judged("arlocal/judge.mjs", asked)
    for said in answers[:2]:
        assert (said["status"], said["confirmed"]) == (200, True)
        assert unbundle(bytes.fromhex(said["data"])) == list(ITEMS)
    for name, said in zip(SWAPPED, answers[2:], strict=False):
        assert said.get("confirmed") is not True, name
    for name, said in zip(about, answers[2 + len(SWAPPED) :], strict=True):
        assert (said["status"], said["confirmed"]) == (400, False), name


def test_items_have_one_form() -> None:
    start = 98
    for raw, because in [
        (RAW[:start] + b"\2" + RAW[start + 1 :], "neither"),
        (RAW[:start], "ends early"),
        (b"\x03\x00" + RAW[2:], "type 3"),
        (RAW[: start + 34] + RAW[start + 34 : start + 42] + b"\xff" * 8 + RAW[start + 50 :], "at most 4096"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            Item.decode(raw)
    with pytest.raises(EnvelopeError, match="another owner"):
        ITEM.check(bytes(32))
    ITEM.check(OWNER.public)


def test_a_key_of_rsa_that_is_none_signs_nothing() -> None:
    divided = ((1 << 4096) - 1) // 65537  # an odd number that the exponent divides
    divided = (divided - 1 + divided % 2) * 65537
    for owner in (bytes(512), b"\xff" * 511 + b"\xfe", b"\x7f" + b"\xff" * 511, divided.to_bytes(512)):
        item = Item(kind=1, signature=bytes(512), owner=owner, data=b"x")
        with pytest.raises(EnvelopeError, match="did not sign"):
            item.check()


def test_tags_have_one_form() -> None:
    tags = (("a", "b"), ("c" * 1024, "d" * 200))
    data = encode(tags)
    assert decode(data, 2) == tags
    assert decode(b"", 0) == ()
    for raw, count, because in [
        (data, 1, "not as many"),
        (data, 129, "not as many"),
        (b"", 1, "end early"),
        (data[:-1], 2, "one form"),
        (data + b"\0", 2, "one form"),
        (data[:5], 2, "end early"),
        (b"\x02\x82\x00a\x02b\x00", 1, "one form"),
        (b"\x01\x08\x02a\x02b\x00", 1, "not as many|one form|end early"),
        (b"\x02\x00\x02b\x00", 1, "1 to"),
        (b"\x02\x02\xff\x02b\x00", 1, "no text"),
        (b"\x02\xff\xff\xff\xff\xff\xff\x7fa", 1, "length"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            decode(raw, count)
    for wrong in (
        (("", "b"),),
        (("a", ""),),
        (("a" * 1025, "b"),),
        (("a", "b" * 3073),),
        (("a", "b"),) * 129,
        (("a", "b" * 2000),) * 3,
        (("\ud800", "b"),),
    ):
        with pytest.raises(InputError):
            encode(wrong)


def test_the_deep_hash_of_lists_and_bytes() -> None:
    """By hand, from its definition."""

    def h(data: bytes) -> bytes:
        return hashlib.sha384(data).digest()

    one = h(h(b"blob3") + h(b"abc"))
    assert deep_hash(b"abc") == one
    assert deep_hash([]) == h(b"list0")
    assert deep_hash([b"abc", b""]) == h(h(h(b"list2") + one) + h(h(b"blob0") + h(b"")))


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="32 bytes"):
        sign(b"", (), OWNER, b"short")
    body = bundle(ITEMS)
    monkeypatch.setattr(module, "MAX_DATA", 8)
    with pytest.raises(InputError, match="at most 8"):
        sign(b"123456789", (), OWNER)
    with pytest.raises(EnvelopeError, match="at most 8"):
        Item.decode(RAW)
    monkeypatch.setattr(module, "MAX_BUNDLE", 100)
    with pytest.raises(EnvelopeError, match="at most 100"):
        unbundle(body)
    with pytest.raises(InputError, match="at most"):
        bundle(ITEMS)


# -- evidence ----------------------------------------------------------------------------------------------


def test_tags_say_what_the_evidence_says(tmp_path: Path) -> None:
    known = work(tmp_path, "contradicted")
    data = (tmp_path / "contradicted").read_bytes()
    tags = tags_of("evidence", known)
    assert ("Proofcompute-Outcome", "contradicted") in tags
    check_evidence(sign(data, (*tags, ("More", "x")), OWNER), known, OWNER.public)
    other = work(tmp_path, "accepted")
    for item, because in [
        (sign(data, tags_of("evidence", other), OWNER), "Outcome"),
        (sign(data, tags[:-1], OWNER), "Request"),
        (sign(data, (*tags, ("Proofcompute-Node", "x")), OWNER), "Node"),
        (sign(data, (*tags, tags[3]), OWNER), "Outcome"),
        (sign(data + b"x", tags, OWNER), "something else"),
        (sign((tmp_path / "accepted").read_bytes(), tags, OWNER), "something else"),
        (sign(data, tags, AUDITOR), "another owner"),
        (replace(sign(data, tags, OWNER), signature=bytes(64)), "did not sign"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            check_evidence(item, known, OWNER.public)


MUTANTS: dict[str, tuple[Edit, Callable[[Path], object]]] = {
    "the signature": (
        Edit("networks.arweave.items", "        if not holds(", "        if False and not holds("),
        lambda _: replace(ITEM, data=b"x").check(),
    ),
    "the owner": (
        Edit("networks.arweave.items", "if owner is not None and owner != self.owner:", "if False:"),
        lambda _: ITEM.check(bytes(32)),
    ),
    "ids": (
        Edit("networks.arweave.items", "if item.id != pair[32:]:", "if False:"),
        lambda _: unbundle(flipped(bundle(ITEMS), 64)),
    ),
    "items of bundles": (
        Edit("networks.arweave.items", "        item.check()\n", "        pass\n"),
        lambda _: unbundle(flipped(bundle(ITEMS[:1]), 96 + len(RAW) - 1)),
    ),
    "the end of a bundle": (
        Edit("networks.arweave.items", "    if at != len(body):", "    if False:"),
        lambda _: unbundle(bundle(ITEMS) + b"x"),
    ),
    "the form of tags": (
        Edit("networks.arweave.tags", "    if not same:", "    if False:"),
        lambda _: decode(b"\x02\x82\x00a\x02b\x00", 1),
    ),
    "the evidence": (
        Edit("networks.arweave.files", "    if len(item.data) != work.bundle_size or", "    if False and"),
        lambda path: check_evidence(
            sign(b"x", tags_of("evidence", work(path, "accepted")), OWNER), work(path, "accepted")
        ),
    ),
    "the tags of evidence": (
        Edit("networks.arweave.files", "        if said != [value]:", "        if False:"),
        lambda path: check_evidence(
            sign(saved(path, "accepted").read_bytes(), (), OWNER), work(path, "accepted")
        ),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, act = MUTANTS[name]
    with pytest.raises(EnvelopeError):
        act(tmp_path)
    with monkeypatch.context() as patch:
        apply(patch, [edit])
        act(tmp_path)


# -- commands ----------------------------------------------------------------------------------------------


def test_the_commands(tmp_path: Path) -> None:
    OWNER.save(tmp_path / "owner")
    network, whose = ("network", "arweave"), ("--identity", tmp_path / "owner")
    good, note = saved(tmp_path, "accepted"), tmp_path / "note"
    note.write_text("a note")
    one, two, body = tmp_path / "one", tmp_path / "two", tmp_path / "body"
    said: dict[str, Any] = done(*network, "item", good, "-o", one, *whose, "--tag", "Run=7")
    assert (said["kind"], said["interface"]) == ("evidence", "theirs")
    assert done(*network, "item", note, "-o", two, *whose)["kind"] == "file"
    assert done(*network, "bundle", one, two, "-o", body)["tags"]["Bundle-Version"] == "2.0.0"
    found = done(*network, "check", body, "--bundle", "--owner", OWNER.public.hex())["items"]
    assert found[0]["id"] == said["id"]
    assert ["Run", "7"] in found[0]["tags"]
    folder = tmp_path / "folder"
    assert len(done(*network, "unpack", body, "--bundle", "-o", folder)["files"]) == 2
    assert (folder / said["id"]).read_bytes() == one.read_bytes()
    done(*network, "unpack", two, "-o", tmp_path / "again")
    assert (tmp_path / "again").read_text() == "a note"
    judge_key().save(tmp_path / "judge.key")
    verify = (*network, "verify", one, good, "--owner", OWNER.public.hex())
    assert done(*verify)["holds"] is True
    judged_again = call(*verify, "--key", tmp_path / "judge.key", "--device", "numpy", "--json")
    assert judged_again.status == 0
    assert judged_again.json["stands"] is True
    assert call(*network, "verify", two, good).status == 1
    two.write_bytes(two.read_bytes()[:-1])
    assert call(*network, "check", two).status == 1
    assert call(*network, "bundle", one, two, "-o", tmp_path / "x").status == 1
    for secret in ("owner", "judge.key"):
        assert "secret" in refused(*network, "item", tmp_path / secret, "-o", tmp_path / "x", *whose)
    assert "NAME=VALUE" in refused(*network, "item", note, "-o", tmp_path / "x", *whose, "--tag", "Run")
