"""Sign the files of a folder, or a file alone, and compare files with a signature.

A signature is about a whole folder. Every file in it is listed, or was named by the caller as one that need
not be: a signer's list of what to leave out does not suffice, because whoever passes a folder on could put
there what programs run or read. Links, devices and pipes are refused, since what is behind them is not what
was signed. Names in a signature are compared with those found, and none is ever opened.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofcompute.encoding.files import read_limited
from proofcompute.errors import EnvelopeError, InputError, MismatchError, ProofcomputeError
from proofcompute.networks.adapter import Document
from proofcompute.networks.model_signing.bundle import (
    MAX_SIGNATURE,
    MEDIA_TYPE,
    WHOLE,
    Manifest,
    is_name,
    opened,
    ordered,
    sealed,
)
from proofcompute.networks.model_signing.keys import SigningKey, VerifyingKey

__all__ = ["GIT", "MAX_ENTRIES", "Signed", "sign", "verify"]

MAX_ENTRIES: Final = 1 << 15
"""The most files and folders in what is signed."""
GIT: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""What the tool of model signing never looks at unless it is told to."""
_CHUNK: Final = 1 << 20

Fault = Callable[[str], ProofcomputeError]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Signed:
    """What was found to be as a key signed it."""

    name: str
    """What the signer called the folder or file."""
    files: Mapping[str, bytes]
    """SHA-256 of each file, by name."""
    unsigned: tuple[str, ...]
    """What is there beside the files, and was not looked at, because the caller said so."""


def sign(
    path: Path,
    key: SigningKey,
    signature: Path | None = None,
    *,
    unsigned: Iterable[str] = (),
    advance: Advance = lambda n: None,
) -> Document:
    """Sign a file, or all files of a folder.

    Args:
        path: the folder or file.
        key: the signer's.
        signature: where the signature will be, which may be in the folder.
        unsigned: names of files and folders, below the folder, that are left out.
        advance: told of the bytes that were hashed.

    Raises InputError, also if there is a link, or something that the tool of model signing would leave out
    and ``unsigned`` does not, and LimitError if there are too many files.
    """
    root = Path(os.path.realpath(path))
    own = _inside(root, signature)
    without = {*_names(unsigned), *([own] if own is not None else [])}
    present, _ = _listed(root, without, InputError)
    hidden = [name for name in present if name.split("/")[0] in GIT]
    if hidden:
        raise InputError(
            f"other tools leave {hidden[0]!r} out; say so (--unsigned {hidden[0].split('/')[0]}), or move it"
        )
    if not present:
        raise InputError(f"{path} holds no file to sign")
    files = {name: _digest(root / name, name, InputError, advance) for name in ordered(present)}
    data = sealed(Manifest(root.name or WHOLE, files, tuple(sorted(without))), key)
    return Document(MEDIA_TYPE, data, ".sig", "theirs")


def verify(
    path: Path,
    signature: Path,
    key: VerifyingKey,
    *,
    unsigned: Iterable[str] = (),
    advance: Advance = lambda n: None,
) -> Signed:
    """Check that a file, or all files of a folder, are those that a key signed. In this order:

    1. the signature, as :func:`.bundle.opened` says;
    2. there is nothing but plain files and folders, and not too many of them;
    3. each file is listed in the signature, but the signature itself and what ``unsigned`` names;
    4. each file that is listed is there;
    5. each has its digest.

    Args:
        path: the folder or file.
        signature: the file with its signature, which may be in the folder.
        key: the signer's, which the caller has from somewhere that he trusts.
        unsigned: names of files and folders below the folder that nobody has to have signed.
        advance: told of the bytes that were hashed.

    Raises EnvelopeError if something does not hold, InputError if a file cannot be read, MismatchError if
    ``unsigned`` names what is signed.
    """
    root = Path(os.path.realpath(path))
    # 1.
    manifest = opened(read_limited(signature, MAX_SIGNATURE, "signature"), key)
    own, excepted = _inside(root, signature), _names(unsigned)
    for name in excepted:
        if any(listed == name or listed.startswith(name + "/") for listed in manifest.files):
            raise MismatchError(f"{name!r} is signed, so it cannot be left out")
    # 2.
    without = {*excepted, *([own] if own is not None and own not in manifest.files else [])}
    present, beside = _listed(root, without, EnvelopeError)
    # 3.
    for name in present:
        if name not in manifest.files:
            raise EnvelopeError(f"{name[:80]!r} is not signed")
    # 4.
    for name in manifest.files:
        if name not in present:
            raise EnvelopeError(f"{name[:80]!r} is signed, and missing")
    # 5.
    for name, expected in manifest.files.items():
        if _digest(root / name, name, EnvelopeError, advance) != expected:
            raise EnvelopeError(f"{name[:80]!r} is not as it was signed")
    return Signed(manifest.name, manifest.files, tuple(sorted(beside & excepted)))


def _names(given: Iterable[str]) -> set[str]:
    found = set(given)
    for name in found:
        if not is_name(name):
            raise InputError(f"{name[:80]!r} is no name below the folder")
    return found


def _inside(root: Path, signature: Path | None) -> str | None:
    """Return the name of a signature below what it is of, or None if it is elsewhere."""
    if signature is None:
        return None
    place = Path(os.path.realpath(signature))
    return place.relative_to(root).as_posix() if root in place.parents else None


def _listed(root: Path, without: set[str], fault: Fault) -> tuple[set[str], set[str]]:
    """Return the names of all files below a folder, and those of ``without`` that are there."""
    found: set[str] = set()
    beside: set[str] = set()
    try:
        if stat.S_ISREG(root.stat().st_mode):
            return {WHOLE}, beside
        waiting, seen = [""], 0
        while waiting:
            folder = waiting.pop()
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MAX_ENTRIES:
                        raise fault(f"there are more than {MAX_ENTRIES} files and folders in {root}")
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if name in without:
                        beside.add(name)
                    elif not is_name(name):
                        raise fault(f"{name[-80:]!r} is no name that is the same on every system")
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        found.add(name)
                    else:
                        raise fault(f"{name[:80]!r} is a link or no file, which is not followed")
    except OSError as e:
        raise InputError(f"cannot read {e.filename or root}: {e.strerror or e}") from e
    return found, beside


def _digest(path: Path, name: str, fault: Fault, advance: Advance) -> bytes:
    """Return SHA-256 of a file, which must still be one when it is opened."""
    words = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # not every system has all of them
    state = hashlib.sha256()
    try:
        fd = os.open(path, os.O_RDONLY | sum(getattr(os, word, 0) for word in words))
        with open(fd, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise fault(f"{name[:80]!r} is no file any more")
            while chunk := stream.read(_CHUNK):
                state.update(chunk)
                advance(len(chunk))
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e
    return state.digest()
