"""A copy put back in place of a store: what it takes to go on from it, on both kinds of store."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.integration.test_migrations import made_by_the_first_version
from tests.support.command import Command
from tests.support.house import House, Member, assert_ledger_holds
from tests.support.postgres import PostgresServer
from tests.support.runs import wait_until

from baton.domain.words import TaskState
from baton.errors import LeaseLost
from baton.fleet import sqlite_files
from baton.fleet.store import new_id, open_store

BOTH_STORES = True

#: Waited for, so that nobody of the lost time counts as running.
TTL_SECONDS = 0.3

Restore = Callable[[], None]


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a store may be made, and copied while nobody uses it."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'fleet.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.empty_database() as url:
        yield url


@pytest.fixture
def save(kind: str, url: str, tmp_path: Path) -> Iterator[Callable[[], Restore]]:
    """Takes a copy as a backup would, and returns what puts it back."""
    if kind == "sqlite":
        path = tmp_path / "fleet.db"

        def save_file() -> Restore:
            shutil.copy(path, tmp_path / "copy.db")
            return lambda: shutil.copy(tmp_path / "copy.db", path) and None

        yield save_file
        return
    name = str(conninfo_to_dict(url)["dbname"])
    with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as server:

        def put(source: str, target: str) -> None:
            server.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            server.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')

        def save_database() -> Restore:
            put(name, f"{name}_copy")
            return lambda: put(f"{name}_copy", name)

        yield save_database
        server.execute(f'DROP DATABASE IF EXISTS "{name}_copy" WITH (FORCE)')


def test_nobody_of_the_lost_time_is_believed_after_a_restore(
    url: str, save: Callable[[], Restore], command: Command
) -> None:
    """Neither who held the task in the copy, nor who took it over since; the next one may."""
    with closing(open_store(url)) as store:
        house = House(store, store.clock, new_id)
        house.submit()
        first = house.session("first", ttl_seconds=TTL_SECONDS)
        before = first.claim()
        first.put(before)
    restore = save()
    with closing(open_store(url)) as store:
        house = House(store, store.clock, new_id)
        house.bury(Member(store, first.spec))
        second = house.session("second", ttl_seconds=TTL_SECONDS)
        since = second.claim()
        second.put(since)
    restore()
    accept = ("store", "accept-restore", "--store", url)
    wait_until(lambda: "epochs of 1 tasks were raised" in command(*accept).out, "the acceptance")
    with closing(open_store(url)) as store:
        house = House(store, store.clock, new_id)
        for member, claim in ((first, before), (second, since)):
            with pytest.raises(LeaseLost):
                Member(store, member.spec).put(claim)
        assert store.task("t-1").epoch > before.key.epoch
        for session in store.peers()[1]:
            house.bury(Member(store, session.spec))
        third = house.session("third")
        third.done(third.claim())
        assert house.state() is TaskState.DONE
        assert_ledger_holds(house.events())
    assert command("ledger", "verify", "--store", url).code == 0


def test_a_restore_is_not_accepted_under_a_running_worker(
    url: str, save: Callable[[], Restore], command: Command
) -> None:
    """It would go on writing what nobody believes."""
    with closing(open_store(url)) as store:
        House(store, store.clock, new_id).session("w-1")
    save()()
    complaint = command("store", "accept-restore", "--store", url).complaint
    assert complaint == "workers w-1 are running; stop them first"


def test_a_restored_copy_of_an_older_schema_is_accepted_and_brought_up_to_date(
    url: str, save: Callable[[], Restore], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal says what to do next, and doing that is enough."""
    made_by_the_first_version(url, monkeypatch, ttl_seconds=TTL_SECONDS)
    restore = save()
    assert command("store", "migrate", "--store", url).code == 0
    with closing(open_store(url)) as store:
        House(store, store.clock, new_id).submit("since")
    restore()
    looked = command("tasks", "list", "--store", url)
    assert looked.code == 4
    if "`baton store accept-restore`" in looked.complaint:
        # The sessions beside the file have seen more. A refusal leaves the copy as it is.
        for verb in (("store", "migrate"), ("submit", "--graph", "g", "--input", "{}")):
            assert command(*verb, "--store", url).complaint == looked.complaint
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as data:
                assert sqlite_files.schema_of(data) == 1
        accept = ("store", "accept-restore", "--store", url)
        wait_until(lambda: command(*accept).code == 0, "the acceptance")
    else:
        # On PostgreSQL they went back with the data.
        assert "`baton store migrate`" in looked.complaint
        assert command("store", "migrate", "--store", url).code == 0
    assert command("tasks", "list", "--store", url).code == 0
    assert command("tasks", "list", "--store", url).code == 0
    assert command("ledger", "verify", "--store", url).code == 0
    with closing(open_store(url, create=False)) as store:
        assert store.task_or_none("since") is None
        assert store.task("waits").state is TaskState.PENDING
