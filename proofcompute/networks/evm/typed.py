"""Sign verdicts as typed data (EIP-712), so that contracts and wallets check them.

The struct is flat, so its hash is one Keccak-256 over its type and its fields, each in 32 bytes. A signature
is r, s and v in 65 bytes, with s in the lower half of the order (EIP-2), as contracts demand it.

The key is one on secp256k1, which is not the auditor's. Whoever trusts an address trusts that its owner
checked the bundle; the bundle itself decides who is right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from proofcompute.encoding.files import read_private
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.errors.extras import lacking
from proofcompute.networks.adapter import Document
from proofcompute.networks.work import Work
from proofcompute.protocol.messages.evidence import OUTCOMES

__all__ = ["Domain", "EvmKey", "address_of", "check", "keccak", "message", "sign", "typed_digest"]

FIELDS: Final = (
    ("receipt", "bytes32"),
    ("request", "bytes32"),
    ("model", "bytes32"),
    ("node", "bytes32"),
    ("auditor", "bytes32"),
    ("evidence", "bytes32"),
    ("outcome", "uint8"),
    ("step", "uint8"),
    ("rows", "uint64"),
    ("made", "uint64"),
)
"""The fields of a verdict in their order, with their types in Solidity."""
VERDICT: Final = f"Verdict({','.join(f'{kind} {name}' for name, kind in FIELDS)})"
DOMAIN_FIELDS: Final = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)
NAME, VERSION = "proofcompute", "1"
MAX_DOCUMENT: Final = 1 << 16
"""The most bytes of a signed document that is read."""
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1 (SEC 2, section 2.4.1)."""
_WORD: Final = 32
MAX_CHAIN: Final = (1 << 63) - 1
"""The greatest number of a chain, so that JSON holds it."""


def keccak(*parts: bytes) -> bytes:
    """Return Keccak-256 of parts in a row, 32 bytes."""
    from Crypto.Hash import keccak as algorithm

    state = algorithm.new(digest_bits=256)
    for part in parts:
        state.update(part)
    return bytes(state.digest())


def _curve() -> Any:
    """Return the functions of the curve."""
    try:
        return import_module("eth_keys").keys
    except ModuleNotFoundError as e:
        raise lacking(e, "signing for contracts") from e


@dataclass(frozen=True)
class EvmKey:
    """A private key on secp256k1."""

    secret: bytes = field(repr=False)

    @staticmethod
    def load(path: Path) -> EvmKey:
        """Read a key from a file that only its owner can read: 64 hexadecimal digits.

        Raises InputError if others may read it, FormatError if it holds no key.
        """
        text = read_private(path, 256, "key").strip().removeprefix(b"0x")
        try:
            secret = bytes.fromhex(text.decode("ascii"))
        except ValueError:
            raise FormatError(f"{path} holds no key: 64 hexadecimal digits are needed") from None
        if len(secret) != _WORD or not 0 < int.from_bytes(secret) < _ORDER:
            raise FormatError(f"{path} holds no key: 64 hexadecimal digits are needed")
        return EvmKey(secret)

    @property
    def address(self) -> str:
        """The address, in the mixed case of EIP-55."""
        return str(_curve().PrivateKey(self.secret).public_key.to_checksum_address())

    def sign(self, digest: bytes) -> bytes:
        """Return r, s and v, 65 bytes."""
        signature = _curve().PrivateKey(self.secret).sign_msg_hash(digest)
        return bytes(signature.to_bytes()[:64]) + bytes([27 + signature.v])


def address_of(text: str) -> bytes:
    """Return the 20 bytes of an address. Raises InputError if it is none, or its mixed case is wrong."""
    digits = text.removeprefix("0x")
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        raise InputError(f"{text!r} is no address") from None
    if len(data) != 20 or not text.startswith("0x"):
        raise InputError(f"{text!r} is no address: 0x and 40 hexadecimal digits are needed")
    if digits not in (digits.lower(), digits.upper()) and text != _mixed(data):
        raise InputError(f"{text} has a wrong digit: its mixed case does not fit (EIP-55)")
    return data


def _mixed(address: bytes) -> str:
    text = address.hex()
    digits = keccak(text.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) > 7 else c for c, d in zip(text, digits, strict=False))


@dataclass(frozen=True)
class Domain:
    """For whom a signature is: the chain, and the contract that checks it."""

    chain: int
    contract: str

    def __post_init__(self) -> None:
        if not 0 < self.chain <= MAX_CHAIN:
            raise InputError(f"{self.chain} is no number of a chain")
        address_of(self.contract)

    def value(self) -> dict[str, Json]:
        """Return the domain as wallets read it."""
        contract = _mixed(address_of(self.contract))
        return {"name": NAME, "version": VERSION, "chainId": self.chain, "verifyingContract": contract}

    def separator(self) -> bytes:
        """Return the domain's hash."""
        kind = f"EIP712Domain({','.join(f'{kind} {name}' for name, kind in DOMAIN_FIELDS)})"
        return keccak(
            keccak(kind.encode()),
            keccak(NAME.encode()),
            keccak(VERSION.encode()),
            self.chain.to_bytes(_WORD),
            address_of(self.contract).rjust(_WORD, b"\0"),
        )


def message(work: Work) -> dict[str, Json]:
    """Return the fields of a verdict; outcomes are numbered from 1 in the order of OUTCOMES."""
    found: dict[str, Json] = {
        "receipt": "0x" + work.receipt_digest.hex(),
        "request": "0x" + work.request_digest.hex(),
        "model": "0x" + work.model_id.hex(),
        "node": "0x" + work.node.hex(),
        "auditor": "0x" + work.auditor.hex(),
        "evidence": "0x" + work.bundle_sha256.hex(),
        "outcome": 1 + OUTCOMES.index(work.outcome.kind),
        "step": work.outcome.step,
        "rows": work.rows,
        "made": work.made,
    }
    return found


def typed_digest(work: Work, domain: Domain) -> bytes:
    """Return the digest that is signed (EIP-712: 0x19 0x01, domain, struct), 32 bytes."""
    words = []
    for value in message(work).values():
        words.append(value.to_bytes(_WORD) if isinstance(value, int) else bytes.fromhex(str(value)[2:]))
    return keccak(b"\x19\x01", domain.separator(), keccak(keccak(VERDICT.encode()), *words))


def _typed_data(work: Work, domain: Domain) -> dict[str, Json]:
    """Return the typed data of a verdict as wallets read it."""
    types = {"EIP712Domain": DOMAIN_FIELDS, "Verdict": FIELDS}
    return {
        "types": {name: [{"name": n, "type": t} for n, t in fields] for name, fields in types.items()},
        "primaryType": "Verdict",
        "domain": domain.value(),
        "message": message(work),
    }


def sign(work: Work, key: EvmKey, domain: Domain) -> Document:
    """Return the typed data of a verdict, with its signature and signer."""
    signature = key.sign(typed_digest(work, domain))
    value = {**_typed_data(work, domain), "signer": key.address, "signature": "0x" + signature.hex()}
    return Document("application/json", json.dumps(value, indent=2).encode() + b"\n", ".eip712.json", "ours")


def check(document: bytes, work: Work, signer: str, domain: Domain) -> None:
    """Check that a document is the verdict of a bundle, for this domain, signed by this address.

    Raises EnvelopeError if it is malformed, says something else, or another key signed it.
    """
    try:
        top = read_json(document, MAX_DOCUMENT)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the document is not JSON as it is read here: {e}") from e
    expected = _typed_data(work, domain)
    if set(top) != {*expected, "signer", "signature"}:
        raise EnvelopeError(
            f"a signed verdict has {', '.join(expected)}, signer, signature, and nothing else"
        )
    for name, value in expected.items():
        # Python takes True for 1, which JSON does not.
        if json.dumps(top[name], sort_keys=True) != json.dumps(value, sort_keys=True):
            raise EnvelopeError(f"the document's {name} is not that of this verdict and this contract")
    found = _signer(top["signature"], typed_digest(work, domain))
    if found != address_of(signer) or top["signer"] != _mixed(found):
        raise EnvelopeError(f"the document was signed by {_mixed(found)}, not by {signer}")


def _signer(value: Json, digest: bytes) -> bytes:
    """Return the address that signed a digest."""
    curve = _curve()
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    if not isinstance(value, str) or len(value) != 2 + 2 * 65 or not value.startswith("0x"):
        raise EnvelopeError("a signature is 0x and 130 hexadecimal digits")
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        raise EnvelopeError("the signature is not hexadecimal") from None
    r, s, v = int.from_bytes(raw[:_WORD]), int.from_bytes(raw[_WORD:64]), raw[64]
    if value[2:] != raw.hex() or v not in (27, 28) or not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        raise EnvelopeError("the signature is not canonical")
    try:
        public = curve.Signature(raw[:64] + bytes([v - 27])).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as e:
        raise EnvelopeError("the signature is none of any key") from e
    return bytes(public.to_canonical_address())
