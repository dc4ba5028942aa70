"""The guard before a node: what it asks, and in which order."""

from __future__ import annotations

from typing import Any, cast

import pytest

from baton.errors import LeaseLost
from baton.fleet.guard import enter
from baton.fleet.lease import Lease, LiveSession
from baton.fleet.model import Claim, LeaseKey


def lease_of(session: LiveSession) -> Lease:
    """A lease that a session won by a takeover."""
    key = LeaseKey(task_id="t-1", epoch=2, session_id=session.session_id)
    claim = Claim(
        key=key, graph="g", run_id="r-1", claimed_at=0, input=None, resume=None, reason=None
    )
    return Lease(cast("Any", None), claim, session)


def test_a_lease_that_ends_while_the_restore_is_reported_starts_no_node() -> None:
    """The report is a write, which may take as long as the store likes, or a frozen process."""
    session = LiveSession("s-1", "w-1")
    session.confirm(float("inf"))
    lease = lease_of(session)
    lease.when_restored(lambda: session.end("silent beyond the TTL"))
    with pytest.raises(LeaseLost, match="silent beyond the TTL"):
        enter(lease)


def test_a_sure_lease_starts_a_node_after_its_report() -> None:
    """A sure lease starts a node, after the one report of its restore."""
    session = LiveSession("s-1", "w-1")
    session.confirm(float("inf"))
    lease, reports = lease_of(session), list[str]()
    lease.when_restored(lambda: reports.append("restored"))
    assert enter(lease) <= enter(lease)
    assert reports == ["restored"]
