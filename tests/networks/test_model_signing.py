"""Signatures of published files, judged by the code of OpenSSF's model signing, and what is rejected."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import proofcompute as pc
from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.signatures import KEY, MALFORMED, OTHER, made
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError, MismatchError
from proofcompute.networks.dsse import encoded, enveloped
from proofcompute.networks.model_signing import bundle, files
from proofcompute.networks.model_signing.bundle import opened
from proofcompute.networks.model_signing.files import GIT, sign, verify
from proofcompute.networks.model_signing.keys import CURVES, SigningKey, VerifyingKey
from proofcompute.public.key import PublicKey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose names are ordered otherwise by their characters than by their parts."""
    root = tmp_path / "published"
    (root / "sub").mkdir(parents=True)
    for name, data in {"weights": b"w" * 3_000_000, "sub/b": b"b", "sub-c": b"", "ümlaut": b"u"}.items():
        (root / name).write_bytes(data)
    return root


def signed(path: Path, key: SigningKey = KEY, **options: Any) -> Path:
    """The file with our signature of a path, beside it."""
    place = path.with_name(path.name + ".sig")
    place.write_bytes(sign(path, key, place, **options).data)
    return place


def pem(folder: Path, key: VerifyingKey = KEY.public) -> Path:
    place = folder / f"{key.hint[:8]}.pub"
    place.write_bytes(key.pem)
    return place


# -- judged by their code ---------------------------------------------------------------------------------


def theirs(path: Path, signature: Path, key: VerifyingKey = KEY.public) -> None:
    """Verify by their code. Raises several errors of theirs."""
    verifying = pytest.importorskip("model_signing.verifying")
    config = verifying.Config().use_elliptic_key_verifier(public_key=pem(signature.parent, key))
    config.verify(path, signature)


def by_them(path: Path, key: SigningKey = KEY, **hashing: Any) -> Path:
    """The file with their signature of a path, beside it."""
    signing = pytest.importorskip("model_signing.signing")
    ways = pytest.importorskip("model_signing.hashing")
    place, secret = path.with_name(path.name + ".theirs"), path.with_name("secret")
    secret.write_bytes(key.pem)
    config = signing.Config().use_elliptic_key_signer(private_key=secret)
    if hashing:
        config.set_hashing_config(getattr(ways.Config(), hashing.pop("way"))(**hashing))
    config.sign(path, place)
    return place


@pytest.mark.parametrize("curve", CURVES)
def test_either_reads_what_the_other_signed(
    folder: Path, curve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*args: Any) -> None:
        raise AssertionError("keys are checked without a network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    key = SigningKey.new(curve)
    for path in (folder, folder / "weights"):
        mine, found = signed(path, key), by_them(path, key)
        theirs(path, mine, key.public)
        known = verify(path, found, key.public)
        assert known == verify(path, mine, key.public)
        assert known.name == path.name
        if path is folder:
            assert list(known.files) == ["sub/b", "sub-c", "weights", "ümlaut"]
        mine.unlink()
        found.unlink()


def flipped(data: bytes, place: int = -1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def payload_of(signature: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"])
    )
    return found


def rebuilt(signature: Path, statement: Any, key: SigningKey | None = KEY, **top: Any) -> None:
    """Put another statement into a signature; it is signed again unless there is no key."""
    value = json.loads(signature.read_bytes())
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    if key is None:
        value["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    else:
        value["dsseEnvelope"] = enveloped(payload, key.sign(encoded(payload)), "")
    signature.write_bytes(json.dumps({**value, **top}).encode())


def another_digest(folder: Path, signature: Path) -> None:
    """Change a file and its digests, as somebody does who has no key."""
    (folder / "sub-c").write_bytes(b"changed")
    other = folder.with_name("other.sig")
    other.write_bytes(sign(folder, OTHER).data)
    rebuilt(signature, payload_of(other), None)


def other_signature(folder: Path, signature: Path) -> None:
    value = json.loads(signature.read_bytes())
    one = value["dsseEnvelope"]["signatures"][0]
    one["sig"] = base64.b64encode(flipped(base64.b64decode(one["sig"]))).decode()
    signature.write_bytes(json.dumps(value).encode())


REJECTED: dict[str, Callable[[Path, Path], object]] = {
    "a file changed": lambda f, s: (f / "weights").write_bytes(flipped((f / "weights").read_bytes())),
    "a file cut": lambda f, s: (f / "weights").write_bytes(b"w" * 2_999_999),
    "a file added": lambda f, s: (f / "sub" / "more").write_bytes(b""),
    "a file removed": lambda f, s: (f / "sub-c").unlink(),
    "a file renamed": lambda f, s: (f / "sub-c").rename(f / "sub-d"),
    "two files exchanged": lambda f, s: [(f / "sub-c").write_bytes(b"u"), (f / "ümlaut").write_bytes(b"")],
    "a signature changed": other_signature,
    "a payload changed": another_digest,
    "another key": lambda f, s: s.write_bytes(sign(f, OTHER).data),
    "another key under this one's hint": lambda f, s: rebuilt(s, payload_of(s), OTHER),
    "a subject of other files": lambda f, s: rebuilt(
        s, {**payload_of(s), "subject": [{"name": "published", "digest": {"sha256": "00" * 32}}]}
    ),
    "another predicate": lambda f, s: rebuilt(s, {**payload_of(s), "predicateType": "urn:other"}),
    "another type": lambda f, s: rebuilt(s, payload_of(s), mediaType="application/json"),
}
"""What nobody accepts."""


@pytest.mark.parametrize("make", [signed, by_them], ids=["ours", "theirs"])
@pytest.mark.parametrize("name", REJECTED)
def test_what_was_not_signed_is_rejected_by_both(
    folder: Path, name: str, make: Callable[[Path, SigningKey], Path]
) -> None:
    signature = make(folder, KEY)
    theirs(folder, signature)
    verify(folder, signature, KEY.public)
    REJECTED[name](folder, signature)
    with pytest.raises(EnvelopeError):
        verify(folder, signature, KEY.public)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - several errors of theirs
        theirs(folder, signature)
    assert not isinstance(caught.value, pytest.skip.Exception)


@pytest.mark.parametrize(
    "hashing",
    [{"way": "use_shard_serialization", "shard_size": 1 << 20},
     {"way": "use_file_serialization", "hashing_algorithm": "blake3"}],
)  # fmt: skip
def test_other_ways_of_hashing_are_refused_by_name(folder: Path, hashing: dict[str, Any]) -> None:
    signature = by_them(folder, **hashing)
    with pytest.raises(EnvelopeError, match="not of whole files by SHA-256"):
        verify(folder, signature, KEY.public)


# -- what need not be signed ------------------------------------------------------------------------------


def test_what_others_leave_out_unsaid_is_refused_here(folder: Path) -> None:
    """Their tool never looks at these names: whoever passes a folder on may put there what programs run."""
    for name in GIT:
        signature = by_them(folder)
        place = folder / name
        place.write_bytes(b"[core] fsmonitor = anything")
        theirs(folder, signature)
        with pytest.raises(EnvelopeError, match="is not signed"):
            verify(folder, signature, KEY.public)
        assert verify(folder, signature, KEY.public, unsigned=[name]).unsigned == (name,)
        with pytest.raises(InputError, match="--unsigned"):
            sign(folder, KEY)
        mine = signed(folder, unsigned=[name])
        theirs(folder, mine)
        assert verify(folder, mine, KEY.public, unsigned=[name, "absent"]).unsigned == (name,)
        place.unlink()


def test_a_signature_may_be_in_the_folder(folder: Path) -> None:
    inside = folder / "model.sig"
    for _ in range(2):  # the second replaces the first
        inside.write_bytes(sign(folder, KEY, inside).data)
        assert verify(folder, inside, KEY.public).unsigned == ()
        assert payload_of(inside)["predicate"]["serialization"]["ignore_paths"] == ["model.sig"]
    key = folder.parent / "public"
    key.write_bytes(KEY.public.pem)
    verifying = pytest.importorskip("model_signing.verifying")
    verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, inside)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_bytes(inside.read_bytes())
    with pytest.raises(EnvelopeError, match=r"'model\.sig' is not signed"):
        verify(folder, elsewhere, KEY.public)


def test_what_is_signed_cannot_be_left_out(folder: Path) -> None:
    signature = signed(folder)
    for name in ("sub", "weights"):
        with pytest.raises(MismatchError, match="is signed"):
            verify(folder, signature, KEY.public, unsigned=[name])
    for name in ("../published", "/etc", "", "a//b", "a\\b", "a\nb", "x" * 1025, "\udcff"):
        with pytest.raises(InputError, match="no name below"):
            verify(folder, signature, KEY.public, unsigned=[name])


def linked(folder: Path) -> None:
    (folder / "ümlaut").rename(folder.parent / "outside")
    (folder / "ümlaut").symlink_to(folder.parent / "outside")


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file that is as it was signed": (linked, "link"),
    "a link to a folder": (lambda f: (f / "more").symlink_to(f / "sub"), "link"),
    "a link to nothing": (lambda f: (f / "more").symlink_to("nowhere"), "link"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "no file"),
    "a name with a line's end": (lambda f: (f / "a\nb").write_bytes(b""), "same on every system"),
    "a name that is no text": (lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff")).touch(), "same on"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_folders_with_something_else_than_files(folder: Path, name: str) -> None:
    act, because = STRANGE[name]
    signature = signed(folder)
    act(folder)
    with pytest.raises(EnvelopeError, match=because):
        verify(folder, signature, KEY.public)
    with pytest.raises(InputError, match=because):
        sign(folder, KEY)


def test_folders_that_are_too_much_or_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = signed(folder)
    monkeypatch.setattr(files, "MAX_ENTRIES", 4)
    with pytest.raises(EnvelopeError, match="more than 4"):
        verify(folder, signature, KEY.public)
    with pytest.raises(InputError, match="more than 4"):
        sign(folder, KEY)
    monkeypatch.setattr(bundle, "MAX_SIGNATURE", 100)
    with pytest.raises(LimitError):
        sign(folder / "weights", KEY)
    (folder.parent / "empty").mkdir()
    with pytest.raises(InputError, match="no file to sign"):
        sign(folder.parent / "empty", KEY)
    for path in (folder / "absent", Path("/dev/null")):
        with pytest.raises(InputError, match="cannot read"):
            sign(path, KEY)


# -- malformed signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_signatures(name: str) -> None:
    opened(made(), KEY.public)
    data, because = MALFORMED[name]
    with pytest.raises(EnvelopeError, match=because):
        opened(data(), KEY.public)


WELL_FORMED = made()


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_byte_of_a_signature_changed(place: int, difference: int) -> None:
    data = bytearray(WELL_FORMED)
    data[place % len(data)] ^= difference
    try:
        found = opened(bytes(data), KEY.public)
    except EnvelopeError:
        return
    assert found == opened(WELL_FORMED, KEY.public)


# -- keys -------------------------------------------------------------------------------------------------


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    from Crypto.PublicKey import ECC

    place, good = tmp_path / "key", KEY.public.pem
    for data in (good, good.replace(b"\n", b"\r\n"), good.rstrip()):
        place.write_bytes(data)
        assert VerifyingKey.load(place) == KEY.public
    small = ECC.generate(curve="NIST P-224")
    compressed = ECC.import_key(good).export_key(format="PEM", compress=True)
    lines = good.split(b"\n")
    outside = VerifyingKey(flipped(KEY.public.der)).pem
    for data in (b"", b"text", good * 2, b"# mine\n" + good, KEY.pem, compressed.encode(), outside,
                 lines[0] + b"\n" + lines[1] + lines[2] + b"\n" + lines[3] + b"\n",
                 small.public_key().export_key(format="PEM").encode(),
                 ECC.generate(curve="Ed25519").public_key().export_key(format="PEM").encode()):  # fmt: skip
        place.write_bytes(data)
        with pytest.raises(FormatError, match="public key"):
            VerifyingKey.load(place)
    place.write_bytes(bytes(5000))
    with pytest.raises(LimitError):
        VerifyingKey.load(place)
    place.chmod(0o600)
    encrypted = ECC.import_key(KEY.pem).export_key(
        format="PEM", passphrase="secret", protection="PBKDF2WithHMAC-SHA512AndAES256-CBC"
    )
    for data in (b"", b"text", good, encrypted.encode(), small.export_key(format="PEM").encode()):
        place.write_bytes(data)
        with pytest.raises(FormatError, match="private key"):
            SigningKey.load(place)
    place.write_bytes(KEY.pem)
    assert SigningKey.load(place) == KEY
    assert str(base64.b64decode(KEY.pem.split(b"\n")[1])) not in repr(KEY)
    place.chmod(0o644)
    with pytest.raises(InputError, match="chmod"):
        SigningKey.load(place)


# -- commands ---------------------------------------------------------------------------------------------


def test_a_public_key_is_published_and_signed(tmp_path: Path) -> None:
    builder = pc.ProgramBuilder()
    x = builder.input("x", (16,))
    builder.output(builder.linear(x, np.ones((4, 16), np.float32), name="y"))
    model, public, secret = tmp_path / "model", tmp_path / "public", tmp_path / "secret"
    builder.model().save(model)
    published = done("publish", model, "-o", public)
    words = ("network", "model-signing")
    key = done(*words, "key", "-o", secret)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert "exists" in refused(*words, "key", "-o", secret)
    signature, trusted = tmp_path / "public.sig", key["public_key"]
    said = done(*words, "sign", public, "-o", signature, "--signing-key", secret)
    assert (said["interface"], said["hint"]) == ("theirs", key["hint"])
    theirs(public, signature, VerifyingKey.load(Path(trusted)))
    found = done(*words, "verify", public, signature, "--public-key", trusted)
    assert (found["holds"], found["name"], list(found["files"])) == (True, "public", ["."])
    assert published["public_id"] == PublicKey.load(public).public_id.hex()
    public.write_bytes(flipped(public.read_bytes()))
    result = call(*words, "verify", public, signature, "--public-key", trusted)
    assert (result.status, "not as it was signed" in result.err) == (1, True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"")
    (tmp_path / "folder" / ".git").mkdir()
    options = ("--unsigned", ".git", "--signing-key", secret, "--force")
    done(*words, "sign", tmp_path / "folder", "-o", signature, *options)
    checked = ("verify", tmp_path / "folder", signature, "--public-key", trusted, "--unsigned", ".git")
    assert done(*words, *checked)["unsigned"] == [".git"]
    assert "not signed: .git" in call(*words, *checked).out


# -- mutants ----------------------------------------------------------------------------------------------


def reading(name: str) -> Callable[[Path], object]:
    return lambda folder: opened(MALFORMED[name][0](), KEY.public)


def checking(act: Callable[[Path, Path], object]) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        signature = signed(folder)
        act(folder, signature)
        return verify(folder, signature, KEY.public)

    return run


def edit(old: str, new: str = "True", module: str = "bundle") -> Edit:
    return Edit(f"networks.model_signing.{module}", old, new)


MUTANTS: dict[str, tuple[list[Edit], Callable[[Path], object]]] = {
    "types of bundles": ([edit('top.get("mediaType") == MEDIA_TYPE')], reading("another media type")),
    "logs": ([edit('material.get("tlogEntries", []) == []')], reading("entries of a log")),
    "hints": ([edit('material["publicKey"] == {"hint": key.hint}')], reading("no hint")),
    "one signature": ([edit("len(signatures) == 1")], reading("two signatures")),
    "signatures": (
        [edit("key.signed(encoded(payload), signatures[0])")],
        checking(REJECTED["a payload changed"]),
    ),
    "types of statements": (
        [edit('statement["_type"] == STATEMENT')],
        reading("a statement of another version"),
    ),
    "types of predicates": ([edit('statement["predicateType"] == PREDICATE')], reading("an older predicate")),
    "fields": (
        [edit("set(value) != names", "not names <= set(value)")],
        reading("a field of the predicate more"),
    ),
    "one subject": ([edit("len(value) != 1", "not value")], reading("two subjects")),
    "the root": ([edit("root == _root(files)")], reading("another root")),
    "ways of hashing": ([edit('way == ("files", "sha256")')], reading("another hash")),
    "fields of the way": ([edit("set(value) <= known")], reading("pieces of whole files")),
    "truths": ([edit('isinstance(value.get("allow_symlinks"), bool)')], reading("links are no truth")),
    "what is left out": ([edit("len(left_out) == len(paths)")], reading("a number left out")),
    "order": ([edit("names == ordered(found)")], reading("not in order")),
    "names": ([edit("is_name(name) or", "True or")], reading("the name '../a'")),
    "hashes of files": ([edit('resource["algorithm"] == "sha256"')], reading("a digest by another hash")),
    "forms of digests": ([edit('set(digest) <= set("0123456789abcdef")')], reading("a digest in capitals")),
    "files that were added": (
        [edit("        if name not in manifest.files:", "        if False:", "files")],
        checking(REJECTED["a file added"]),
    ),
    "digests": ([edit("!= expected", "is None", "files")], checking(REJECTED["a file changed"])),
    "links": (
        [
            edit("entry.is_file(follow_symlinks=False)", "entry.is_file()", "files"),
            edit('"O_NOFOLLOW", ', "", "files"),
        ],
        checking(lambda folder, signature: linked(folder)),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits, act = MUTANTS[name]
    again = folder.parent / "again"
    shutil.copytree(folder, again)
    with pytest.raises(EnvelopeError):
        act(folder)
    (folder.parent / "outside").unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        apply(patch, edits)
        act(again)
