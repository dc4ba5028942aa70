"""Opening a store by its URL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from baton.errors import BadInput
from baton.fleet import sqlite_files as files
from baton.fleet.clock import StoreClock
from baton.fleet.process import ProcessIdentity
from baton.fleet.sqlite_data import DataFile, NoGate
from baton.fleet.sqlite_sessions import SessionsFile
from baton.fleet.sqlite_store import SqliteStore
from baton.fleet.writelock import LockHolder, WriteLock

#: The store of a fleet. A second kind of store widens this to a protocol of the same methods.
Store: TypeAlias = SqliteStore

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
    kind: Literal["worker", "embedded"] = "embedded",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Store:
    """Open a store, making it where there is none.

    Args:
        url: ``sqlite:///fleet.db`` or ``sqlite:////absolute/fleet.db``.
        create: make or migrate it; False for whoever only looks.
        accept_restored: open it even if it is an older copy, in order to accept it.
        kind: ``worker`` lets others kill this process when it freezes with the write lock.
        patience_seconds: how long others may stand still with the write lock: the TTL.

    Raises:
        BadInput: the URL is of no known form.
        StoreUnreachable, StoreCorrupt, StoreNewer, StoreRestored: as their messages say.
    """
    if not url.startswith("sqlite:"):
        raise BadInput(detail=f"store {url!r} is not of the form sqlite:///fleet.db")
    location = files.parse_url(url)
    location = replace(location, path=Path(location.path).absolute())
    with ExitStack() as undo:
        data = undo.enter_context(closing(files.open_data(location, create=create)))
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
) -> Store:
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


def lock_folder(store: Store) -> Path:
    """The folder of the session locks that belong to a store."""
    return files.parse_url(store.url).beside(".locks").absolute()
