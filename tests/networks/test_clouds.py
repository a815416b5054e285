"""Receipts in attestations: real quotes, documents and tokens of authorities made here, and refusals."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import saved
from proofcompute.errors import EnvelopeError, InputError, UnsupportedError
from proofcompute.networks.clouds.binding import bound_bytes, bound_text, check_report_data
from proofcompute.networks.clouds.nitro import check_nitro
from proofcompute.networks.clouds.quotes import check_quote, checked_quote
from proofcompute.networks.clouds.tokens import check_azure, check_google
from proofcompute.protocol.bundle import open_bundle

x509 = pytest.importorskip("cryptography.x509")
jwt = pytest.importorskip("jwt")
pytest.importorskip("dcap_qvl")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils  # noqa: E402

RECEIPT = b"a receipt"
NOW = 1_800_000_000
QUOTES = Path(__file__).resolve().parent / "data" / "quotes"
THEN = 1_750_500_000
"""A day in June 2025, when Intel said so about the machines of the quotes."""


def real(kind: str) -> tuple[bytes, str]:
    quote = (QUOTES / f"{kind}_quote").read_bytes()
    return quote, (QUOTES / f"{kind}_quote_collateral.json").read_text("utf-8")


PLACES = (20, 60, 150, 400, 700, 1200)
"""Bytes of a quote that are changed."""


# -- quotes -------------------------------------------------------------------------------------------------


def test_quotes_of_real_machines() -> None:
    found, data = checked_quote(*real("tdx"), THEN)
    assert (found.kind, found.status, found.advisories) == ("TDX", "UpToDate", ())
    assert len(found.measurements["mr_td"]) == 96
    hardening = "ConfigurationAndSWHardeningNeeded"
    enclave, said = checked_quote(*real("sgx"), THEN, {hardening})
    assert (enclave.kind, enclave.status) == ("SGX", hardening)
    assert "INTEL-SA-00615" in enclave.advisories
    # Somebody bound a greeting, as a receipt's hash is bound.
    check_report_data(said, b"Hello, world!")
    for other in (bound_bytes(RECEIPT), b"Hello, world"):
        with pytest.raises(EnvelopeError, match="not those"):
            check_report_data(said, other)
    assert data != said


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
def test_quotes_that_do_not_hold(kind: str) -> None:
    quote, collateral = real(kind)
    every = {"ConfigurationAndSWHardeningNeeded"}
    checked_quote(quote, collateral, THEN, every)
    for place in PLACES:
        changed = bytearray(quote)
        changed[place] ^= 1
        with pytest.raises(EnvelopeError):
            checked_quote(bytes(changed), collateral, THEN, every)
    other = real("tdx" if kind == "sgx" else "sgx")[1]
    tcb = json.loads(collateral)
    tcb["tcb_info"] = tcb["tcb_info"].replace("20", "21", 1)
    for wrong in (other, json.dumps(tcb), "{}", "no JSON", " " * (1 << 21)):
        with pytest.raises(EnvelopeError):
            checked_quote(quote, wrong, THEN, every)
    for time in (THEN - 10**9, THEN + 10**8):
        with pytest.raises(EnvelopeError):
            checked_quote(quote, collateral, time, every)
    for malformed in (b"", quote[:100], bytes(1 << 17)):
        with pytest.raises(EnvelopeError):
            checked_quote(malformed, collateral, THEN, every)
    with pytest.raises(EnvelopeError, match="not those of this receipt"):
        check_quote(quote, RECEIPT, collateral, THEN, every)


@pytest.mark.parametrize("now", [-1, 1 << 64])
def test_times_that_are_none(now: int, root: bytes) -> None:
    with pytest.raises(InputError, match="no time"):
        checked_quote(*real("tdx"), now)
    with pytest.raises(InputError, match="no time"):
        nitro(Document().data, root, now=now)
    with pytest.raises(InputError, match="no time"):
        google(token(GOOGLE), now=now)


def test_a_machine_whose_software_is_not_up_to_date_must_be_allowed() -> None:
    with pytest.raises(EnvelopeError, match="which is not allowed"):
        checked_quote(*real("sgx"), THEN)
    with pytest.raises(EnvelopeError, match="which is not allowed"):
        checked_quote(*real("sgx"), THEN, {"OutOfDate"})


# -- AWS Nitro Enclaves -------------------------------------------------------------------------------------


@cache
def p384(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


@dataclass(frozen=True)
class Made:
    """A certificate to make."""

    name: str
    issuer: str
    ca: bool = True
    depth: int | None = None
    start: timedelta = timedelta(hours=-1)
    end: timedelta = timedelta(hours=2)
    signs: bool | None = None
    key: Any = None

    @property
    def der(self) -> bytes:
        signs = self.ca if self.signs is None else self.signs
        at = datetime.fromtimestamp(NOW, UTC)
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
             "encipher_only", "decipher_only"), False
        )  # fmt: skip
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.issuer)]))
            .public_key((self.key or p384(self.name)).public_key())
            .serial_number(1)
            .not_valid_before(at + self.start)
            .not_valid_after(at + self.end)
            .add_extension(x509.BasicConstraints(self.ca, self.depth), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, **usage), critical=True
            )
            .sign(p384(self.issuer), hashes.SHA384())
        )
        return bytes(made.public_bytes(serialization.Encoding.DER))


CHAIN = (
    Made("root", "root"),
    Made("region", "root", depth=1),
    Made("zone", "region", depth=0),
    Made("enclave", "zone", ca=False),
)
PCRS = {0: b"\1" * 48, 1: b"\2" * 48, 2: bytes(48)}


@dataclass(frozen=True)
class Document:
    """An attestation document to make."""

    chain: tuple[Made, ...] = CHAIN
    fields: Mapping[str, Any] = field(default_factory=dict)
    protected: bytes = cbor2.dumps({1: -35})
    unprotected: Mapping[int, Any] = field(default_factory=dict)
    signer: str = "enclave"
    hash: Any = hashes.SHA384
    tag: bool = False

    @property
    def data(self) -> bytes:
        certificates = [each.der for each in self.chain]
        payload: dict[str, Any] = {
            "module_id": "i-0123-enc0123",
            "digest": "SHA384",
            "timestamp": NOW * 1000,
            "pcrs": PCRS,
            "certificate": certificates[-1],
            "cabundle": certificates[:-1],
            "public_key": None,
            "user_data": bound_bytes(RECEIPT),
            "nonce": None,
            **self.fields,
        }
        encoded = cbor2.dumps({name: value for name, value in payload.items() if value != "left out"})
        signed = cbor2.dumps(["Signature1", self.protected, b"", encoded])
        r, s = utils.decode_dss_signature(p384(self.signer).sign(signed, ec.ECDSA(self.hash())))
        value = [self.protected, dict(self.unprotected), encoded, r.to_bytes(48) + s.to_bytes(48)]
        return cbor2.dumps(cbor2.CBORTag(18, value) if self.tag else value)


def pem(made: Made) -> bytes:
    return bytes(x509.load_der_x509_certificate(made.der).public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def root() -> bytes:
    """The root's bytes, once: signatures have random parts."""
    return pem(CHAIN[0])


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch, root: bytes) -> None:
    """Every certificate is made once, so that the root in a bundle is the trusted one."""
    kept: dict[Made, bytes] = {
        CHAIN[0]: x509.load_pem_x509_certificate(root).public_bytes(serialization.Encoding.DER)
    }
    made = Made.der.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Made, "der", property(lambda self: kept.setdefault(self, made(self))))


def nitro(document: bytes, root: bytes, receipt: bytes = RECEIPT, **changes: Any) -> Any:
    asked: dict[str, Any] = {"pcrs": {0: PCRS[0]}, "now": NOW, **changes}
    return check_nitro(document, receipt, root, **asked)


@pytest.mark.usefixtures("chained")
@pytest.mark.parametrize("tag", [False, True])
def test_a_receipt_in_a_document_of_an_enclave(root: bytes, tag: bool) -> None:
    found = nitro(Document(tag=tag).data, root, pcrs=PCRS)
    assert (found.made, found.measurements) == (NOW, {"PCR0": "01" * 48, "PCR1": "02" * 48})
    with pytest.raises(EnvelopeError, match="not those of this receipt"):
        nitro(Document().data, root, b"another receipt")


def changed_chain(place: int, **changes: Any) -> Document:
    chain = list(CHAIN)
    chain[place] = replace(chain[place], **changes)
    return Document(chain=tuple(chain))


BAD: dict[str, tuple[str, Callable[[], Document]]] = {
    "another root": ("root is another", lambda: changed_chain(0, start=timedelta(hours=-2))),
    "no root": ("root is another", lambda: Document(chain=CHAIN[1:])),
    "a certificate that ended": ("not valid", lambda: changed_chain(3, end=timedelta(minutes=-1))),
    "a certificate that has not begun": ("not valid", lambda: changed_chain(2, start=timedelta(minutes=1))),
    "another issuer": ("certificates", lambda: changed_chain(2, issuer="root")),
    "an issuer's name only": (
        "certificates",
        lambda: Document(chain=(*CHAIN[:2], replace(CHAIN[2], key=p384("thief")), CHAIN[3])),
    ),
    "an authority that is none": ("may not issue", lambda: changed_chain(2, ca=False, depth=None)),
    "an authority that may not sign": ("may not issue", lambda: changed_chain(1, signs=False)),
    "a chain that is too long": ("longer than", lambda: changed_chain(1, depth=0)),
    "an enclave that is an authority": ("not one that signs", lambda: changed_chain(3, ca=True)),
    "another signer": ("another's", lambda: Document(signer="thief")),
    "another hash": ("another's", lambda: Document(hash=hashes.SHA256)),
    "a key on another curve": (
        "P-384",
        lambda: changed_chain(3, key=ec.derive_private_key(7, ec.SECP256R1())),
    ),
    "another algorithm": ("ES384", lambda: Document(protected=cbor2.dumps({1: -7}))),
    "a header that nobody signed": ("unprotected", lambda: Document(unprotected={4: b"key"})),
    "of the future": ("future", lambda: Document(fields={"timestamp": (NOW + 100) * 1000})),
    "another image": ("PCR0", lambda: Document(fields={"pcrs": {**PCRS, 0: b"\3" * 48}})),
    "in debug mode": ("debug", lambda: Document(fields={"pcrs": {0: bytes(48)}})),
    "no receipt": ("receipt", lambda: Document(fields={"user_data": None})),
    "another digest": ("SHA-384", lambda: Document(fields={"digest": "SHA256"})),
    "no time": ("no time", lambda: Document(fields={"timestamp": -1})),
    "no module": ("module", lambda: Document(fields={"module_id": ""})),
    "a register that is none": ("register", lambda: Document(fields={"pcrs": {0: b"short"}})),
    "a register beyond the last": ("register", lambda: Document(fields={"pcrs": {32: bytes(48)}})),
    "no registers": ("registers", lambda: Document(fields={"pcrs": {}})),
    "an endless bundle": ("bundle", lambda: Document(fields={"cabundle": [b"x"] * 9})),
    "a large certificate": ("certificate", lambda: Document(fields={"certificate": bytes(1025)})),
    "no certificate": ("certificates", lambda: Document(fields={"certificate": b"none"})),
    "a large nonce": ("nonce", lambda: Document(fields={"nonce": bytes(513)})),
    "another field": ("other fields", lambda: Document(fields={"more": 1})),
    "a field less": ("lacks", lambda: Document(fields={"digest": "left out"})),
}


@pytest.mark.usefixtures("chained")
@pytest.mark.parametrize("name", BAD)
def test_documents_that_do_not_hold(root: bytes, name: str) -> None:
    because, made = BAD[name]
    with pytest.raises(EnvelopeError, match=because):
        nitro(made().data, root)


@pytest.mark.usefixtures("chained")
def test_a_document_holds_at_its_time_only(root: bytes) -> None:
    for time in (NOW - 2 * 3600, NOW + 3 * 3600):
        with pytest.raises(EnvelopeError, match="not valid"):
            nitro(Document().data, root, now=time)
    with pytest.raises(InputError, match="register"):
        nitro(Document().data, root, pcrs={})
    with pytest.raises(InputError, match="register"):
        nitro(Document().data, root, pcrs={32: bytes(48)})
    with pytest.raises(InputError, match="PEM"):
        nitro(Document().data, b"no root")


@pytest.mark.usefixtures("chained")
def test_malformed_documents(root: bytes) -> None:
    whole = Document().data
    value = cbor2.loads(whole)
    for data in (
        b"",
        whole[:-1],
        bytes(1 << 16),
        cbor2.dumps(3),
        cbor2.dumps(value[:3]),
        cbor2.dumps([*value[:3], value[3][:-1]]),
        cbor2.dumps([value[0], {}, "text", value[3]]),
        cbor2.dumps([value[0], {}, cbor2.dumps([]), value[3]]),
        cbor2.dumps([value[0], {}, b"\xff", value[3]]),
        cbor2.dumps(cbor2.CBORTag(17, value)),
    ):
        with pytest.raises(EnvelopeError):
            nitro(data, root)


def reformed(
    *, after: bytes = b"", before: bytes = b"", repeated: bytes = b"", indefinite: bool = False
) -> bytes:
    """A document whose bytes are others though it says the same; what is signed is signed again."""
    protected, _, payload, _ = cbor2.loads(Document().data)
    fields = payload[1:]
    payload = (
        b"\xbf" + fields + b"\xff" if indefinite else bytes([payload[0] + bool(repeated)]) + fields + repeated
    )
    payload += before
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = utils.decode_dss_signature(p384("enclave").sign(signed, ec.ECDSA(hashes.SHA384())))
    return cbor2.dumps([protected, {}, payload, r.to_bytes(48) + s.to_bytes(48)]) + after


@pytest.mark.usefixtures("chained")
def test_a_document_has_one_form(root: bytes) -> None:
    nitro(reformed(), root)
    nitro(reformed(indefinite=True), root)  # what AWS signs it may write as it likes
    whole = Document().data
    for data, because in (
        (reformed(after=b"\0"), "bytes follow"),
        (reformed(before=b"\0"), "bytes follow"),
        (reformed(repeated=cbor2.dumps("nonce") + b"\xf6"), "no CBOR"),
        (b"\x9f" + whole[1:] + b"\xff", "form is another"),
        (b"\x98\x04" + whole[1:], "form is another"),
        (b"\xd8\x12" + whole, "form is another"),
        (b"\xd2\xd2" + whole, "no COSE_Sign1"),
        (whole.replace(b"\xa0", b"\xbf\xff", 1), "form is another"),
    ):
        with pytest.raises(EnvelopeError, match=because):
            nitro(data, root)


@pytest.mark.usefixtures("chained")
def test_a_root_with_a_key_of_a_kind_that_nobody_knows() -> None:
    curve = bytes.fromhex("06052b81040022")
    der = CHAIN[0].der
    assert der.count(curve) == 1
    der = der.replace(curve, curve[:-1] + b"\x7f")
    unknown = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    whole = cbor2.loads(cbor2.loads(Document().data)[2])
    with pytest.raises(EnvelopeError, match="certificates do not hold"):
        nitro(Document(fields={"cabundle": [der, *whole["cabundle"][1:]]}).data, unknown)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_document(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        nitro(data, pem(CHAIN[0]))


# -- tokens -------------------------------------------------------------------------------------------------


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def jwks(*, certificate: bool = False) -> bytes:
    """The keys that a cloud publishes: as numbers, or as certificates."""
    public = rsa_key("cloud").public_key()
    if not certificate:
        value = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
        return json.dumps({"keys": [{**value, "kid": "one", "alg": "RS256"}]}).encode()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cloud")])
    at = datetime.fromtimestamp(NOW, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(public)
    builder = builder.serial_number(1).not_valid_before(at).not_valid_after(at + timedelta(days=1))
    der = builder.sign(rsa_key("cloud"), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return json.dumps(
        {"keys": [{"kty": "RSA", "kid": "one", "x5c": [base64.b64encode(der).decode()]}]}
    ).encode()


IMAGE = "sha256:" + 64 * "a"
TIMES = {"iat": NOW, "nbf": NOW, "exp": NOW + 3600}
GOOGLE = {
    **TIMES,
    "iss": "https://confidentialcomputing.googleapis.com",
    "aud": "auditors",
    "eat_nonce": bound_text(RECEIPT),
    "swname": "CONFIDENTIAL_SPACE",
    "dbgstat": "disabled-since-boot",
    "hwmodel": "GCP_INTEL_TDX",
    "submods": {"container": {"image_digest": IMAGE}},
}
ISSUER = "https://example.attest.azure.net"
MEASURED = 96 * "b"
COMMON = {**TIMES, "iss": ISSUER}
REPORT_DATA = bound_text(RECEIPT) + 64 * "0"
SGX = {
    **COMMON,
    "x-ms-attestation-type": "sgx",
    "x-ms-sgx-is-debuggable": False,
    "x-ms-sgx-mrenclave": MEASURED,
    "x-ms-sgx-report-data": REPORT_DATA,
}
TDX = {
    **COMMON,
    "x-ms-attestation-type": "tdxvm",
    "dbgstat": "disabled",
    "tdx_mrtd": MEASURED,
    "tdx_report_data": REPORT_DATA,
}
TEE: dict[str, Any] = {
    "x-ms-attestation-type": "sevsnpvm",
    "x-ms-compliance-status": "azure-compliant-cvm",
    "x-ms-sevsnpvm-is-debuggable": False,
    "x-ms-sevsnpvm-launchmeasurement": MEASURED,
    "x-ms-runtime": {"user-data": REPORT_DATA.upper()},
}
SNP = {**COMMON, "x-ms-isolation-tee": TEE}


def token(
    claims: Mapping[str, Any], *, key: str = "cloud", kid: str | None = "one", algorithm: str = "RS256"
) -> str:
    secret: Any = 64 * "x" if algorithm == "HS256" else None if algorithm == "none" else rsa_key(key)
    return str(jwt.encode(dict(claims), secret, algorithm=algorithm, headers={"kid": kid} if kid else {}))


def google(text: str, receipt: bytes = RECEIPT, **changes: Any) -> Any:
    asked: dict[str, Any] = {"audience": "auditors", "image": IMAGE, "now": NOW + 10, **changes}
    return check_google(text, receipt, jwks(), **asked)


def azure(text: str, receipt: bytes = RECEIPT, **changes: Any) -> Any:
    asked: dict[str, Any] = {"issuer": ISSUER, "measurement": MEASURED, "now": NOW + 10, **changes}
    return check_azure(text, receipt, jwks(certificate=True), **asked)


def test_a_receipt_in_a_token_of_google() -> None:
    assert google(token(GOOGLE)).measurements == {"image_digest": IMAGE, "hwmodel": "GCP_INTEL_TDX"}
    google(token({**GOOGLE, "eat_nonce": ["something else", bound_text(RECEIPT)]}))
    with pytest.raises(EnvelopeError, match="nonces"):
        google(token(GOOGLE), b"another receipt")


def mixed(one: str, other: str) -> str:
    """The claims of another token under a signature."""
    header, _, signature = one.split(".")
    return f"{header}.{other.split('.')[1]}.{signature}"


BAD_GOOGLE: dict[str, Callable[[], str]] = {
    "another nonce": lambda: token({**GOOGLE, "eat_nonce": 64 * "0"}),
    "no nonce": lambda: token({n: v for n, v in GOOGLE.items() if n != "eat_nonce"}),
    "another issuer": lambda: token({**GOOGLE, "iss": "https://accounts.google.com"}),
    "another audience": lambda: token({**GOOGLE, "aud": "somebody"}),
    "a debug image": lambda: token({**GOOGLE, "dbgstat": "enabled"}),
    "other software": lambda: token({**GOOGLE, "swname": "GCE"}),
    "another container": lambda: token({**GOOGLE, "submods": {"container": {"image_digest": "sha256:b"}}}),
    "no container": lambda: token({**GOOGLE, "submods": []}),
    "too late": lambda: token({**GOOGLE, "exp": NOW - 60}),
    "too early": lambda: token({**GOOGLE, "nbf": NOW + 100}),
    "made in the future": lambda: token({**GOOGLE, "iat": NOW + 100}),
    "no end": lambda: token({n: v for n, v in GOOGLE.items() if n != "exp"}),
    "times that are none": lambda: token({**GOOGLE, "nbf": True}),
    "another key": lambda: token(GOOGLE, key="thief"),
    "an unknown key": lambda: token(GOOGLE, kid="two"),
    "no key": lambda: token(GOOGLE, kid=None),
    "another algorithm": lambda: token(GOOGLE, algorithm="RS512"),
    "a shared secret": lambda: token(GOOGLE, algorithm="HS256"),
    "no signature": lambda: token(GOOGLE, algorithm="none"),
    "changed claims": lambda: mixed(token(GOOGLE), token(SNP)),
    "no token": lambda: "no token",
    "a long text": lambda: "x" * (1 << 17),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_GOOGLE)
def test_tokens_of_google_that_do_not_hold(name: str) -> None:
    with pytest.raises(EnvelopeError):
        google(BAD_GOOGLE[name]())


@pytest.mark.parametrize("claims", [SGX, TDX, SNP], ids=["sgx", "tdx", "snp"])
def test_a_receipt_in_a_token_of_azure(claims: dict[str, Any]) -> None:
    assert azure(token(claims)).measurements == {"measurement": MEASURED}
    azure(token(claims), measurement=MEASURED.upper())
    for wrong in (
        {"receipt": b"another"},
        {"measurement": 96 * "c"},
        {"issuer": "https://x.attest.azure.net"},
    ):
        with pytest.raises(EnvelopeError):
            azure(token(claims), **wrong)
    with pytest.raises(EnvelopeError):
        azure(token({**claims, "exp": NOW - 60}))


def test_runtime_data_stand_for_the_reports() -> None:
    """The service compared their hash with the report's data, so what these are is another matter."""
    for claims in (SGX, TDX):
        name = "x-ms-sgx-report-data" if claims is SGX else "tdx_report_data"
        other = {**claims, name: 128 * "7"}
        with pytest.raises(EnvelopeError, match="report's data"):
            azure(token(other))
        azure(token({**other, "x-ms-runtime": {"user-data": bound_text(RECEIPT)}}))
        with pytest.raises(EnvelopeError, match="user data"):
            azure(token({**claims, "x-ms-runtime": {"user-data": 64 * "0"}}))
        with pytest.raises(EnvelopeError):
            azure(token({**claims, name: "no digits"}))


def tee(**changes: Any) -> dict[str, Any]:
    return {**SNP, "x-ms-isolation-tee": {**TEE, **changes}}


BAD_AZURE: dict[str, dict[str, Any]] = {
    "an enclave to debug": {**SGX, "x-ms-sgx-is-debuggable": True},
    "an enclave that does not say": {n: v for n, v in SGX.items() if n != "x-ms-sgx-is-debuggable"},
    "a domain to debug": {**TDX, "dbgstat": "enabled"},
    "a machine to debug": tee(**{"x-ms-sevsnpvm-is-debuggable": True}),
    "not compliant": tee(**{"x-ms-compliance-status": "other"}),
    "no user data": tee(**{"x-ms-runtime": {}}),
    "no measurement": {**TDX, "tdx_mrtd": None},
    "another kind": {**COMMON, "x-ms-attestation-type": "tpm"},
}


@pytest.mark.parametrize("name", BAD_AZURE)
def test_tokens_of_azure_that_do_not_suffice(name: str) -> None:
    with pytest.raises(EnvelopeError):
        azure(token(BAD_AZURE[name]))


@pytest.mark.parametrize(
    "keys",
    [b"{", b"{}", b'{"keys": 3}', b'{"keys": [{"kty": "RSA", "kid": "one"}]}',
     b'{"keys": [{"kty": "RSA", "kid": "one", "x5c": ["AAAA"]}]}',
     b'{"keys": [{"kty": "RSA", "kid": "one", "n": "", "e": ""}]}'],
)  # fmt: skip
def test_keys_that_are_none(keys: bytes) -> None:
    with pytest.raises(InputError):
        check_google(token(GOOGLE), RECEIPT, keys, audience="auditors", image=IMAGE, now=NOW)


@pytest.mark.parametrize("package", ["jwt", "cryptography.x509", "dcap_qvl"])
def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    text = token(GOOGLE)
    uses: dict[str, Callable[[], object]] = {
        "jwt": lambda: google(text),
        "dcap_qvl": lambda: checked_quote(*real("tdx"), THEN),
        "cryptography.x509": lambda: nitro(b"", b""),
    }
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedError, match=r"proofcompute\[clouds\]"):
        uses[package]()


# -- commands -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("chained")
def test_receipts_by_commands(tmp_path: Path, root: bytes) -> None:
    with open_bundle(saved(tmp_path, "accepted")) as bundle:
        receipt = bundle.evidence.receipt
    paths = {name: tmp_path / name for name in ("receipt", "document", "root", "google", "azure", "keys")}
    paths["receipt"].write_bytes(receipt)
    paths["document"].write_bytes(Document(fields={"user_data": bound_bytes(receipt)}).data)
    paths["root"].write_bytes(root)
    paths["google"].write_text(token({**GOOGLE, "eat_nonce": bound_text(receipt)}))
    paths["azure"].write_text(token({**TDX, "tdx_report_data": bound_text(receipt) + 64 * "0"}))
    paths["keys"].write_bytes(jwks())
    words = ("network", "clouds")
    forms = done(*words, "bind", paths["receipt"])["forms"]
    assert forms["AWS Nitro Enclaves: user_data"] == bound_text(receipt)
    pcr = ("--pcr", "0=" + "01" * 48)
    at = ("--at", NOW + 10)
    asked: tuple[object, ...] = (
        *words,
        "nitro",
        paths["document"],
        paths["receipt"],
        "--root",
        paths["root"],
        *at,
    )
    assert done(*asked, *pcr)["bound"] is True
    assert call(*asked, "--pcr", "0=" + "03" * 48).status == 1
    for wrong in ("0", "x=00", "0=00", "0=zz"):
        refused(*asked, "--pcr", wrong)
    keys = ("--keys", paths["keys"], *at)
    asked = (*words, "google", paths["google"], paths["receipt"], *keys, "--image", IMAGE)
    assert done(*asked, "--audience", "auditors")["measurements"]["image_digest"] == IMAGE
    assert call(*asked, "--audience", "others").status == 1
    asked = (*words, "azure", paths["azure"], paths["receipt"], *keys, "--issuer", ISSUER)
    assert done(*asked, "--measurement", MEASURED)["kind"] == "Azure Attestation, tdxvm"
    assert call(*asked, "--measurement", 96 * "0").status == 1
    quote = (QUOTES / "tdx_quote", paths["receipt"], "--collateral", QUOTES / "tdx_quote_collateral.json")
    said = call(*words, "quote", *quote, "--at", THEN)
    assert (said.status, "not those of this receipt" in said.err) == (1, True)
    paths["google"].write_bytes(b"\xff")
    assert (
        call(
            *words, "google", paths["google"], paths["receipt"], *keys, "--image", IMAGE, "--audience", "a"
        ).status
        == 1
    )


# -- mutants -------------------------------------------------------------------------------------------------


def nitro_edit(condition: str) -> Edit:
    """Without one demand of documents."""
    return Edit("networks.clouds.nitro", f"_require({condition},", "_require(True,")


def token_edit(old: str, new: str = "    if False:") -> Edit:
    return Edit("networks.clouds.tokens", old, new)


def document(name: str) -> Callable[[bytes], object]:
    return lambda root: nitro(BAD[name][1]().data, root)


def of_google(name: str) -> Callable[[bytes], object]:
    return lambda _: google(BAD_GOOGLE[name]())


def of_azure(name: str) -> Callable[[bytes], object]:
    return lambda _: azure(token(BAD_AZURE[name]))


MUTANTS: dict[str, tuple[Edit, Callable[[bytes], object]]] = {
    "the root": (
        nitro_edit("chain[0] == trusted.public_bytes(serialization.Encoding.DER)"),
        document("another root"),
    ),
    "what follows": (
        nitro_edit("stream.tell() == len(data)"),
        lambda root: nitro(reformed(before=b"\0"), root),
    ),
    "the one form": (
        nitro_edit("document.removeprefix(bytes([0xC0 | _TAG])) == plain"),
        lambda root: nitro(b"\x98\x04" + Document().data[1:], root),
    ),
    "fields that are there twice": (
        Edit("networks.clouds.nitro", "allow_duplicate_keys=False", "allow_duplicate_keys=True"),
        lambda root: nitro(reformed(repeated=cbor2.dumps("nonce") + b"\xf6"), root),
    ),
    "validity": (nitro_edit("valid"), document("a certificate that ended")),
    "authorities": (
        nitro_edit("constraints.ca and usage.key_cert_sign"),
        document("an authority that may not sign"),
    ),
    "depths": (nitro_edit("depth is None or depth >= below"), document("a chain that is too long")),
    "issuers": (
        Edit(
            "networks.clouds.nitro", "            each.verify_directly_issued_by(issuer)", "            pass"
        ),
        document("an issuer's name only"),
    ),
    "the last certificate": (
        nitro_edit("not constraints.ca and usage.digital_signature"),
        document("an enclave that is an authority"),
    ),
    "signatures of documents": (
        Edit(
            "networks.clouds.nitro",
            "    except exceptions.InvalidSignature:\n        raise",
            "    except exceptions.InvalidSignature:\n        return  #",
        ),
        document("another signer"),
    ),
    "the future": (nitro_edit('fields["timestamp"] <= now * 1000 + _SKEW'), document("of the future")),
    "debug mode": (
        nitro_edit('any(registers.get(0, b""))'),
        lambda root: nitro(Document(fields={"pcrs": {0: bytes(48)}}).data, root, pcrs={0: bytes(48)}),
    ),
    "registers": (nitro_edit("registers.get(number) == expected"), document("another image")),
    "receipts in documents": (
        nitro_edit('fields.get("user_data") == bound_bytes(receipt)'),
        document("no receipt"),
    ),
    "receipts in tokens of Google": (
        token_edit("    if bound_text(receipt) not in (nonces if isinstance(nonces, list) else [nonces]):"),
        of_google("another nonce"),
    ),
    "images": (token_edit("    if found != image:"), of_google("another container")),
    "the end": (
        token_edit("    if max(times[:2]) > now + _SKEW or times[2] <= now - _SKEW:"),
        of_google("too late"),
    ),
    "algorithms": (
        token_edit('algorithms=["RS256"],', 'algorithms=["RS256", "RS512"],'),
        of_google("another algorithm"),
    ),
    "demands of Azure": (token_edit("    if not holds:"), of_azure("an enclave to debug")),
    "receipts in reports": (
        Edit("networks.clouds.binding", '    if found != bound.ljust(REPORT_DATA, b"\\0"):', "    if False:"),
        lambda _: azure(token({**SGX, "x-ms-sgx-report-data": 128 * "7"})),
    ),
    "states of machines": (
        Edit(
            "networks.clouds.quotes",
            "    if verified.status != UP_TO_DATE and verified.status not in allowed:",
            "    if False:",
        ),
        lambda _: checked_quote(*real("sgx"), THEN),
    ),
}


@pytest.mark.usefixtures("chained")
@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    root: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, act = MUTANTS[name]
    with pytest.raises(EnvelopeError):
        act(root)
    with monkeypatch.context() as patch:
        apply(patch, [change])
        act(root)
