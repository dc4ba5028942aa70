"""What the tests of the store share: one in memory, under a clock that they move.

A module that sets ``BOTH_STORES = True`` has its tests of ``house``, or of ``store_url``, run on
PostgreSQL as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command import Command
from tests.support.house import House, ManualClock, assert_ledger_holds
from tests.support.postgres import house_on
from tests.support.processes import MARK, marked
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is about any store on both kinds."""
    both = getattr(metafunc.module, "BOTH_STORES", False)
    chosen = any(mark.args[0] == "kind" for mark in metafunc.definition.iter_markers("parametrize"))
    if both and "kind" in metafunc.fixturenames and not chosen:
        metafunc.parametrize("kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of store that ``house`` is."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def store_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A store of its own, under the real clock: a file that is not there yet, or a database."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'fleet.db'}"
    return str(request.getfixturevalue("database"))


@pytest.fixture
def house_and_clock(
    kind: str, request: pytest.FixtureRequest
) -> Iterator[tuple[House, ManualClock]]:
    """Both at once."""
    if kind == "sqlite":
        house, clock = House.in_memory()
        yield house, clock
        assert_ledger_holds(house.events())
        house.store.close()
        return
    with house_on(request.getfixturevalue("database")) as (house, clock):
        yield house, clock
        assert_ledger_holds(house.events())


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


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mark on every process that a test starts; at its end there is none."""
    name = uuid.uuid4().hex
    monkeypatch.setenv(MARK, name)
    yield name
    assert marked(name) == []
