"""Check tokens of Google's Confidential Space and of Microsoft's Azure Attestation, by PyJWT.

Both clouds check the machine's evidence themselves and sign what they found as a JSON Web Token. So a token
is the cloud's word. The keys are those that the cloud publishes, which the caller fetched from there.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.errors.extras import lacking
from proofcompute.networks.clouds.binding import (
    Attested,
    bound_bytes,
    bound_text,
    check_now,
    check_report_data,
)

__all__ = ["MAX_KEYS", "MAX_TOKEN", "check_azure", "check_google"]

MAX_TOKEN: Final = 1 << 16
MAX_KEYS: Final = 1 << 20
GOOGLE: Final = "https://confidentialcomputing.googleapis.com"
"""Who signs Google's tokens."""
_SKEW: Final = 60
"""Seconds by which clocks may differ."""
_COMPLIANT: Final = "azure-compliant-cvm"


def _library() -> Any:
    try:
        return import_module("jwt")
    except ModuleNotFoundError as e:
        raise lacking(e, "checking tokens") from e


def _key(keys: bytes, wanted: object) -> Any:
    """Return the public key with an identifier from a set of keys (RFC 7517)."""
    try:
        top = read_json(keys, MAX_KEYS)
    except (FormatError, LimitError) as e:
        raise InputError(f"the keys are no JSON as it is read here: {e}") from e
    listed = top.get("keys")
    if not isinstance(listed, list):
        raise InputError("the keys are no set of JSON Web Keys")
    for each in listed:
        if isinstance(each, dict) and each.get("kid") == wanted and each.get("kty") == "RSA":
            return _public(each)
    raise EnvelopeError("no published key has the token's identifier")


def _public(key: dict[str, Json]) -> Any:
    library = _library()
    try:
        if "n" in key:
            return library.PyJWK.from_dict(key, algorithm="RS256").key
        chain = key.get("x5c")
        if isinstance(chain, list) and chain and isinstance(chain[0], str):
            x509 = import_module("cryptography.x509")
            return x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True)).public_key()
    except (library.PyJWTError, ValueError) as e:
        raise InputError(f"a published key is malformed: {e}") from e
    raise InputError("a published key has neither n and e nor a certificate")


def _claims(token: str, keys: bytes, issuer: str, audience: str | None, now: int) -> dict[str, Any]:
    """Return the claims of a token whose signature, issuer, audience and times hold."""
    library = _library()
    check_now(now)
    if len(token) > MAX_TOKEN or not token.isascii():
        raise EnvelopeError(f"the token has more than {MAX_TOKEN} bytes, or others than ASCII")
    try:
        header = library.get_unverified_header(token)
        claims: dict[str, Any] = library.decode(
            token,
            _key(keys, header.get("kid")),
            algorithms=["RS256"],
            issuer=issuer,
            audience=audience,
            options={
                "require": ["iss", "exp", "iat", "nbf"],
                "verify_aud": audience is not None,
                # These are compared below, with the time that the caller gives.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except library.PyJWTError as e:
        raise EnvelopeError(f"the token does not hold: {e}") from e
    times = [claims[name] for name in ("nbf", "iat", "exp")]
    if not all(type(each) is int for each in times):
        raise EnvelopeError("the token's times are no numbers of seconds")
    if max(times[:2]) > now + _SKEW or times[2] <= now - _SKEW:
        raise EnvelopeError("the token does not hold at this time")
    return claims


def check_google(token: str, receipt: bytes, keys: bytes, *, audience: str, image: str, now: int) -> Attested:
    """Check that a receipt is bound into a token of Confidential Space, and return what it says besides.

    Args:
        token: as the launcher gave it, with ``eat_nonce``.
        receipt: as the node sent it.
        keys: the JSON Web Key Set that Google publishes.
        audience: for whom it must be.
        image: the digest of the container's image that must have run, ``sha256:`` and 64 digits.
        now: seconds since the Unix epoch.

    Raises EnvelopeError if it does not hold at this time, is of a debug image or another container, or has
    another receipt; InputError for keys or a time that are none.
    """
    claims = _claims(token, keys, GOOGLE, audience, now)
    nonces = claims.get("eat_nonce")
    if bound_text(receipt) not in (nonces if isinstance(nonces, list) else [nonces]):
        raise EnvelopeError("the token's nonces are not those of this receipt")
    if claims.get("swname") != "CONFIDENTIAL_SPACE" or claims.get("dbgstat") != "disabled-since-boot":
        raise EnvelopeError("the token is not of a production image of Confidential Space")
    found = _part(_part(claims, "submods"), "container").get("image_digest")
    if found != image:
        raise EnvelopeError(f"the container's image is {found}, not {image}")
    measurements = {"image_digest": str(found), "hwmodel": str(claims.get("hwmodel"))}
    return Attested("Google Confidential Space", measurements, claims["iat"])


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def check_azure(
    token: str, receipt: bytes, keys: bytes, *, issuer: str, measurement: str, now: int
) -> Attested:
    """Check that a receipt is bound into a token of Azure Attestation, and return what it says besides.

    Tokens of SGX, of TDX and of confidential virtual machines (SEV-SNP) are read. The receipt is bound by the
    report's data, or by runtime data of the form ``{"user-data": ...}`` whose hash the service found there.

    Args:
        token: as the service gave it.
        receipt: as the node sent it.
        keys: the certificates that the instance publishes, a JSON Web Key Set.
        issuer: the instance's address, ``https://...``; every customer may have one with a policy of its own.
        measurement: what must have run: MRENCLAVE, MRTD or the launch measurement, in hexadecimal digits.
        now: seconds since the Unix epoch.

    Raises EnvelopeError if it does not hold at this time, is of something that can be debugged or is not
    compliant, or has another measurement or receipt; InputError for keys or a time that are none.
    """
    claims = _claims(token, keys, issuer, None, now)
    kind = claims.get("x-ms-attestation-type")
    tee = _part(claims, "x-ms-isolation-tee")
    if kind == "sgx":
        _require(claims.get("x-ms-sgx-is-debuggable") is False, "it is of an enclave that can be debugged")
        found, data = claims.get("x-ms-sgx-mrenclave"), claims.get("x-ms-sgx-report-data")
        runtime = _part(claims, "x-ms-runtime")
    elif kind == "tdxvm":
        _require(claims.get("dbgstat") == "disabled", "it is of a trust domain that can be debugged")
        found, data = claims.get("tdx_mrtd"), claims.get("tdx_report_data")
        runtime = _part(claims, "attester_runtime_data") or _part(claims, "x-ms-runtime")
    elif tee.get("x-ms-attestation-type") == "sevsnpvm":
        _require(tee.get("x-ms-sevsnpvm-is-debuggable") is False, "it is of a machine that can be debugged")
        _require(tee.get("x-ms-compliance-status") == _COMPLIANT, f"it is not {_COMPLIANT}")
        found, data = tee.get("x-ms-sevsnpvm-launchmeasurement"), None
        runtime = _part(tee, "x-ms-runtime")
    else:
        raise EnvelopeError(f"tokens of the kind {kind!r} are not read")
    _require(isinstance(found, str) and found.lower() == measurement.lower(), f"what ran is {found}")
    _check_bound(runtime.get("user-data"), data, receipt)
    name = str(tee.get("x-ms-attestation-type") or kind)
    return Attested(f"Azure Attestation, {name}", {"measurement": str(found).lower()}, claims["iat"])


def _require(holds: bool, because: str) -> None:
    if not holds:
        raise EnvelopeError(f"the token does not suffice: {because}")


def _check_bound(user_data: Any, report_data: Any, receipt: bytes) -> None:
    """Check that the runtime's user data, or else the report's data, are those of a receipt."""
    if isinstance(user_data, str):
        # Virtual machines write them in capitals, and fill up 64 bytes.
        text = user_data.lower()
        if text in (bound_text(receipt), bound_text(receipt) + 64 * "0"):
            return
        raise EnvelopeError("the token's user data are not those of this receipt")
    try:
        raw = bytes.fromhex(report_data) if isinstance(report_data, str) else b""
    except ValueError:
        raw = b""
    check_report_data(raw, bound_bytes(receipt))
