"""Which Ed25519 signatures hold: the strictest reading of RFC 8032."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

import pytest
from Crypto.Signature import eddsa

from oracle.message_cases import ORDER, SMALL_ORDER
from proofcompute.commitments.signing import NodeIdentity, _integer, _negated, signature_holds

P = 2**255 - 19
BASE: Any = eddsa.import_public_key(b"\x58" + 31 * b"\x66").pointQ

# (secret, public, message, signature) of RFC 8032, section 7.1, tests 1 to 3
RFC = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
)

# Published vectors on which implementations differ ("Taming the many EdDSAs", table 6 c), each with what
# makes it special: (message, public, signature).
SPECIAL = {
    "small A and small R": (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a" + "00" * 32,
    ),
    "small A": (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
    "mixed A and small R": (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
    ),
    "mixed A and R, both equations": (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
    ),
    "mixed A and R, with the cofactor only": (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
    ),
    "mixed A, k not multiplied by the cofactor first": (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
    ),
    "S not reduced": (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
    ),
    "S far from reduced": (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
    ),
    "R not reduced, hashed as it is": (
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ed" + "ff" * 30 + "7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
    ),
    "R not reduced, hashed reduced": (
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ed" + "ff" * 30 + "7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
    ),
}


def encoded(point: Any) -> bytes:
    x, y = point.xy
    return (int(y) | (int(x) & 1) << 255).to_bytes(32, "little")


def times(point: Any, n: int) -> Any:
    return point * _integer(n)


def holds_with_the_cofactor(public: bytes, message: bytes, signature: bytes) -> bool:
    """What the library itself says."""
    try:
        eddsa.new(eddsa.import_public_key(public), "rfc8032").verify(message, signature)
    except ValueError:
        return False
    return True


def torsion(i: int) -> Any:
    return eddsa.import_public_key(SMALL_ORDER[i]).pointQ


def forged(key_torsion: int, r_torsion: int, digest: bytes) -> tuple[bytes, bytes]:
    """Public key and signature of a signer that adds points of small order to its own A and R."""
    a, r = 12345678901234567890**3 % ORDER, 98765432109876543210**3 % ORDER
    public = encoded(times(BASE, a) + torsion(key_torsion))
    commitment = encoded(times(BASE, r) + torsion(r_torsion))
    k = int.from_bytes(hashlib.sha512(commitment + public + digest).digest(), "little") % ORDER
    return public, commitment + ((r + k * a) % ORDER).to_bytes(32, "little")


@pytest.mark.parametrize("case", RFC, ids=("1", "2", "3"))
def test_vectors_of_the_rfc(case: Any) -> None:
    secret, public, message, signature = map(bytes.fromhex, case)
    node = NodeIdentity(secret)
    assert (node.public, node.sign(message)) == (public, signature)
    assert signature_holds(public, message, signature)
    assert not signature_holds(public, message + b"\0", signature)


@pytest.mark.parametrize("name", SPECIAL)
def test_vectors_on_which_implementations_differ_are_all_refused(name: str) -> None:
    message, public, signature = map(bytes.fromhex, SPECIAL[name])
    assert not signature_holds(public, message, signature)


def test_the_library_alone_would_take_a_key_with_a_torsion_part() -> None:
    taken = [name for name, case in SPECIAL.items() if holds_with_the_cofactor(*_order(case))]
    assert "mixed A and R, with the cofactor only" in taken  # so its equation is the one with the cofactor


def _order(case: tuple[str, str, str]) -> tuple[bytes, bytes, bytes]:
    message, public, signature = map(bytes.fromhex, case)
    return public, message, signature


@pytest.mark.parametrize(("key_torsion", "r_torsion"), list(product(range(8), range(8))))
def test_no_part_of_small_order_in_the_key_or_in_r(key_torsion: int, r_torsion: int) -> None:
    digest = bytes(32)
    public, signature = forged(key_torsion, r_torsion, digest)
    assert holds_with_the_cofactor(public, digest, signature)
    assert signature_holds(public, digest, signature) == (key_torsion == r_torsion == 0)


@pytest.mark.parametrize("public", SMALL_ORDER, ids=bytes.hex)
def test_keys_of_small_order(public: bytes) -> None:
    for r in SMALL_ORDER:
        assert not signature_holds(public, bytes(32), r + bytes(32))


def test_encodings_of_a_key_that_are_not_canonical() -> None:
    for y, sign in product(range(19), (0, 1)):
        public = (P + y | sign << 255).to_bytes(32, "little")
        assert _negated(public) is None
    assert _negated(b"\x01" + bytes(30) + b"\x80") is None  # minus zero
    assert _negated(b"") is None
    assert _negated(bytes(57)) is None


def test_signatures_of_another_length() -> None:
    node = NodeIdentity(bytes(32))
    signature = node.sign(bytes(32))
    assert signature_holds(node.public, bytes(32), signature)
    for wrong in (b"", signature[:-1], signature + b"\0", signature[:32], bytes(64)):
        assert not signature_holds(node.public, bytes(32), wrong)


def test_strangers_keys_are_kept_up_to_a_bound_only() -> None:
    assert _negated.cache_info().maxsize == 1024
