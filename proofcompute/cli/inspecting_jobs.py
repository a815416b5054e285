"""What ``inspect`` shows of the files of GEMM jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proofcompute.limits import KIB, MAX_CHALLENGE

if TYPE_CHECKING:
    from proofcompute.jobs import MatrixId, ProductReceipt, ProductRequest

__all__ = ["JOB_FILES", "JOB_MESSAGES"]

Facts = dict[str, object]


def _named(x: MatrixId) -> str:
    return f"{x.dtype}, {x.rows} rows of {x.width}, root {x.root.hex()}"


def _request(data: bytes) -> Facts:
    from proofcompute.jobs import ProductRequest

    return _asked(ProductRequest.decode(data))


def _asked(request: ProductRequest) -> Facts:
    dtype, n, m = request.shape
    return {
        "a": _named(request.a),
        "b": _named(request.b),
        "stacks": [list(request.stacks.a), list(request.stacks.b)],
        "product": f"{dtype}, {n} rows of {m}",
        "suite": request.suite,
        "nonce": request.nonce.hex(),
        "digest": request.digest.hex(),
        "addressed": request.node.hex() or "any node",
    }


def _receipt(data: bytes) -> Facts:
    from proofcompute.jobs import ProductReceipt

    return _signed(ProductReceipt.decode(data))


def _signed(receipt: ProductReceipt) -> Facts:
    from proofcompute.commitments.signing import signature_holds

    return {
        "c": _named(receipt.c),
        "request_digest": receipt.request_digest.hex(),
        "receipt_digest": receipt.digest.hex(),
        "terms_digest": receipt.terms_digest.hex() or "none",
        "retention_seconds": receipt.retention,
        "numerics": receipt.numerics,
        "node": receipt.node.hex(),
        "signature_holds": signature_holds(receipt.node, receipt.signed_digest, receipt.signature),
    }


def _challenge(data: bytes) -> Facts:
    from proofcompute.jobs import ProductChallenge

    challenge = ProductChallenge.decode(data)
    return {
        "rows": challenge.rows,
        "ranges": len(challenge.ranges),
        "receipt_digest": challenge.receipt_digest.hex(),
        "digest": challenge.digest.hex(),
    }


def _key(path: Path) -> Facts:
    from proofcompute.jobs import ProductKey

    key = ProductKey.load(path, device="numpy")
    return {
        "b": "" if key.identity is None else _named(key.identity),
        "leading_axes": list(key.lead),
        "types": ", ".join(key.dtypes),
        "suite": key.suite,
        "columns": key.columns,
        "verifications": len(key.log.attempts),
        "soundness_bits": key.soundness_bits,
    }


def _proof(path: Path) -> Facts:
    from proofcompute.jobs.proof import stored_head

    request, receipt, (a, c) = stored_head(path)
    places = {"a_is_in": a or "this file", "c_is_in": c or "this file", "file_bytes": path.stat().st_size}
    return {**_asked(request), **_signed(receipt), **places}


def _array(path: Path) -> Facts:
    from proofcompute.encoding.npy import map_npy

    x = map_npy(path)
    return {"dtype": x.dtype.str, "shape": list(x.shape), "order": "C" if x.flags.c_contiguous else "Fortran"}


JOB_FILES: Final[Mapping[str, Callable[[Path], Facts]]] = {
    "product key": _key,
    "product proof": _proof,
    "npy": _array,
}
JOB_MESSAGES: Final[Mapping[str, tuple[int, Callable[[bytes], Facts]]]] = {
    "product request": (4 * KIB, _request),
    "product receipt": (4 * KIB, _receipt),
    "product challenge": (MAX_CHALLENGE, _challenge),
}
