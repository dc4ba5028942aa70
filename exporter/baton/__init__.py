"""Baton: leases, fenced checkpoints, takeover and reliability metrics for LangGraph workers.

Everything an application needs is here; the rest of the package is the house behind it. Each name
is imported when it is first used, because most commands run no graph and LangGraph takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "BatonError": "baton.errors",
    "Fleet": "baton.fleet.fleet",
    "Lease": "baton.fleet.lease",
    "LeaseHeld": "baton.errors",
    "LeaseLost": "baton.errors",
    "Worker": "baton.fleet.worker",
    "effect_key": "baton.fleet.effects",
    "once": "baton.fleet.effects",
    "open": "baton.fleet.fleet",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A published name, imported where it lives."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return found


def __dir__() -> list[str]:
    """What is published."""
    return sorted(__all__)
