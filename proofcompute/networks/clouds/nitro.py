"""Check attestation documents of AWS Nitro Enclaves, and that a receipt is bound into one.

A document is a COSE_Sign1 (RFC 9052, section 4.2) over a map in CBOR, signed by ECDSA with SHA-384 under a
certificate that chains to AWS's root. The checks, after the AWS Nitro Enclaves guide, "Verifying the root of
trust":

1. sizes and forms of the message, which has one, and of every field, each of which is there once;
2. the chain: the bundle begins with the root that the caller trusts, byte for byte, each certificate issued
   the next one, authorities may issue, and all are valid at the time asked for;
3. the signature, under the last certificate, over the bytes as they came;
4. the time of the document is not of the future;
5. the registers (PCRs) that the caller expects; a debug enclave, whose PCR0 is zero, is refused;
6. ``user_data`` is the hash of the receipt.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final

from proofcompute.errors import EnvelopeError, InputError
from proofcompute.errors.extras import lacking
from proofcompute.networks.clouds.binding import Attested, bound_bytes, check_now

__all__ = ["MAX_DOCUMENT", "MAX_ROOT", "check_nitro"]

MAX_DOCUMENT: Final = 1 << 15
MAX_ROOT: Final = 1 << 14
_ES384: Final = b"\xa1\x01\x38\x22"
"""The protected header: algorithm -35."""
_TAG: Final = 18
_SIGNATURE: Final = 96
_SKEW: Final = 60_000
"""Milliseconds by which clocks may differ."""
_MAX_CERTIFICATE: Final = 1024
_MAX_BUNDLE: Final = 8
_REGISTERS: Final = range(32)
_LIMITS: Final = {"public_key": 1024, "user_data": 512, "nonce": 512}
_FIELDS: Final = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", *_LIMITS}


def _x509() -> Any:
    try:
        return import_module("cryptography.x509")
    except ModuleNotFoundError as e:
        raise lacking(e, "checking attestation documents") from e


def _require(holds: bool, because: str) -> None:
    if not holds:
        raise EnvelopeError(f"the attestation document does not hold: {because}")


def _cbor(data: bytes) -> Any:
    """Decode one item of CBOR in which no key is there twice and after which nothing follows."""
    import cbor2

    stream = io.BytesIO(data)
    try:
        value = cbor2.load(stream, allow_duplicate_keys=False)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as e:
        raise EnvelopeError(f"the attestation document is no CBOR: {e}") from e
    _require(stream.tell() == len(data), "bytes follow its end")
    return value


def check_nitro(
    document: bytes, receipt: bytes, root: bytes, *, pcrs: Mapping[int, bytes], now: int
) -> Attested:
    """Check that a receipt is bound into an attestation document, and return what it says besides.

    Args:
        document: as the enclave got it.
        receipt: as the node sent it.
        root: AWS's root certificate, in PEM, which the caller fetched from AWS.
        pcrs: the registers that are expected, by number; PCR0 is the enclave's image.
        now: seconds since the Unix epoch. Certificates of enclaves are valid for three hours.

    Raises EnvelopeError if the document does not hold, InputError for a root or a time that is none, or
    without a register to compare.
    """
    check_now(now)
    if not pcrs or not all(n in _REGISTERS for n in pcrs):
        raise InputError("say at least one register of the enclave, such as PCR0; else any program would do")
    x509 = _x509()
    try:
        trusted = x509.load_pem_x509_certificate(root)
    except ValueError as e:
        raise InputError(f"the root is no certificate in PEM: {e}") from e
    # 1.
    _require(len(document) <= MAX_DOCUMENT, "it is too large")
    protected, payload, signature = _message(document)
    fields = _fields(payload)
    # 2.
    when = datetime.fromtimestamp(now, UTC)
    leaf = _chain(x509, trusted, [*fields["cabundle"], fields["certificate"]], when)
    # 3.
    _check_signature(leaf, protected, payload, signature)
    # 4.
    _require(fields["timestamp"] <= now * 1000 + _SKEW, "it is of the future")
    # 5.
    registers: Mapping[int, bytes] = fields["pcrs"]
    _require(any(registers.get(0, b"")), "it is of an enclave in debug mode, whose PCR0 is zero")
    for number, expected in pcrs.items():
        _require(registers.get(number) == expected, f"PCR{number} is another")
    # 6.
    _require(fields.get("user_data") == bound_bytes(receipt), "its user data are not those of this receipt")
    measurements = {f"PCR{n}": value.hex() for n, value in sorted(registers.items()) if any(value)}
    return Attested("AWS Nitro Enclaves", measurements, fields["timestamp"] // 1000)


def _message(document: bytes) -> tuple[bytes, bytes, bytes]:
    import cbor2

    value = _cbor(document)
    if getattr(value, "tag", None) == _TAG:
        value = value.value
    _require(isinstance(value, (list, tuple)) and len(value) == 4, "it is no COSE_Sign1")
    protected, unprotected, payload, signature = value
    _require(protected == _ES384, "its algorithm is not ES384")
    _require(isinstance(unprotected, Mapping) and not unprotected, "it has unprotected headers")
    _require(isinstance(payload, bytes) and isinstance(signature, bytes), "it is no COSE_Sign1")
    _require(len(signature) == _SIGNATURE, "its signature has another size")
    plain = cbor2.dumps([protected, {}, payload, signature])
    # Nobody signs this outer form, so it has to be the only one.
    _require(document.removeprefix(bytes([0xC0 | _TAG])) == plain, "its form is another")
    return protected, payload, signature


def _fields(payload: bytes) -> dict[str, Any]:
    value = _cbor(payload)
    _require(isinstance(value, Mapping) and set(value) <= _FIELDS, "it has other fields")
    fields: dict[str, Any] = dict(value)
    _require(_FIELDS - set(_LIMITS) <= set(fields), "it lacks fields")
    _require(isinstance(fields["module_id"], str) and bool(fields["module_id"]), "it names no module")
    _require(fields["digest"] == "SHA384", "its digest is not SHA-384")
    _require(type(fields["timestamp"]) is int and 0 < fields["timestamp"] < 1 << 63, "it has no time")
    registers = fields["pcrs"]
    _require(isinstance(registers, Mapping) and 0 < len(registers) <= len(_REGISTERS), "it has no registers")
    for number, register in registers.items():
        fits = type(number) is int and number in _REGISTERS
        _require(fits and isinstance(register, bytes) and len(register) == 48, "a register is malformed")
    fields["pcrs"] = dict(registers)
    bundle = fields["cabundle"]
    _require(isinstance(bundle, (list, tuple)) and 0 < len(bundle) <= _MAX_BUNDLE, "it has no bundle")
    for certificate in (*bundle, fields["certificate"]):
        fits = isinstance(certificate, bytes) and 0 < len(certificate) <= _MAX_CERTIFICATE
        _require(fits, "a certificate has no size of one")
    for name, limit in _LIMITS.items():
        field = fields.get(name)
        _require(field is None or (isinstance(field, bytes) and len(field) <= limit), f"{name} is malformed")
    return fields


def _chain(x509: Any, trusted: Any, chain: Sequence[bytes], when: datetime) -> Any:
    """Return the last certificate of a chain from the trusted root on."""
    exceptions = import_module("cryptography.exceptions")
    serialization = import_module("cryptography.hazmat.primitives.serialization")
    _require(chain[0] == trusted.public_bytes(serialization.Encoding.DER), "its root is another")
    try:
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        for place, each in enumerate(certificates):
            issuer = certificates[max(0, place - 1)]
            each.verify_directly_issued_by(issuer)
            valid = each.not_valid_before_utc <= when <= each.not_valid_after_utc
            _require(valid, "a certificate is not valid at this time")
            below = len(certificates) - 2 - place
            _check_role(x509, each, below)
    except (
        ValueError,
        TypeError,
        exceptions.InvalidSignature,
        exceptions.UnsupportedAlgorithm,
        x509.ExtensionNotFound,
    ) as e:
        raise EnvelopeError(f"the attestation document's certificates do not hold: {e}") from e
    return certificates[-1]


def _check_role(x509: Any, certificate: Any, below: int) -> None:
    """Check that a certificate is an authority over so many others below it, or none if it is the last."""
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    if below < 0:
        _require(not constraints.ca and usage.digital_signature, "its certificate is not one that signs")
        return
    _require(constraints.ca and usage.key_cert_sign, "a certificate of its bundle may not issue any")
    depth = constraints.path_length
    _require(depth is None or depth >= below, "its chain is longer than an authority allows")


def _check_signature(certificate: Any, protected: bytes, payload: bytes, signature: bytes) -> None:
    import cbor2

    exceptions = import_module("cryptography.exceptions")
    ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    utils = import_module("cryptography.hazmat.primitives.asymmetric.utils")
    hashes = import_module("cryptography.hazmat.primitives.hashes")
    key = certificate.public_key()
    _require(
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1",
        "its key is none on P-384",
    )
    half = _SIGNATURE // 2
    r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    try:
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except exceptions.InvalidSignature:
        raise EnvelopeError("the attestation document does not hold: its signature is another's") from None
