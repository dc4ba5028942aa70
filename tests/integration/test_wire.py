"""The wire of a worker on trial: a real server behind it, and what a trial says in between."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from tests.support.house import House, assert_ledger_holds
from tests.support.postgres import PostgresServer
from tests.support.runs import wait_until

from baton.errors import ConnectionCut, StoreBusy
from baton.fleet.store import new_id, open_store
from baton.prove.proc.wire import Wire
from baton.prove.scenarios.model import Of

#: How long a call may go on trying; waited out once.
PATIENCE_SECONDS = 1.5


@pytest.fixture
def wire(database: str) -> Iterator[Wire]:
    """A wire to a fresh store."""
    wire = Wire(database)
    yield wire
    wire.close()


@pytest.fixture
def house(wire: Wire) -> Iterator[House]:
    """A house whose every word goes over the wire."""
    store = open_store(wire.url, patience_seconds=PATIENCE_SECONDS)
    house = House(store, store.clock, new_id)
    yield house
    assert_ledger_holds(house.events())
    store.close()


@pytest.mark.parametrize("known", [False, True], ids=["first time", "prepared before"])
def test_one_kind_of_call_is_refused_and_the_others_go_on(
    house: House,
    wire: Wire,
    known: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The server never hears of it, and afterwards everything is as it was."""
    house.submit()
    member = house.session()
    claim = member.claim()
    if known:
        member.put(claim)
    steps = house.types("task:t-1").count("step")
    wire.refuse(Of.CHECKPOINTS)
    with pytest.raises(StoreBusy, match="the trial refuses the call"):
        member.put(claim)
    assert member.beat().accepted
    wire.refuse(Of.HEARTBEATS)
    with pytest.raises(StoreBusy, match="the trial refuses the call"):
        member.beat()
    house.submit("t-2")
    assert house.types("task:t-1").count("step") == steps
    wire.refuse(None)
    assert member.beat().accepted
    member.put(claim)
    assert house.types("task:t-1").count("step") == steps + 1


def test_a_store_that_is_away_ends_what_there_is_and_takes_nothing_new(
    house: House, wire: Wire, postgres: PostgresServer
) -> None:
    """Until it is back."""
    member = house.session()
    wire.refuse(Of.EVERYTHING)
    with pytest.raises(ConnectionCut):
        member.beat()
    name = wire.url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(postgres.url, autocommit=True) as past:
        count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        wait_until(lambda: past.execute(count, (name,)).fetchone() == (0,), "all have gone")
    wire.refuse(None)
    assert member.beat().accepted
