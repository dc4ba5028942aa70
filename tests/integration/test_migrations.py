"""Stores of an earlier schema: who only looks is told so, who writes brings them up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command import Command
from tests.support.house import House
from tests.support.postgres import PostgresServer

from baton.domain.words import TakeoverReason, TaskState
from baton.errors import StoreUnreachable
from baton.fleet import postgres_store, sqlite_files
from baton.fleet.store import new_id, open_store

BOTH_STORES = True


@pytest.fixture
def old_store(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A store as the first version made it, with a task that is held and one that waits."""
    if kind == "sqlite":
        yield made_by_the_first_version(f"sqlite:///{tmp_path / 'fleet.db'}", monkeypatch)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.empty_database() as url:
        yield made_by_the_first_version(url, monkeypatch)


def made_by_the_first_version(
    url: str, monkeypatch: pytest.MonkeyPatch, *, ttl_seconds: float = 15.0
) -> str:
    """Make a store as version 1 did."""
    with monkeypatch.context() as then:
        for module in (sqlite_files, postgres_store):
            then.setattr(module, "SCHEMA", 1)
        # The file of the sessions has no number; its index is what tells.
        then.setattr(sqlite_files, "_has", lambda connection, name: False)  # noqa: ARG005
        plain = sqlite_files.script
        then.setattr(
            sqlite_files,
            "script",
            lambda name: "" if name == "sqlite_sessions_0002.sql" else plain(name),
        )
        store = open_store(url)
        house = House(store, store.clock, new_id)
        house.submit("held")
        member = house.session(ttl_seconds=ttl_seconds)
        member.put(member.claim())
        house.submit("waits")
        store.close()
    return url


def test_whoever_only_looks_is_told_to_migrate(old_store: str, command: Command) -> None:
    """Looking changes nothing, and exit 4 names the mend."""
    with pytest.raises(StoreUnreachable, match="its schema is 1; `baton store migrate`"):
        open_store(old_store, create=False)
    complaint = command("tasks", "list", "--store", old_store).complaint
    assert "`baton store migrate` brings it to" in complaint
    with pytest.raises(StoreUnreachable, match="its schema is 1"):
        open_store(old_store, create=False)


def test_a_migration_only_adds(old_store: str, command: Command) -> None:
    """Tasks, leases and ledger go on where they were; a second migration does nothing."""
    for _ in range(2):
        assert command("store", "migrate", "--store", old_store).code == 0
    assert command("ledger", "verify", "--store", old_store).code == 0
    store = open_store(old_store, create=False)
    house = House(store, store.clock, new_id)
    assert house.state("held") is TaskState.ACTIVE
    assert house.session().claim().task_id == "waits"
    assert house.types("task:held") == ["submitted", "claimed", "step"]
    store.close()


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> None:
    """This version's schema is one that earlier ones cannot live with."""
    for module in (sqlite_files, postgres_store):
        monkeypatch.setattr(module, "BREAKING", frozenset({2}))


@pytest.mark.usefixtures("breaking")
def test_a_migration_that_breaks_is_refused_while_older_sessions_live(
    old_store: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for in words, waits for the last of them, and writes nothing before."""
    with pytest.raises(
        StoreUnreachable, match=r"its schema is 1.* stop them, then run `baton store"
    ):
        open_store(old_store)
    refused = command("store", "migrate", "--store", old_store)
    assert refused.code == 4
    assert "workers w-1 run on its schema 1 and cannot live with 2" in refused.complaint
    with monkeypatch.context() as then:
        for module in (sqlite_files, postgres_store):
            then.setattr(module, "SCHEMA", 1)
        store = open_store(old_store, create=False)
        (older,) = store.peers()[1]
        store.stop_session(older.spec.session_id, older.spec.worker_id, TakeoverReason.DRAINED)
        store.close()
    assert command("store", "migrate", "--store", old_store).code == 0
    open_store(old_store, create=False).close()
