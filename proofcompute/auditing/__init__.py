"""Audit a fleet: several auditors share the work by a ledger, and sign what they find.

It takes the extra ``ledger``: ``pip install 'proofcompute[ledger]'``.
"""

from __future__ import annotations

from proofcompute.auditing.committee import Committee
from proofcompute.auditing.desk import Desk, Told
from proofcompute.auditing.events import DeskEvents
from proofcompute.auditing.fleet import FleetModel, FleetNode
from proofcompute.auditing.scheduling import Plan
from proofcompute.auditing.working import Worked, Worker

__all__ = ["Committee", "Desk", "DeskEvents", "FleetModel", "FleetNode", "Plan", "Told", "Worked", "Worker"]
