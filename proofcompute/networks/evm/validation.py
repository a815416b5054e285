"""Write and read the calls of ERC-8004 validation registries.

An agent's owner asks a validator by ``validationRequest``, and the validator answers by
``validationResponse``, a number from 0 to 100. Here the payload of a request is a node's receipt, and that of
a response is a bundle of evidence; hashes are Keccak-256 of these bytes. The answer is 100 if the auditor
accepted, and 0 for a contradiction. Silence and refusal are no word about the work, so there is no response.

The tag is text in the current registries (erc-8004-contracts 2.0) and was ``bytes32`` in older ones, under
another selector.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from proofcompute.errors import EnvelopeError, InputError
from proofcompute.errors.extras import lacking
from proofcompute.limits import MIB
from proofcompute.networks.evm.typed import address_of, keccak
from proofcompute.networks.work import Work
from proofcompute.protocol.bundle import open_bundle

__all__ = ["SELECTOR", "TAG", "Call", "abi", "check_response", "request_call", "response_call"]

TAG: Final = "proofcompute.verdict"
"""The tag of every response."""
RESPONSES: Final = {"accepted": 100, "contradicted": 0}
MAX_URI: Final = 2048
"""The most bytes of an address of a payload."""
MAX_CALL: Final = 8192
"""The most bytes of a call that is read."""
_REQUEST: Final = ("validationRequest", ("address", "uint256", "string", "bytes32"))
SELECTOR: Final = 4
"""Bytes of a call that say which function it is."""


@dataclass(frozen=True)
class Call:
    """A call of a registry."""

    signature: str
    """The function with the types of its arguments."""
    data: bytes
    """Selector and arguments: the input of a transaction."""


def _response(old_tag: bool) -> tuple[str, tuple[str, ...]]:
    kinds = ("bytes32", "uint8", "string", "bytes32", "bytes32" if old_tag else "string")
    return "validationResponse", kinds


def abi() -> Any:
    """Return the functions that encode and decode arguments."""
    try:
        return import_module("eth_abi.abi")
    except ModuleNotFoundError as e:
        raise lacking(e, "calls of registries") from e


def _call(function: tuple[str, tuple[str, ...]], *arguments: object) -> Call:
    name, kinds = function
    signature = f"{name}({','.join(kinds)})"
    return Call(signature, keccak(signature.encode())[:SELECTOR] + bytes(abi().encode(kinds, arguments)))


def _uri(text: str) -> str:
    # A lone surrogate has no bytes, and is not printable.
    if not text or not text.isprintable() or len(text.encode()) > MAX_URI or ":" not in text:
        raise InputError(f"an address of a payload is a URI of at most {MAX_URI} bytes")
    return text


def receipt_hash(evidence: Path) -> bytes:
    """Return Keccak-256 of the receipt in a bundle: the hash of a request."""
    with open_bundle(evidence) as bundle:
        return keccak(bundle.evidence.receipt)


def file_hash(path: Path) -> bytes:
    """Return Keccak-256 of a file: the hash of a response."""
    from Crypto.Hash import keccak as algorithm

    state = algorithm.new(digest_bits=256)
    with path.open("rb") as stream:
        while piece := stream.read(MIB):
            state.update(piece)
    return bytes(state.digest())


def request_call(validator: str, agent: int, uri: str, receipt: bytes) -> Call:
    """Return the call by which an agent's owner asks for the validation of a receipt.

    Args:
        validator: the address of the validator.
        agent: the agent's number in the identity registry.
        uri: where the receipt is.
        receipt: the receipt as the node sent it.

    Raises InputError for a value that the registry cannot hold.
    """
    if not 0 <= agent < 1 << 256:
        raise InputError(f"{agent} is no number of an agent")
    if not any(address_of(validator)):
        raise InputError("the validator's address is zero, which the registry refuses")
    return _call(_REQUEST, "0x" + address_of(validator).hex(), agent, _uri(uri), keccak(receipt))


def response_call(evidence: Path, work: Work, uri: str, *, old_tag: bool = False) -> Call:
    """Return the call by which a validator answers with a bundle of evidence at ``uri``.

    Raises InputError if the auditor came to no word about the work.
    """
    response = RESPONSES.get(work.outcome.kind)
    if response is None:
        raise InputError(f"{work.outcome.kind} is no word about the work, so there is nothing to respond")
    tag: object = TAG.encode().ljust(32, b"\0") if old_tag else TAG
    arguments = (receipt_hash(evidence), response, _uri(uri), file_hash(evidence), tag)
    return _call(_response(old_tag), *arguments)


def check_response(data: bytes, evidence: Path, work: Work) -> str:
    """Check that a response's call says what a bundle says, and return where the call says that it is.

    Raises EnvelopeError if it is another call, not canonical, or says something else.
    """
    codec = abi()
    from eth_abi.exceptions import DecodingError

    if len(data) > MAX_CALL:
        raise EnvelopeError(f"the call has {len(data)} bytes, more than {MAX_CALL}")
    for old_tag in (False, True):
        name, kinds = _response(old_tag)
        if data[:SELECTOR] == keccak(f"{name}({','.join(kinds)})".encode())[:SELECTOR]:
            break
    else:
        raise EnvelopeError("the call is no response of a validator")
    try:
        uri = codec.decode(kinds, data[SELECTOR:])[2]
    except (DecodingError, UnicodeDecodeError, OverflowError) as e:
        raise EnvelopeError(f"the arguments of the call are malformed: {e}") from e
    try:
        expected = response_call(evidence, work, str(uri), old_tag=old_tag)
    except InputError as e:
        raise EnvelopeError(f"there can be no such response: {e}") from e
    if data != expected.data:
        raise EnvelopeError("the call responds something else than the evidence says")
    return str(uri)
