"""The two files of a store: made, adopted, migrated, restored, or refused in one plain line."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TypedDict

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from tests.support.house import House, assert_ledger_holds

import baton
from baton.domain.words import TaskState
from baton.errors import (
    BadInput,
    LeaseLost,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreNewer,
    StoreRestored,
    StoreUnreachable,
)
from baton.fleet import clock, sqlite_files
from baton.fleet.store import Store, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is to be."""
    return tmp_path / "fleet.db"


def url_of(path: Path) -> str:
    """The store as the command line takes it."""
    return f"sqlite:///{path}"


def opened(path: Path, **options: bool) -> closing[Store]:
    """Open a store for a ``with``."""
    return closing(open_store(url_of(path), **options))


def make(path: Path) -> None:
    """A store with one finished task."""
    with opened(path) as store:
        house = House(store, store.clock)
        house.submit()
        member = house.session()
        member.done(member.claim())
        member.stop()


# Making and opening


def test_a_new_store_is_two_files_and_a_lock(path: Path) -> None:
    """And a store that is opened again is the same."""
    with opened(path) as store:
        store_id = store.store_id
        assert store.data.position == 0
    make(path)
    with opened(path, create=False) as store:
        assert store.store_id == store_id
        assert store.data.position == len(House(store, store.clock).events()) == 5
        assert store.task("t-1").state is TaskState.DONE
    names = {file.name for file in path.parent.iterdir()}
    assert names == {"fleet.db", "fleet.db.sessions", "fleet.db.writers"}


@pytest.mark.parametrize(
    ("options", "synchronous"), [("", 2), ("?synchronous=normal", 1), ("?synchronous=FULL", 2)]
)
def test_how_hard_it_writes_is_said_in_the_url(path: Path, options: str, synchronous: int) -> None:
    """Full by default: a commit survives a power cut."""
    with closing(open_store(url_of(path) + options)) as store:
        asked = store.data.connection.execute
        assert asked("PRAGMA synchronous").fetchone()[0] == synchronous
        assert asked("PRAGMA journal_mode").fetchone()[0] == "wal"


@pytest.mark.parametrize("url", ["sqlite:fleet.db", "sqlite://host/fleet.db", "sqlite:///"])
def test_a_url_of_no_file_is_refused(url: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(BadInput) as bad:
        open_store(url)
    assert str(bad.value) == f"store {url!r} is not of the form sqlite:///fleet.db"


@pytest.mark.parametrize("url", ["fleet.db", "mysql:///x"])
def test_a_url_of_no_known_store_is_refused(url: str) -> None:
    """With the forms there are."""
    with pytest.raises(BadInput, match=r"sqlite:///fleet\.db") as bad:
        open_store(url)
    assert str(bad.value).startswith(f"store {url!r} is ")


@pytest.mark.parametrize("option", ["synchronous=sometimes", "timeout=3"])
def test_an_unknown_option_is_refused(path: Path, option: str) -> None:
    """With the options there are, and nothing is made."""
    with pytest.raises(BadInput) as bad:
        open_store(f"{url_of(path)}?{option}")
    assert str(bad.value).endswith("the only option is synchronous=off|normal|full|extra")
    assert not path.exists()


def test_a_relative_url_is_relative_to_here(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process goes afterwards."""
    monkeypatch.chdir(path.parent)
    with closing(open_store("sqlite:///fleet.db")):
        assert path.exists()


def open_files(folder: Path) -> list[str]:
    """The files of a folder that this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return [name for link in links if (name := _target(link)).startswith(f"{folder}/")]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


@pytest.fixture
def refused(path: Path) -> Iterator[None]:
    """Whoever is refused leaves no file open, not even while the error is looked at."""
    yield
    assert open_files(path.parent) == []


# Refusals


@pytest.mark.usefixtures("refused")
def test_a_missing_folder_is_named(path: Path) -> None:
    """It is not made: a mistyped path would become a second, empty fleet."""
    missing = path.parent / "nowhere" / "fleet.db"
    with pytest.raises(StoreUnreachable) as unreachable:
        open_store(url_of(missing))
    assert str(unreachable.value) == (
        f"cannot open store {url_of(missing)}: no folder {missing.parent}"
    )
    assert not missing.parent.exists()


@pytest.mark.parametrize("name", ["/proc/fleet.db", "/proc"])
def test_a_place_that_cannot_be_written_is_named(name: str) -> None:
    """A folder in which nobody can make a file, and one where a file should be."""
    with pytest.raises(StoreUnreachable) as unreachable:
        open_store(f"sqlite:///{name}")
    assert str(unreachable.value) == (
        f"cannot open store sqlite:///{name}: unable to open database file"
    )


@pytest.mark.usefixtures("refused")
def test_whoever_only_looks_makes_no_store(path: Path) -> None:
    """Neither where there is nothing nor in a database of another kind."""
    with pytest.raises(StoreUnreachable, match="there is no such file"):
        open_store(url_of(path), create=False)
    assert not path.exists()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(StoreUnreachable, match="the file is no Baton store"):
        open_store(url_of(path), create=False)
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("other",)]


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("create", [True, False])
def test_a_text_file_is_no_store(path: Path, create: bool) -> None:  # noqa: FBT001 - a case
    """It is left as it is."""
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(StoreCorrupt) as corrupt:
        open_store(url_of(path), create=create)
    assert str(corrupt.value) == (
        f"store {url_of(path)} is damaged (file is not a database); restore it from a copy, "
        "then `baton store accept-restore`"
    )
    assert path.read_text() == "Dear diary, " * 1000


@pytest.mark.usefixtures("refused")
def test_a_damaged_store_is_told_from_a_busy_one(path: Path) -> None:
    """Wherever the damage is met: here in the table of tasks, after the opening."""
    make(path)
    page = 4096
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'baton_task'"
        root = connection.execute(query).fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    with opened(path) as store, pytest.raises(StoreCorrupt) as corrupt:
        store.tasks()
    assert "malformed" in str(corrupt.value)
    assert url_of(path) in str(corrupt.value)


@pytest.mark.usefixtures("refused")
def test_a_cut_off_store_is_damaged(path: Path) -> None:
    """As a copy made without care may be."""
    make(path)
    os.truncate(path, 3 * 4096)
    with pytest.raises(StoreCorrupt), opened(path) as store:
        store.tasks()


@pytest.mark.usefixtures("refused")
def test_a_newer_schema_is_refused(path: Path) -> None:
    """Old code must not guess at it."""
    make(path)
    newer = str(sqlite_files.SCHEMA + 1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE baton_meta SET value = ? WHERE key = 'schema'", (newer,))
    with pytest.raises(StoreNewer) as refused:
        open_store(url_of(path))
    assert str(refused.value) == (
        f"store {url_of(path)} has schema {newer}, this Baton knows up to {sqlite_files.SCHEMA}; "
        "upgrade langgraph-baton"
    )


@pytest.mark.usefixtures("refused")
def test_a_store_that_somebody_keeps_locked_is_busy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so, rather than that it cannot be opened."""
    connect = sqlite_files.connect

    def impatient(path: Path, *, synchronous: str, busy_seconds: float) -> sqlite3.Connection:
        return connect(path, synchronous=synchronous, busy_seconds=min(busy_seconds, 0.05))

    monkeypatch.setattr(sqlite_files, "connect", impatient)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy) as busy:
            open_store(url_of(path))
    assert str(busy.value) == (
        "the store's write lock is held by another process; try again, or end that process"
    )


@pytest.mark.usefixtures("refused")
def test_the_sessions_of_another_store_are_refused(path: Path) -> None:
    """Somebody copied one file without the other."""
    other = path.parent / "other.db"
    make(path)
    make(other)
    with opened(other) as store:
        other_id = store.store_id
    shutil.copy(f"{other}.sessions", f"{path}.sessions")
    with pytest.raises(StoreRestored) as restored:
        open_store(url_of(path))
    assert str(restored.value) == (
        f"store {url_of(path)} is an older copy (fleet.db.sessions beside it belongs to store "
        f"{other_id}); if that is meant, run `baton store accept-restore`"
    )


def test_accepting_a_copy_beside_sessions_of_another_store(path: Path) -> None:
    """The line above names the mend, so the mend has to work."""
    other = path.parent / "other.db"
    make(path)
    make(other)
    shutil.copy(f"{other}.sessions", f"{path}.sessions")
    with opened(path, accept_restored=True) as store:
        store.accept_restore()
    make_more(path)


# Restores


def back_up(path: Path) -> Path:
    """Copy the data file, as it is when nobody has it open."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    return copy


def make_more(path: Path) -> None:
    """Life goes on: more tasks, more claims."""
    with opened(path) as store:
        house = House(store, store.clock, _sessions=lambda: f"session-{store.clock.now_us()}")
        member = house.session("w-2")
        for n in range(3):
            house.submit(f"more-{store.clock.now_us()}-{n}")
            member.drained(member.claim())
        member.done(member.claim())
        member.stop()


def test_an_older_copy_is_refused_until_it_is_accepted(path: Path) -> None:
    """What its sessions have seen of it cannot have been undone by itself."""
    make(path)
    copy = back_up(path)
    make_more(path)
    with opened(path) as store:
        seen, epoch = store.sessions.witness()
        assert seen == store.data.position
    shutil.copy(copy, path)
    for create in (True, False):
        with pytest.raises(StoreRestored) as restored:
            open_store(url_of(path), create=create)
    assert str(restored.value) == (
        f"store {url_of(path)} is an older copy (its ledger ends at 5, and {seen} has been seen); "
        "if that is meant, run `baton store accept-restore`"
    )
    assert open_files(path.parent) == []
    with opened(path, accept_restored=True) as store:
        assert store.accept_restore() == 1
        assert store.task("t-1").epoch == epoch + 1
    make_more(path)
    with opened(path) as store:
        assert_ledger_holds(House(store, store.clock).events())


def test_a_process_that_was_killed_leaves_a_witness_too(path: Path) -> None:
    """Its heartbeats have told how far it saw, so no orderly end is needed."""
    make(path)
    copy = back_up(path)
    store = open_store(url_of(path))
    house = House(store, store.clock, _sessions=lambda: "session-x")
    member = house.session("w-2")
    house.submit("t-2")
    claim = member.claim()
    assert member.beat().accepted
    # As far as a process gets that is killed now: nothing of it is closed or saved.
    store.data.connection.close()
    store.sessions.close()
    shutil.copy(copy, path)
    with pytest.raises(StoreRestored):
        open_store(url_of(path))
    house.store = open_store(url_of(path), accept_restored=True)
    with closing(house.store):
        house.bury(member)
        house.store.accept_restore()
        assert house.store.task("t-1").epoch > claim.key.epoch
        member.store = house.store
        with pytest.raises(LeaseLost):
            member.put(claim)


def test_a_copy_that_nobody_has_seen_go_further_is_no_restore(path: Path) -> None:
    """Copying a store and opening it is fine while it is the newest."""
    make(path)
    copy = back_up(path)
    path.unlink()
    shutil.copy(copy, path)
    with opened(path) as store:
        assert store.task("t-1").state is TaskState.DONE


def test_a_lost_sessions_file_is_made_anew(path: Path) -> None:
    """It needs no copy: whoever held a task in it is taken for lost."""
    with opened(path) as store:
        house = House(store, store.clock)
        house.submit()
        house.session("w-1").claim()
    Path(f"{path}.sessions").unlink()
    with opened(path) as store:
        house = House(store, store.clock, _sessions=lambda: "later")
        assert house.session("w-2").claim().previous_worker == "w-1"
        assert_ledger_holds(house.events())


# Time


def test_store_time_runs_on_over_a_restart_of_the_host(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the wall clock was set back meanwhile; within a boot no clock reaches it."""
    make(path)
    with opened(path) as store:
        last = House(store, store.clock).events()[-1].at
    monkeypatch.setattr(clock, "boot_id", lambda: "another boot")
    monkeypatch.setattr(clock, "boot_time_us", lambda: 5)
    monkeypatch.setattr(clock, "wall_us", lambda: 1_000_000)
    with opened(path) as store:
        assert store.clock.now_us() == last + 1
    monkeypatch.setattr(clock, "wall_us", lambda: 2**60)
    with opened(path) as store:
        assert store.clock.now_us() == last + 1


# Adoption and migration


class State(TypedDict):
    """What the graph below carries."""

    seen: str


def stock_database(path: Path) -> list[str]:
    """A thread with history, written by LangGraph alone; returns its checkpoints, newest first."""
    config = {"configurable": {"thread_id": "thread-42"}}
    with SqliteSaver.from_conn_string(str(path)) as saver:
        two_steps().compile(checkpointer=saver).invoke({"seen": ""}, config, durability="sync")
        return [found.checkpoint["id"] for found in saver.list(config)]


def two_steps() -> StateGraph[State, None, State, State]:
    """A graph of two nodes."""
    graph = StateGraph(State)
    graph.add_node("a", lambda state: {"seen": state["seen"] + "a"})
    graph.add_node("b", lambda state: {"seen": state["seen"] + "b"})
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    graph.add_edge("b", END)
    return graph


def test_a_langgraph_database_becomes_a_store(path: Path) -> None:
    """Its threads go on where they were; the stock saver still reads all of it."""
    before = stock_database(path)
    with baton.open(url_of(path)) as fleet:
        graph = two_steps().compile(checkpointer=fleet.saver())
        found = graph.get_state({"configurable": {"thread_id": "thread-42"}})
        assert found.values == {"seen": "ab"}
        with fleet.lease("thread-42") as lease:
            result = graph.invoke({"seen": "c"}, lease.config, durability="sync")
        assert result == {"seen": "cab"}
    with SqliteSaver.from_conn_string(str(path)) as saver:
        after = [
            found.checkpoint["id"]
            for found in saver.list({"configurable": {"thread_id": "thread-42"}})
        ]
    assert len(before) == 4
    assert after[-4:] == before
    assert len(after) == 8


def test_a_langgraph_database_of_before_task_paths_is_adopted(path: Path) -> None:
    """The stock saver adds that column by itself, and so does adoption."""
    stock_database(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE writes DROP COLUMN task_path")
    with opened(path) as store:
        columns = store.data.connection.execute("PRAGMA table_info(writes)").fetchall()
    assert "task_path" in [column[1] for column in columns]


OPENER = """
import sys
from baton.fleet.store import open_store

print("ready", flush=True)
for line in sys.stdin:
    open_store("sqlite:///" + line.strip()).close()
    print("opened", flush=True)
"""


def test_processes_that_migrate_at_once_agree(tmp_path: Path) -> None:
    """Fresh databases and stock ones; each is migrated once and opened by all."""
    fresh = [tmp_path / f"fresh-{n}.db" for n in range(12)]
    stock = [tmp_path / f"stock-{n}.db" for n in range(4)]
    for path in stock:
        stock_database(path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for path in fresh + stock:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
            said = [process.stdout and process.stdout.readline() for process in processes]
            assert said == ["opened\n"] * 3, [p.communicate()[1] for p in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for path in fresh + stock:
        make_more(path)


def test_an_unfinished_migration_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one transaction; the next opening does it all."""
    statements = sqlite_files._statements  # noqa: SLF001 - the place to break it

    def broken(body: str) -> Iterator[str]:
        yield from statements(body)
        yield "CREATE TABLE baton_meta (again)"

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_files, "_statements", broken)
        with pytest.raises(StoreError):
            open_store(url_of(path))
    assert open_files(path.parent) == []
    make(path)
