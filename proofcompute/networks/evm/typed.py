"""Sign verdicts as typed data (EIP-712), so that contracts and wallets check them.

The struct is flat, so its hash is one Keccak-256 over its type and its fields, each in 32 bytes. A signature
is r, s and v in 65 bytes, with s in the lower half of the order (EIP-2), as contracts demand it.

The key is one on secp256k1, which is not the auditor's. Whoever trusts an address trusts that its owner
checked the bundle; the bundle itself decides who is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from proofcompute.encoding.files import read_private
from proofcompute.encoding.strict_json import Json
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.extras import lacking
from proofcompute.networks.adapter import Document
from proofcompute.networks.work import Work
from proofcompute.protocol.messages.evidence import OUTCOMES

__all__ = [
    "Domain",
    "EvmKey",
    "address_of",
    "curve",
    "keccak",
    "message",
    "mixed",
    "sign",
    "typed_data",
    "typed_digest",
]

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
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1 (SEC 2, section 2.4.1)."""
WORD: Final = 32
MAX_CHAIN: Final = (1 << 63) - 1
"""The greatest number of a chain, so that JSON holds it."""


def keccak(*parts: bytes) -> bytes:
    """Return Keccak-256 of parts in a row, 32 bytes."""
    from Crypto.Hash import keccak as algorithm

    state = algorithm.new(digest_bits=256)
    for part in parts:
        state.update(part)
    return bytes(state.digest())


def curve() -> Any:
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
        if len(secret) != WORD or not 0 < int.from_bytes(secret) < ORDER:
            raise FormatError(f"{path} holds no key: 64 hexadecimal digits are needed")
        return EvmKey(secret)

    @property
    def address(self) -> str:
        """The address, in the mixed case of EIP-55."""
        return str(curve().PrivateKey(self.secret).public_key.to_checksum_address())

    def sign(self, digest: bytes) -> bytes:
        """Return r, s and v, 65 bytes."""
        signature = curve().PrivateKey(self.secret).sign_msg_hash(digest)
        return bytes(signature.to_bytes()[:64]) + bytes([27 + signature.v])


def address_of(text: str) -> bytes:
    """Return the 20 bytes of an address. Raises InputError if it is none, or its mixed case is wrong."""
    digits = text.removeprefix("0x")
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        raise InputError(f"{text!r} is no address") from None
    if len(data) != 20 or text.lower() != "0x" + data.hex():  # fromhex skips spaces
        raise InputError(f"{text!r} is no address: 0x and 40 hexadecimal digits are needed")
    if digits not in (digits.lower(), digits.upper()) and text != mixed(data):
        raise InputError(f"{text} has a wrong digit: its mixed case does not fit (EIP-55)")
    return data


def mixed(address: bytes) -> str:
    """Return an address, 20 bytes, in the mixed case of EIP-55."""
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
        contract = mixed(address_of(self.contract))
        return {"name": NAME, "version": VERSION, "chainId": self.chain, "verifyingContract": contract}

    def separator(self) -> bytes:
        """Return the domain's hash."""
        kind = f"EIP712Domain({','.join(f'{kind} {name}' for name, kind in DOMAIN_FIELDS)})"
        return keccak(
            keccak(kind.encode()),
            keccak(NAME.encode()),
            keccak(VERSION.encode()),
            self.chain.to_bytes(WORD),
            address_of(self.contract).rjust(WORD, b"\0"),
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


def typed_digest(verdict: Mapping[str, Json], domain: Domain) -> bytes:
    """Return the digest that is signed (EIP-712: 0x19 0x01, domain, struct), 32 bytes.

    ``verdict`` has the fields as :func:`message` gives them.
    """
    words = []
    for name, _ in FIELDS:
        value = verdict[name]
        words.append(value.to_bytes(WORD) if isinstance(value, int) else bytes.fromhex(str(value)[2:]))
    return keccak(b"\x19\x01", domain.separator(), keccak(keccak(VERDICT.encode()), *words))


def typed_data(verdict: dict[str, Json], domain: Domain) -> dict[str, Json]:
    """Return the typed data of a verdict as wallets read it."""
    types = {"EIP712Domain": DOMAIN_FIELDS, "Verdict": FIELDS}
    return {
        "types": {name: [{"name": n, "type": t} for n, t in fields] for name, fields in types.items()},
        "primaryType": "Verdict",
        "domain": domain.value(),
        "message": verdict,
    }


def sign(work: Work, key: EvmKey, domain: Domain) -> Document:
    """Return the typed data of a verdict, with its signature and signer."""
    verdict = message(work)
    signature = key.sign(typed_digest(verdict, domain))
    value = {**typed_data(verdict, domain), "signer": key.address, "signature": "0x" + signature.hex()}
    return Document("application/json", json.dumps(value, indent=2).encode() + b"\n", ".eip712.json", "ours")
