"""Put verified work on Solana: rows with one Merkle root, a memo, and checks of receipts' signatures.

Grass keeps proofs of sessions as Merkle roots on chain. Its rows are not published, so those here are our
own: one line of JSON for each bundle of evidence, whose hash is a leaf of a tree (:mod:`.log_tree`). A
memo says root and number of rows; the memo program notes who signed it.

The chain checks Ed25519 signatures itself: an instruction of the program ``Ed25519SigVerify111...`` names
keys, signatures and messages inside its own data, and the transaction fails unless all hold. A receipt's
signature is one over 32 bytes, so a transaction, or a program that looks at the transaction's instructions,
knows that the node signed it. It says nothing about whether the answer is right: that is the verdict's part.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from proofcompute.commitments.log_tree import MAX_LEAVES, inclusion, leaf_hash, root_of, verify_inclusion
from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.errors.extras import lacking
from proofcompute.networks.adapter import Description, Document
from proofcompute.networks.work import Work
from proofcompute.protocol.messages import Receipt
from proofcompute.protocol.messages.evidence import OUTCOMES

__all__ = [
    "ADAPTER",
    "Instruction",
    "Solana",
    "check_proof",
    "check_rows",
    "memo",
    "proof",
    "receipts",
    "rows",
    "unsigned_message",
]

MEMO: Final = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
"""The program of memos, version 2."""
ED25519: Final = "Ed25519SigVerify111111111111111111111111111"
"""The program that checks signatures."""
KIND: Final = "proofcompute:rows:v1"
MAX_ROW: Final = 2048
MAX_ROWS: Final = 1 << 20
MAX_FILE: Final = MAX_ROWS * 1024
MAX_PROOF: Final = 1 << 14
MAX_TRANSACTION: Final = 1232
"""Bytes of a transaction, at most (Solana's limit for a packet)."""
_HERE: Final = 0xFFFF
"""The index that stands for the instruction itself."""
_FIELDS: Final = (
    "auditor",
    "evidence",
    "made",
    "model",
    "node",
    "outcome",
    "receipt",
    "request",
    "rows",
    "step",
)
_DIGESTS: Final = ("auditor", "evidence", "model", "node", "receipt", "request")
_OFFSETS: Final = struct.Struct("<7H")


@dataclass(frozen=True)
class Instruction:
    """An instruction of a transaction."""

    program: str
    """The program's address."""
    data: bytes
    signers: tuple[str, ...] = ()
    """Addresses that sign the transaction for it."""


def _row(work: Work) -> bytes:
    value = {
        "auditor": work.auditor.hex(),
        "evidence": work.bundle_sha256.hex(),
        "made": str(work.made),
        "model": work.model_id.hex(),
        "node": work.node.hex(),
        "outcome": work.outcome.kind,
        "receipt": work.receipt_digest.hex(),
        "request": work.request_digest.hex(),
        "rows": str(work.rows),
        "step": str(work.outcome.step),
    }
    return json.dumps(value, separators=(",", ":")).encode()


def rows(works: Sequence[Work]) -> Document:
    """Return the rows of what auditors found, a line each, in the order given.

    Raises InputError if there are none, too many, or two about one bundle.
    """
    if not 0 < len(works) <= MAX_ROWS:
        raise InputError(f"there are 1 to {MAX_ROWS} rows, not {len(works)}")
    if len({work.bundle_sha256 for work in works}) != len(works):
        raise InputError("two rows are about one bundle of evidence")
    data = b"".join(_row(work) + b"\n" for work in works)
    return Document("application/jsonl", data, ".rows.jsonl", "ours")


def check_rows(data: bytes) -> list[bytes]:
    """Return the leaves of rows, of whoever wrote them.

    Raises EnvelopeError if a row is not in its one form, or two are about one bundle.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"" or not 0 < len(lines) <= MAX_ROWS:
        raise EnvelopeError(f"there are 1 to {MAX_ROWS} rows, each with an end of its line")
    seen: set[Json] = set()
    for number, line in enumerate(lines):
        evidence = _checked(line, number)["evidence"]
        if evidence in seen:
            raise EnvelopeError(f"row {number} is about the same bundle as another")
        seen.add(evidence)
    return [leaf_hash(line) for line in lines]


def _checked(line: bytes, number: int) -> dict[str, Json]:
    """Return the fields of a row."""
    try:
        value = read_json(line, MAX_ROW)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"row {number} is no JSON as it is read here: {e}") from e
    texts = all(isinstance(each, str) for each in value.values())
    if tuple(value) != _FIELDS or not texts or json.dumps(value, separators=(",", ":")).encode() != line:
        raise EnvelopeError(f"row {number} is not in the form of rows")
    for name in _DIGESTS:
        if not _is_digest(value[name]):
            raise EnvelopeError(f"row {number} has no digest for {name}")
    for name in ("made", "rows", "step"):
        text = str(value[name])
        if not text.isascii() or not text.isdigit() or str(int(text[:20])) != text:
            raise EnvelopeError(f"row {number} has no number for {name}")
    if value["outcome"] not in OUTCOMES:
        raise EnvelopeError(f"row {number} has no outcome of auditors")
    return value


def _is_digest(value: Json) -> bool:
    try:
        return isinstance(value, str) and len(value) == 64 and bytes.fromhex(value).hex() == value
    except ValueError:
        return False


def memo(data: bytes, payer: str | None = None) -> Instruction:
    """Return the instruction that notes the root of rows, which ``payer`` signs. Raises as check_rows."""
    leaves = check_rows(data)
    text = f"{KIND}:{root_of(leaves).hex()}:{len(leaves)}"
    return Instruction(MEMO, text.encode(), () if payer is None else (payer,))


def _memo_of(text: str) -> tuple[bytes, int]:
    kind, _, rest = text.rpartition(f"{KIND}:")
    digits, _, size = rest.partition(":")
    if kind or not _is_digest(digits) or not size.isascii() or not size.isdigit() or len(size) > 9:
        raise EnvelopeError("the memo is none of rows")
    if str(int(size)) != size or not 0 < int(size) <= MAX_LEAVES:
        raise EnvelopeError("the memo is none of rows")
    return bytes.fromhex(digits), int(size)


def check_memo(data: bytes, text: str) -> None:
    """Check that a memo is that of rows. Raises EnvelopeError if it is not."""
    leaves = check_rows(data)
    if _memo_of(text) != (root_of(leaves), len(leaves)):
        raise EnvelopeError("the memo is that of other rows")


def proof(data: bytes, index: int) -> Document:
    """Return what shows that a row is under the memo of all, without the others.

    Raises EnvelopeError as check_rows, InputError for a row that is not there.
    """
    leaves = check_rows(data)
    path = inclusion(leaves, index)
    row = data.split(b"\n")[index].decode()
    value = {"kind": f"{KIND}:proof", "row": row, "index": index, "path": [each.hex() for each in path]}
    return Document("application/json", json.dumps(value, indent=1).encode() + b"\n", ".proof.json", "ours")


def check_proof(data: bytes, text: str) -> Mapping[str, Json]:
    """Return the fields of the row that a proof shows to be under a memo.

    Raises EnvelopeError if it does not.
    """
    root, size = _memo_of(text)
    try:
        top = read_json(data, MAX_PROOF)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the proof is no JSON as it is read here: {e}") from e
    if set(top) != {"kind", "row", "index", "path"} or top["kind"] != f"{KIND}:proof":
        raise EnvelopeError("a proof has kind, row, index and path")
    row, index, path = top["row"], top["index"], top["path"]
    if not isinstance(row, str) or type(index) is not int or not isinstance(path, list):
        raise EnvelopeError("a proof has a text, a number and a list")
    if len(path) > 64 or not all(_is_digest(each) for each in path):
        raise EnvelopeError("a path is a list of at most 64 digests")
    beside = [bytes.fromhex(str(each)) for each in path]
    if not verify_inclusion(index, size, leaf_hash(row.encode()), beside, root):
        raise EnvelopeError("the path does not lead from the row to the memo's root")
    return _checked(row.encode(), index)


def receipts(known: Sequence[bytes]) -> Instruction:
    """Return the instruction by which the chain checks the signatures of receipts.

    Args:
        known: encoded receipts, whose node keys, signatures and signed digests go into the data; seven fit
            into a transaction with nothing else.

    Raises InputError if there are none or too many, FormatError or LimitError for one that does not decode.
    """
    room = (MAX_TRANSACTION - 2) // (_OFFSETS.size + 128)
    if not 0 < len(known) <= room:
        raise InputError(f"an instruction has 1 to {room} receipts, not {len(known)}")
    start, offsets, bodies = 2 + _OFFSETS.size * len(known), b"", b""
    for data in known:
        receipt = Receipt.decode(data)
        key = start + len(bodies)
        signature, message = key + 32, key + 96
        offsets += _OFFSETS.pack(signature, _HERE, key, _HERE, message, 32, _HERE)
        bodies += receipt.node + receipt.signature + receipt.signed_digest
    return Instruction(ED25519, bytes([len(known), 0]) + offsets + bodies)


def unsigned_message(payer: str, blockhash: str, instructions: Sequence[Instruction]) -> bytes:
    """Return the message of a transaction, for a wallet to sign.

    Args:
        payer: the address that pays.
        blockhash: a recent one.
        instructions: in their order.

    Raises InputError for an address or hash that is none, or if the transaction would be too large.
    """
    try:
        solders: Any = import_module("solders")
    except ModuleNotFoundError as e:
        raise lacking(e, "messages of transactions") from e
    pubkey = solders.pubkey.Pubkey.from_string
    try:
        made = [
            solders.instruction.Instruction(
                pubkey(each.program),
                each.data,
                [
                    solders.instruction.AccountMeta(pubkey(s), is_signer=True, is_writable=False)
                    for s in each.signers
                ],
            )
            for each in instructions
        ]
        recent = solders.hash.Hash.from_string(blockhash)
        message = solders.message.Message.new_with_blockhash(made, pubkey(payer), recent)
    except (ValueError, solders.hash.ParseHashError) as e:
        raise InputError(f"an address or a hash is none: {e}") from e
    data = bytes(message)
    if (size := len(data) + 1 + 64 * message.header.num_required_signatures) > MAX_TRANSACTION:
        raise InputError(f"the transaction would have {size} bytes, more than {MAX_TRANSACTION}")
    return data


@dataclass(frozen=True)
class Solana:
    """Notes verified work on chain, as Grass does with sessions."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="solana",
            title="Solana, and Grass on it",
            adopter="networks that keep roots of what was done on chain, and programs that act on receipts",
            offers=(
                "rows of verdicts with one root, a memo, and proofs of single rows; the rows are our own",
                "the instruction by which the chain checks the signatures of receipts",
            ),
            interface="ours",
            judged_by=("solders (LiteSVM)",),
        )


ADAPTER = Solana()
