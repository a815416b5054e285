"""Serve models over HTTP, with OpenAI's interface and receipts (docs/guides/serving.md)."""

from __future__ import annotations

from proofcompute.errors.extras import lacking

try:
    from proofcompute.serving.app import application, create_app
    from proofcompute.serving.clients import ApiKeys
    from proofcompute.serving.service import Service
    from proofcompute.serving.settings import ServiceLimits, Settings
except ModuleNotFoundError as e:
    raise lacking(e, "serving over HTTP") from e

__all__ = ["ApiKeys", "Service", "ServiceLimits", "Settings", "application", "create_app"]
