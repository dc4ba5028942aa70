"""Opening a store by its URL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

from baton.errors import BadInput
from baton.fleet import sqlite_files as files
from baton.fleet.clock import StoreClock
from baton.fleet.process import ProcessIdentity
from baton.fleet.sqlite_data import DataFile, NoGate
from baton.fleet.sqlite_sessions import SessionsFile
from baton.fleet.sqlite_store import SqliteStore
from baton.fleet.transactions import Store
from baton.fleet.writelock import LockHolder, WriteLock

__all__ = ["PATIENCE_SECONDS", "Store", "files_of", "memory_store", "new_id", "open_store"]

_POSTGRES = ("postgresql://", "postgres://")

#: How long a writer may stand still with the write lock before the others look into it, unless
#: its own TTL says otherwise.
PATIENCE_SECONDS = 15.0


def new_id() -> str:
    """A fresh id for a session or a run."""
    return uuid.uuid4().hex[:16]


def open_store(
    url: str,
    *,
    create: bool = True,
    accept_restored: bool = False,
    break_older: bool = False,
    kind: Literal["worker", "embedded"] = "embedded",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Store:
    """Open a store, making it where there is none.

    Args:
        url: ``sqlite:///fleet.db``, ``sqlite:////absolute/fleet.db`` or ``postgresql://…``.
        create: make or migrate it; False for whoever only looks.
        accept_restored: open it even if it is an older copy, in order to accept it.
        break_older: migrate it to what earlier versions cannot live with, if none of them lives.
        kind: ``worker`` lets others kill this process when it freezes with the write lock.
        patience_seconds: how long others may stand still with the write lock: the TTL.

    Raises:
        BadInput: the URL is of no known form.
        StoreUnreachable, StoreCorrupt, StoreNewer, StoreRestored: as their messages say.
    """
    if url.startswith(_POSTGRES):
        return _open_postgres(
            url,
            create=create,
            accept_restored=accept_restored,
            break_older=break_older,
            patience_seconds=patience_seconds,
        )
    if not url.startswith("sqlite:"):
        raise BadInput(
            detail=f"store {url!r} is of neither form: sqlite:///fleet.db, postgresql://host/name"
        )
    return _open_sqlite(
        url,
        create=create,
        accept_restored=accept_restored,
        break_older=break_older,
        kind=kind,
        patience_seconds=patience_seconds,
    )


def _open_postgres(
    url: str, *, create: bool, accept_restored: bool, break_older: bool, patience_seconds: float
) -> Store:
    try:
        from baton.fleet.postgres_store import open_postgres
    except ModuleNotFoundError as missing:
        detail = f"no module {missing.name}; pip install 'langgraph-baton[postgres]'"
        raise BadInput(detail=f"a PostgreSQL store needs more than is here: {detail}") from missing
    return open_postgres(
        url,
        create=create,
        accept_restored=accept_restored,
        break_older=break_older,
        patience_seconds=patience_seconds,
        new_id=new_id,
    )


def _open_sqlite(
    url: str,
    *,
    create: bool,
    accept_restored: bool,
    break_older: bool,
    kind: Literal["worker", "embedded"],
    patience_seconds: float,
) -> SqliteStore:
    location = files.parse_url(url)
    location = replace(location, path=Path(location.path).absolute())
    with ExitStack() as undo:
        data = undo.enter_context(
            closing(
                files.open_data(
                    location,
                    create=create,
                    accept_restored=accept_restored,
                    break_older=break_older,
                )
            )
        )
        store_id = files.store_id_of(data)
        sessions = undo.enter_context(
            closing(files.open_sessions(location, store_id, accept_restored=accept_restored))
        )
        if not accept_restored:
            files.check_restored(location, data, sessions)
        clock = files.host_clock(data)
        position = files.position_of(data)
        # From here on nothing fails, and both files stay open.
        undo.pop_all()
    holder = LockHolder(ProcessIdentity.of_self(), kind, new_id())
    gate = WriteLock(
        location.beside(".writers"), owner=lambda: holder, patience_seconds=patience_seconds
    )
    data_file = DataFile(data, clock, url, gate)
    data_file.position = position
    return SqliteStore(
        data_file,
        SessionsFile(sessions, clock, url),
        clock,
        url=url,
        store_id=store_id,
        new_id=new_id,
    )


def memory_store(
    clock: StoreClock, new_id: Callable[[], str], *, linger_seconds: float | None = None
) -> SqliteStore:
    """A store in this process's memory: the same code and schema, for simulation and tests.

    Nothing in it moves by itself: time is the clock's, and ids are the caller's.

    Args:
        clock: the store's clock.
        new_id: makes the store's id and the run ids.
        linger_seconds: see ``DataFile``; by default parked writes wait for what comes next.
    """
    url = "sqlite:///:memory:"
    store_id = new_id()
    data = files.connect(":memory:", synchronous="off", busy_seconds=0)
    files.prepare_data(data, store_id=store_id)
    sessions = files.connect(":memory:", synchronous="off", busy_seconds=0)
    files.prepare_sessions(sessions, store_id)
    return SqliteStore(
        DataFile(data, clock, url, NoGate(), linger_seconds=linger_seconds),
        SessionsFile(sessions, clock, url),
        clock,
        url=url,
        store_id=store_id,
        new_id=new_id,
    )


def files_of(url: str) -> tuple[Path, ...]:
    """The files that a store is kept in; none where a server keeps it.

    Args:
        url: as ``open_store`` takes it.

    Raises:
        BadInput: the URL is of no known form.
    """
    if url.startswith(_POSTGRES):
        return ()
    location = files.parse_url(url)
    return location.path, location.beside(".sessions")
