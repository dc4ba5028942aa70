"""The real SQLite store in memory, as several processes see it over connections that fail.

Every process has its own ``SqliteStore``, with what production keeps in a process: parked writes,
known heads of chains, positions seen. The tables under them are the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from baton.errors import StoreError
from baton.fleet import sqlite_files as files
from baton.fleet.evidence import OnGone
from baton.fleet.model import Beat, Checkpoint, LeaseKey
from baton.fleet.sqlite_data import DataFile, NoGate
from baton.fleet.sqlite_sessions import SessionsFile
from baton.fleet.sqlite_store import SqliteStore
from baton.fleet.sqlite_write import SqliteWrite
from baton.fleet.watching import Watching
from baton.prove.scenarios.model import Of
from baton.prove.sim.clocks import StoreTime

_URL = "sqlite:///:memory:"

_SIZES = ("page_count", "page_size")


class Line:
    """A process's connection to the store, which may be cut for a while."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """Begin whole."""
        self._now_us = now_us
        self._cut: list[tuple[int | None, Of]] = []
        #: How many calls were refused.
        self.refused = 0

    def cut(self, of: Of, until_us: int | None) -> None:
        """Answer no calls of a kind until then; for good if that is None."""
        self._cut.append((until_us, of))

    def call(self, of: Of) -> None:
        """Let a call through.

        Raises:
            StoreError: the connection is cut.
        """
        if not self._cut:
            return
        now = self._now_us()
        self._cut = [(until, what) for until, what in self._cut if until is None or now < until]
        if any(what in (Of.EVERYTHING, of) for _, what in self._cut):
            self.refused += 1
            raise StoreError(url=_URL, detail="the trial has cut the connection")


class Memory:
    """The tables, and the clock that they are judged by."""

    def __init__(self, clock: StoreTime, new_id: Callable[[], str]) -> None:
        """Make empty tables.

        Args:
            clock: the store's clock.
            new_id: makes the store's id and the run ids.
        """
        self.clock, self.new_id = clock, new_id
        self.store_id = new_id()
        self.data = files.connect(":memory:", synchronous="off", busy_seconds=0)
        files.prepare_data(self.data, store_id=self.store_id)
        self.sessions = files.connect(":memory:", synchronous="off", busy_seconds=0)
        files.prepare_sessions(self.sessions, self.store_id)

    def copy(self) -> bytes:
        """The data as they are now."""
        return self.data.serialize()

    def put_back(self, copied: bytes) -> None:
        """The data as they were; the sessions stay."""
        self.data.deserialize(copied)

    def size_bytes(self) -> int:
        """How much the data take."""
        pages, size = (self.data.execute(f"PRAGMA {n}").fetchone()[0] for n in _SIZES)
        return int(pages) * int(size)

    def open(
        self,
        line: Line | None = None,
        watching: Callable[[OnGone], Watching] | None = None,
    ) -> SimStore:
        """The store as one process sees it.

        Raises:
            StoreRestored: the data are older than what the sessions have seen of them.
        """
        location = files.parse_url("sqlite:///trial.db")
        files.check_restored(location, self.data, self.sessions)
        return SimStore(self, line or Line(self.clock.now_us), watching)

    def accept_restore(self) -> int:
        """What an operator does about a restored copy; returns the number of tasks."""
        return SimStore(self, Line(self.clock.now_us), None).accept_restore()

    def close(self) -> None:
        """Let go of the tables."""
        self.data.close()
        self.sessions.close()


class _Data(DataFile):
    """The data file over a connection that may be cut."""

    def __init__(self, memory: Memory, line: Line) -> None:
        super().__init__(memory.data, memory.clock, _URL, NoGate(), linger_seconds=None)
        self.position = files.position_of(memory.data)
        self._line = line

    def read(self) -> AbstractContextManager[sqlite3.Cursor]:
        """See ``DataFile.read``."""
        self._line.call(Of.EVERYTHING)
        return super().read()

    def _begin(self, own: LeaseKey | None) -> SqliteWrite:
        self._line.call(Of.EVERYTHING)
        return super()._begin(own)

    def put(self, key: LeaseKey, run_id: str, worker_id: str, checkpoint: Checkpoint) -> None:
        """See ``DataFile.put``."""
        self._line.call(Of.CHECKPOINTS)
        super().put(key, run_id, worker_id, checkpoint)


class _Sessions(SessionsFile):
    """The sessions file over a connection that may be cut."""

    def __init__(self, memory: Memory, line: Line) -> None:
        super().__init__(memory.sessions, memory.clock, _URL)
        self._line = line

    def _all(self, name: str, parameters: object = ()) -> list[sqlite3.Row]:
        self._line.call(Of.EVERYTHING)
        return super()._all(name, parameters)

    def _changed(self, name: str, parameters: object) -> bool:
        self._line.call(Of.EVERYTHING)
        return super()._changed(name, parameters)

    def heartbeat(self, session_id: str, *, position: int, epoch: int) -> Beat:
        """See ``SessionsFile.heartbeat``."""
        self._line.call(Of.HEARTBEATS)
        return super().heartbeat(session_id, position=position, epoch=epoch)


class SimStore(SqliteStore):
    """The store as one process sees it."""

    data: _Data
    sessions: _Sessions

    def __init__(
        self, memory: Memory, line: Line, watching: Callable[[OnGone], Watching] | None
    ) -> None:
        """Look at a memory over a line.

        Args:
            memory: the tables.
            line: the connection to them.
            watching: makes what the process knows of its peers' deaths.
        """
        super().__init__(
            _Data(memory, line),
            _Sessions(memory, line),
            memory.clock,
            url=_URL,
            store_id=memory.store_id,
            new_id=memory.new_id,
        )
        self._watching = watching

    def evidence(self, on_gone: OnGone, on_wake: Callable[[], None]) -> Any:
        """What the trial lets this process know of its peers' deaths."""
        del on_wake
        assert self._watching is not None
        return self._watching(on_gone)
