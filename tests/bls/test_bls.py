"""Signatures on BLS12-381: published vectors, both libraries side by side, and what is refused."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from proofcompute.bls.curve import G1_BYTES, G2_BYTES, LIBRARIES, ORDER, Curve, curve
from proofcompute.bls.signatures import VerdictKey, possesses, signed_by_all, total_signature
from proofcompute.errors import FormatError, InputError, UnsupportedError

pytest.importorskip("py_ecc")

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "bls_vectors.json").read_text("utf-8")
)
KEYS = [VerdictKey(bytes.fromhex(k["secret"])) for k in VECTORS["keys"]]
PUBLIC = [bytes.fromhex(k["public"]) for k in VECTORS["keys"]]
SIGN = {n: bytes.fromhex(v) for n, v in VECTORS["sign"].items() if n != "key"}
SUM = {n: bytes.fromhex(v) for n, v in VECTORS["aggregate"].items()}
MODULUS = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16
)


def test_the_limit_of_recursion_stays() -> None:
    """Otherwise JSON that nests deeply, of whoever sends it, would end the process."""
    code = (
        "import json, sys; limit = sys.getrecursionlimit()\n"
        "from proofcompute.bls.curve import curve\n"
        "from proofcompute.verdicts import precompiles\n"
        "curve('py_ecc'); precompiles._mapped((bytes(128), bytes(128)))\n"
        "assert sys.getrecursionlimit() == limit\n"
        "try: json.loads('{\"a\":' * 100_000)\n"
        "except RecursionError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Curve:
    pytest.importorskip(LIBRARIES[request.param])
    return curve(request.param)


def both() -> tuple[Curve, Curve]:
    pytest.importorskip("py_arkworks_bls12381")
    return curve("py_ecc"), curve("arkworks")


# -- vectors ------------------------------------------------------------------------------------------------
def test_published_keys_and_signatures() -> None:
    assert [key.public for key in KEYS] == PUBLIC
    assert KEYS[0].sign(SIGN["message"]) == SIGN["signature"]
    assert total_signature([key.sign(SUM["message"]) for key in KEYS]) == SUM["signature"]


def test_published_signatures_hold(library: Curve) -> None:
    assert signed_by_all(PUBLIC[:1], SIGN["message"], SIGN["signature"], library)
    assert signed_by_all(PUBLIC, SUM["message"], SUM["signature"], library)
    assert not signed_by_all(PUBLIC[:1], SIGN["message"], SIGN["tampered"], library)
    assert not signed_by_all([], SUM["message"], SUM["signature"], library)


def test_a_proof_of_possession_is_no_signature(library: Curve) -> None:
    proof = KEYS[0].possession()
    assert possesses(PUBLIC[0], proof, library)
    assert not possesses(PUBLIC[0], KEYS[0].sign(PUBLIC[0]), library)
    assert not signed_by_all(PUBLIC[:1], PUBLIC[0], proof)
    assert not possesses(PUBLIC[1], proof)


# -- both libraries ----------------------------------------------------------------------------------------
def test_the_libraries_agree_on_points() -> None:
    slow, fast = both()
    rng = Random(5)
    for _ in range(4):
        scalar, message = rng.randrange(1, ORDER), rng.randbytes(20)
        for group in (0, 1):
            points = [c.times(c.generators()[group], scalar) for c in (slow, fast)]
            data = [c.encode(p) for c, p in zip((slow, fast), points, strict=True)]
            assert data[0] == data[1]
            assert slow.affine(points[0]) == fast.affine(points[1])
            sums = [
                c.encode(c.total([p, c.negated(c.generators()[group])]))
                for c, p in zip((slow, fast), points, strict=True)
            ]
            assert sums[0] == sums[1]
        assert slow.encode(slow.hash_to_g1(message, b"T")) == fast.encode(fast.hash_to_g1(message, b"T"))
        assert slow.encode(slow.hash_to_g2(message, b"T")) == fast.encode(fast.hash_to_g2(message, b"T"))


def _decodes(library: Curve, data: bytes) -> bool:
    try:
        point = library.g1(data) if len(data) <= G1_BYTES + 4 else library.g2(data)
    except FormatError:
        return False
    assert library.encode(point) == data
    return True


def test_the_libraries_accept_the_same_bytes() -> None:
    slow, fast = both()
    rng, accepted = Random(7), 0
    honest = [PUBLIC[0], SIGN["signature"]]
    for n in range(60):
        data = bytearray(honest[n % 2])
        if n % 3 == 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif n % 3 == 1:
            data[0] ^= rng.choice((0x20, 0x40, 0x80, 0xE0))
        else:
            data = bytearray(rng.randbytes(len(data)))
            data[0] = 0x80 | data[0] & 0x3F
        assert _decodes(slow, bytes(data)) == _decodes(fast, bytes(data)), data.hex()
        accepted += _decodes(fast, bytes(data))
    assert 0 < accepted < 30


def _compressed(x: int, flags: int = 0b100) -> bytes:
    return ((flags << 381) + x).to_bytes(G1_BYTES, "big")


REFUSED = {
    "empty": b"",
    "no flags": bytes(G1_BYTES),
    "the identity of G1": _compressed(0, 0b110),
    "the identity of G1 with a sign": _compressed(0, 0b111),
    "the identity with something more": _compressed(1, 0b110),
    "a number that is too large": _compressed(MODULUS + int.from_bytes(PUBLIC[0], "big") % (1 << 381)),
    "the modulus": _compressed(MODULUS),
    "a point outside of the group G1": _compressed(4),
    "not compressed": bytes([PUBLIC[0][0] & 0x7F]) + PUBLIC[0][1:],
    "short": PUBLIC[0][:-1],
    "long": PUBLIC[0] + b"\0",
    "the identity of G2": b"\xc0" + bytes(G2_BYTES - 1),
    "flags in the second half": SIGN["signature"][:48] + _compressed(5),
    "no point of G2": bytes.fromhex(VECTORS["not_on_the_curve"]),
    "a point outside of the group G2": _compressed(0) + (2).to_bytes(G1_BYTES, "big"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_points_that_are_refused(name: str, library: Curve) -> None:
    assert not _decodes(library, REFUSED[name])


def test_the_points_outside_of_the_groups_are_on_the_curve(library: Curve) -> None:
    """Only the check of the group refuses them."""
    for name in ("a point outside of the group G1", "a point outside of the group G2"):
        assert library._decode(REFUSED[name]) is not None


@pytest.mark.parametrize(("name", "extra"), [("py_ecc", "verdicts"), ("arkworks", "verdicts-fast")])
def test_a_library_that_is_missing_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    with pytest.raises(UnsupportedError, match=f"proofcompute.{extra}."):
        curve.__wrapped__(name)


def test_without_the_fast_library_the_other_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.bls.curve.find_spec", lambda name: None)
    assert curve.__wrapped__(None).name == "py_ecc"


def test_a_point_outside_of_its_group_passes_only_without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(monkeypatch, [Edit("bls.curve", "if not self._in_group(point):", "if 0:")])
    for name in ("a point outside of the group G1", "a point outside of the group G2"):
        assert _decodes(curve(), REFUSED[name])


def test_with_the_identity_anybody_signs_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys whose sum it is, and the identity for a signature; nobody's secret is needed."""
    pytest.importorskip("py_arkworks_bls12381")
    library = curve("arkworks")
    keys = [PUBLIC[0], library.encode(library.negated(library.g1(PUBLIC[0])))]
    identity = REFUSED["the identity of G2"]
    assert not signed_by_all(keys, b"anything", identity, library)
    edits = [
        Edit("bls.arkworks", "return None if point == kind.identity() or", "return None if"),
        Edit("bls.signatures", "if library.is_identity(key):", "if 0:"),
    ]
    apply(monkeypatch, edits)
    assert signed_by_all(keys, b"anything", identity, library)


# -- keys ------------------------------------------------------------------------------------------------
def test_a_sum_that_is_the_identity_signs_nothing(library: Curve) -> None:
    minus = library.encode(library.negated(library.g1(PUBLIC[0])))
    assert not signed_by_all([PUBLIC[0], minus], b"anything", SIGN["signature"], library)


def test_a_secret_is_not_shown_and_not_readable_by_others(tmp_path: Path) -> None:
    key = VerdictKey.new()
    assert key.secret.hex() not in repr(key)
    key.save(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert VerdictKey.load(tmp_path / "key") == key
    assert pickle.loads(pickle.dumps(key)) == key  # noqa: S301
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(InputError, match="others may read it"):
        VerdictKey.load(tmp_path / "key")


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_secrets_are_below_the_order(tmp_path: Path, number: int) -> None:
    VerdictKey(number.to_bytes(32, "big")).save(tmp_path / "key")
    with pytest.raises(FormatError, match="not the secret"):
        VerdictKey.load(tmp_path / "key")


def test_a_rogue_key_signs_for_others_unless_proofs_are_asked_for() -> None:
    """It is what the others' keys leave of the rogue's own; nobody has its secret, and so no proof."""
    library = curve()
    rogue, message = KEYS[1], b"the node lied"
    others = library.negated(library.g1(PUBLIC[0]))
    key = library.encode(library.total([library.g1(rogue.public), others]))
    forged = rogue.sign(message)
    assert signed_by_all([PUBLIC[0], key], message, forged, library)  # the holder of key 0 signed nothing
    assert not possesses(key, rogue.possession(), library)
