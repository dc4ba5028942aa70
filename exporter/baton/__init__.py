"""Baton: leases, fenced checkpoints, takeover and reliability metrics for LangGraph workers.

Everything an application needs is here; the rest of the package is the house behind it.
"""

from __future__ import annotations

from baton.errors import BatonError, LeaseHeld, LeaseLost
from baton.fleet.effects import effect_key, once
from baton.fleet.fleet import Fleet, open  # noqa: A004 - baton.open is the published name
from baton.fleet.lease import Lease
from baton.fleet.worker import Worker

__all__ = [
    "BatonError",
    "Fleet",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Worker",
    "effect_key",
    "once",
    "open",
]
