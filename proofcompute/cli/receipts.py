"""Read receipts of runs and of jobs alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.protocol.messages.signed import Signed

__all__ = ["signed_receipt"]


def signed_receipt(path: Path) -> Signed:
    """Read a receipt of a run or of a job, without checking it.

    Raises FormatError, LimitError or UnsupportedError if it does not decode, and InputError if it is plainly
    a file of another kind.
    """
    from proofcompute.encoding.files import read_limited
    from proofcompute.encoding.kinds import kind_in
    from proofcompute.jobs.messages import ProductReceipt
    from proofcompute.limits import MAX_RECEIPT
    from proofcompute.protocol.messages import Receipt

    data = read_limited(path, MAX_RECEIPT, "receipt")
    kind = kind_in(data)
    if kind not in (None, "receipt", "product receipt"):
        raise InputError(f"{path} is of kind {kind}; needed here: receipt")
    return ProductReceipt.decode(data) if kind == "product receipt" else Receipt.decode(data)
