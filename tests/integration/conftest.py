"""What the tests of the store share: one in memory, under a clock that they move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command import Command
from tests.support.house import House, ManualClock, assert_ledger_holds
from tests.support.runs import Runs, runs_on

from baton.fleet.store import open_store


@pytest.fixture
def clock(house_and_clock: tuple[House, ManualClock]) -> ManualClock:
    """The clock of ``house``."""
    return house_and_clock[1]


@pytest.fixture
def house(house_and_clock: tuple[House, ManualClock]) -> House:
    """A store in memory; whatever a test does to it, its ledger has to hold in the end."""
    return house_and_clock[0]


@pytest.fixture
def house_and_clock() -> Iterator[tuple[House, ManualClock]]:
    """Both at once."""
    house, clock = House.in_memory()
    yield house, clock
    assert_ledger_holds(house.events())
    house.store.close()


@pytest.fixture
def runs(house: House) -> Iterator[Runs]:
    """Graphs on the store in memory; parked writes wait there for whatever comes next."""
    with runs_on(house) as runs:
        yield runs


@pytest.fixture
def file_runs(tmp_path: Path) -> Iterator[Runs]:
    """Graphs on a store in a file, at ``tmp_path / "fleet.db"``, under the real clock."""
    store = open_store(f"sqlite:///{tmp_path / 'fleet.db'}")
    house = House(store, store.clock)
    with runs_on(house) as runs:
        yield runs
    assert_ledger_holds(house.events())
    store.close()


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command line, in a folder of its own, with a store at hand that is not there yet."""
    monkeypatch.delenv("BATON_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    return Command(capsys, tmp_path)
