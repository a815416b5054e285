"""Checks that a node makes for its own sake, and those of stored files: what each of them stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from adversary.mutation import Edit, apply
from jobs.cases import DEVICE, NODE, Job, audit, factors, opened, run, step
from jobs.test_resident import rewritten
from proofcompute.errors import InputError, MismatchError
from proofcompute.jobs import ProductKey, ProductProof, job


def never(module: str, condition: str) -> Edit:
    return Edit(module, f"if {condition}:", "if False:")


class Mutant(NamedTuple):
    """One check."""

    edits: tuple[Edit, ...]
    """What removes it."""
    prepare: Callable[[Path], Callable[[], Any]]
    """Returns what must fail, and what happens without the check."""
    consequence: Callable[[Any], bool]
    """Whether that is what the check is there to stop."""


def wrong_c(folder: Path) -> Callable[[], Any]:
    a, b = factors()
    resident = job(b, identity=NODE, device=DEVICE)
    c = resident.matmul(a)[0] + 1
    return lambda: Job(a, b, (proof := resident.prove(a, c=c)).request, proof)


def other_b(folder: Path) -> Callable[[], Any]:
    a, b = factors()
    other = job(b + 1, identity=NODE, device=DEVICE)
    request = job(b, device=DEVICE).request(a)
    return lambda: Job(a, b, request, other.prove(a, request=request))


def changed_row(folder: Path) -> Callable[[], Any]:
    j = run()
    j.proof.c[3, 3] += 1
    return lambda: (j, opened(j))


def changed_and_saved(folder: Path) -> Callable[[], Any]:
    j, path = run(), folder / "proof"
    j.proof.a[3, 3] ^= 1

    def save() -> ProductProof:
        j.proof.save(path)
        return ProductProof.load(path, NODE, device=DEVICE)

    return save


def doctored_leaves(folder: Path) -> Callable[[], Any]:
    j, path = run(), folder / "proof"
    j.proof.save(path)
    data, rows = path.read_bytes(), j.a.nbytes + j.proof.c.nbytes
    path.write_bytes(data[: -rows - 1] + bytes([data[-rows - 1] ^ 1]) + data[-rows:])
    return lambda: ProductProof.load(path, NODE, device=DEVICE)


def other_file(folder: Path) -> Callable[[], Any]:
    j, path, file = run(), folder / "proof", folder / "a.npy"
    np.save(file, j.a + 1)

    def save() -> ProductProof:
        j.proof.save(path, a=file)
        return ProductProof.load(path, NODE, device=DEVICE)

    return save


def key_with(**changes: Any) -> Callable[[Path], Callable[[], Any]]:
    def prepare(folder: Path) -> Callable[[], Any]:
        path = folder / "key"
        ProductKey(factors()[1], suite="sha256", device=DEVICE).save(path)
        rewritten(path, **changes)
        return lambda: ProductKey.load(path, device=DEVICE)

    return prepare


def flipped_key(folder: Path) -> Callable[[], Any]:
    path = folder / "key"
    ProductKey(factors()[1], suite="sha256", device=DEVICE).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-60] + bytes([data[-60] ^ 1]) + data[-59:])  # a bit of V
    return lambda: ProductKey.load(path, device=DEVICE)


def signs_what_is_false(j: Job) -> bool:
    return step(lambda: audit(j)) == 8


def opens_what_was_not_signed(found: tuple[Job, bytes]) -> bool:
    j, opening = found
    honest = run()
    return step(lambda: audit(j, opening=opening, c=honest.proof.c)) in (5, 7)


def cannot_open(proof: ProductProof) -> bool:
    a, b = factors()
    with pytest.raises(MismatchError, match="changed since"):
        opened(Job(a, b, proof.request, proof))
    return True


def rejects_what_is_right(key: ProductKey) -> bool:
    a, b = factors()
    c = a.astype(np.int32) @ b.astype(np.int32)
    return step(lambda: key.check(a, c)) == 8


ROOT = "root != self.root"
SAVED = "not np.array_equal(self._hashed(data, end - first), leaves[first:end])"
PROOF, KEY = "jobs.proof", "jobs.key"
GIVEN = "check if check is not None else c is not None"
B_NAMED = "self.b != request.b or stacks.b != request.stacks.b"
CHECKSUM = 'hashing.message_digest("sha256", "product key", wire.encode(top[:-1])) != top[-1]'
MUTANTS = {
    "a C that was given": Mutant((never("jobs.resident", GIVEN),), wrong_c, signs_what_is_false),
    "the B of the request": Mutant((never("jobs.resident", B_NAMED),), other_b, signs_what_is_false),
    "rows as they were signed": Mutant(
        (never("jobs.commitment", ROOT),), changed_row, opens_what_was_not_signed
    ),
    "rows that are saved": Mutant((never("jobs.commitment", SAVED),), changed_and_saved, cannot_open),
    "leaves of a stored proof": Mutant(
        (never(PROOF, "tree.root != named.root"),), doctored_leaves, cannot_open
    ),
    "a file that a proof refers to": Mutant(
        (never(PROOF, "not tree.of_rows(_mapped(file, named))"),), other_file, cannot_open
    ),
    "checksum of a key": Mutant((never(KEY, CHECKSUM),), flipped_key, rejects_what_is_right),
    "canonical residues of a key": Mutant(
        (never("jobs.projection", "int(v.max()) >= types.field.p"),),
        key_with(v=b"\xff" * 56),
        lambda key: isinstance(key, ProductKey),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_check_of_a_node_or_of_a_file_matters(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    act = mutant.prepare(tmp_path)
    with pytest.raises(InputError):
        act()
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, mutant.edits)
        done = act()
    assert mutant.consequence(done)
