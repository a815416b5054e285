"""Check quotes of Intel's SGX and TDX, by dcap-qvl, and that a receipt is bound into one."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any, Final

from proofcompute.errors import EnvelopeError
from proofcompute.errors.extras import lacking
from proofcompute.networks.clouds.binding import Attested, bound_bytes, check_now, check_report_data

__all__ = ["MAX_COLLATERAL", "MAX_QUOTE", "check_quote", "checked_quote"]

MAX_QUOTE: Final = 1 << 16
MAX_COLLATERAL: Final = 1 << 20
UP_TO_DATE: Final = "UpToDate"
_TDX_MEASUREMENTS: Final = ("mr_td", "mr_config_id", "mr_owner", "rt_mr0", "rt_mr1", "rt_mr2", "rt_mr3")
_SGX_MEASUREMENTS: Final = ("mr_enclave", "mr_signer")
_TDX_DEBUG: Final = 1
"""The bit of a trust domain's attributes under which its owner reads its memory."""
_SGX_DEBUG: Final = 2
"""The same of an enclave's."""


def _library() -> Any:
    try:
        return import_module("dcap_qvl")
    except ModuleNotFoundError as e:
        raise lacking(e, "checking quotes") from e


def checked_quote(
    quote: bytes, collateral: str, now: int, allowed: Collection[str] = ()
) -> tuple[Attested, bytes]:
    """Return what a quote says, and its report data, 64 bytes.

    Args:
        quote: as the machine gave it.
        collateral: what Intel says about the machine's certificates and software, in JSON as dcap-qvl fetches
            it; it is signed by Intel and checked.
        now: seconds since the Unix epoch.
        allowed: states of the machine's software that are taken besides UpToDate.

    Raises EnvelopeError if quote or collateral is malformed, does not hold at this time, is of an enclave
    that can be debugged, or of a machine in a state that is not allowed; InputError for a time that is none.
    """
    library = _library()
    check_now(now)
    if len(quote) > MAX_QUOTE or len(collateral) > MAX_COLLATERAL:
        raise EnvelopeError("the quote or its collateral is larger than any is")
    try:
        known = library.QuoteCollateralV3.from_json(collateral)
        verified = library.verify(quote, known, now)
        parsed = library.Quote.parse(quote)
    except ValueError as e:
        raise EnvelopeError(f"the quote does not hold: {e}") from e
    if verified.status != UP_TO_DATE and verified.status not in allowed:
        raise EnvelopeError(f"the machine's software is {verified.status}, which is not allowed")
    report, tdx = parsed.report, bool(parsed.is_tdx())
    attributes = bytes(report.td_attributes if tdx else report.attributes)
    if attributes[0] & (_TDX_DEBUG if tdx else _SGX_DEBUG):
        raise EnvelopeError("the quote is of an enclave that can be debugged")
    names = _TDX_MEASUREMENTS if tdx else _SGX_MEASUREMENTS
    return (
        Attested(
            kind="TDX" if tdx else "SGX",
            measurements={name: bytes(getattr(report, name)).hex() for name in names},
            made=0,
            status=str(verified.status),
            advisories=tuple(map(str, verified.advisory_ids)),
        ),
        bytes(report.report_data),
    )


def check_quote(
    quote: bytes, receipt: bytes, collateral: str, now: int, allowed: Collection[str] = ()
) -> Attested:
    """Check that a receipt is bound into a quote, and return what the quote says besides.

    Arguments and errors are as of :func:`checked_quote`; a quote about something else raises EnvelopeError.
    """
    found, data = checked_quote(quote, collateral, now, allowed)
    check_report_data(data, bound_bytes(receipt))
    return found
