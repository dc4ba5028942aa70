"""The data file's write path: one fenced transaction for everything a super-step makes durable.

Pending writes of nodes are *parked* for a few milliseconds, because the checkpoint that follows
can carry them in its own commit. Whatever else happens first takes them along: a read, another
transaction, or the flusher thread. So a sibling that finished early is durable within
``LINGER_SECONDS``, and nobody ever reads a store that lacks what was parked.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from baton import errors
from baton.domain.ledger import GENESIS, StepSealer, step_payload
from baton.errors import BadInput
from baton.fleet.clock import StoreClock
from baton.fleet.lingering import LINGER_SECONDS, Linger
from baton.fleet.model import Checkpoint, LeaseKey, ParkedWrite
from baton.fleet.points import Point, reach
from baton.fleet.sqlite_files import plain_error, plain_errors
from baton.fleet.sqlite_write import SQL, SqliteWrite

#: What SQLite may keep of a row besides its text and bytes.
_ROW_BYTES = 256

_INSERT_CHECKPOINT = SQL["insert_checkpoint"]
_INSERT_EVENT = SQL["insert_event"]
_INSERT_WRITE = SQL["insert_write"]
_REPLACE_WRITE = SQL["replace_write"]


class Gate(Protocol):
    """The queue in front of a writer."""

    def acquire(self) -> None:
        """Wait for the turn."""

    def release(self) -> None:
        """Let the next one in."""

    def close(self) -> None:
        """Nobody waits any more."""


class NoGate:
    """For a store that only this process can see."""

    def acquire(self) -> None:
        """There is nobody to wait for."""

    def release(self) -> None:
        """There is nobody to let in."""

    def close(self) -> None:
        """There is nothing to close."""


class DataFile:
    """The connection to the data file and everything that waits to be written to it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: StoreClock,
        url: str,
        gate: Gate,
        *,
        linger_seconds: float | None = LINGER_SECONDS,
    ) -> None:
        """Wrap an open data file.

        Args:
            connection: from ``open_data``, or in memory after ``prepare_data``.
            clock: the store's clock.
            url: for error messages.
            gate: the queue in front of BEGIN IMMEDIATE.
            linger_seconds: how long pending writes are parked at most; None leaves them to
                whatever comes next, so that a simulation needs no thread and no real time.
        """
        connection.row_factory = sqlite3.Row
        self.connection = connection
        self._writing = connection.cursor()
        self.sql = SQL
        self.clock = clock
        self.url = url
        self.position = 0
        self._pid = os.getpid()
        self.lock = threading.Lock()
        self.on_lost: Callable[[errors.LeaseLost, LeaseKey], None] | None = None
        self._gate = gate
        self._linger = (
            None
            if linger_seconds is None
            else Linger(linger_seconds, oldest=self._parked_longest, flush=lambda _: self.flush())
        )
        # Parking takes a lock of its own, so that an event loop never waits for a commit.
        self._park_lock = threading.Lock()
        self._parked: dict[LeaseKey, list[ParkedWrite]] = {}
        #: Since when something is parked, if anything is.
        self._parked_since = 0.0
        self._undo: dict[LeaseKey, list[ParkedWrite]] = {}
        #: By lease, the last step this process appended: its place and its hash.
        self._steps: dict[LeaseKey, tuple[StepSealer, int, str]] = {}

    @contextmanager
    def write(self) -> Iterator[SqliteWrite]:
        """A transaction: commits at the end, rolls back on any exception."""
        self.refuse_a_forked_child()
        with self.lock, plain_errors(self.url):
            # This may append to any chain, so what was known of their heads is forgotten.
            self._steps.clear()
            write = self._begin(None)
            try:
                yield write
            except BaseException:
                self._rollback()
                raise
            self._commit(write)

    def read(self) -> AbstractContextManager[sqlite3.Cursor]:
        """A cursor for reading, after everything parked is durable."""
        self.refuse_a_forked_child()
        return _Reading(self)

    def begin_reading(self) -> sqlite3.Cursor:
        """What ``read`` begins with; the caller has the lock."""
        # Under the lock: what another transaction took along is parked again if it failed.
        self._flush_locked()
        return self.connection.cursor()

    def rows(self, name: str, parameters: Any = ()) -> list[Any]:
        """All rows of a named query."""
        with self.read() as cursor:
            return cursor.execute(SQL[name], parameters).fetchall()

    def tail(self, after_seq: int, limit: int) -> list[Any]:
        """Events after a place of the tail.

        One writer at a time commits here, so the order of ``seq`` is the order of commits and
        nothing ever appears behind a reader.
        """
        return self.rows("tail", (after_seq, limit))

    def refuse_a_forked_child(self) -> None:
        """Stop a child that uses what its parent opened.

        Raises:
            BadInput: this process is not the one that opened the store.
        """
        # SQLite's connections and their locks do not survive a fork; using one there can damage
        # the file (https://www.sqlite.org/howtocorrupt.html, section 2.6).
        if os.getpid() != self._pid:
            raise BadInput(detail="this fleet was opened before a fork; open it in each process")

    def _begin(self, own: LeaseKey | None) -> SqliteWrite:
        """Begin, and write what others parked; ``own`` is left to the caller."""
        self._gate.acquire()
        try:
            cursor = self._writing
            cursor.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._gate.release()
            raise
        write = SqliteWrite(cursor, self.clock.now_us(), self.clock.wall_us())
        try:
            with self._park_lock:
                self._undo, self._parked = self._parked, {}
            for key, parked in self._undo.items():
                if key != own:
                    self._write_parked(write, key, parked)
        except BaseException:
            self._rollback()
            raise
        return write

    def _commit(self, write: SqliteWrite) -> None:
        try:
            self._writing.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise
        self._gate.release()
        self.position = max(self.position, write.seq)

    def _rollback(self) -> None:
        self._steps.clear()
        # What was parked is not lost with somebody else's transaction.
        with self._park_lock:
            for key, parked in self._undo.items():
                self._parked[key] = parked + self._parked.get(key, [])
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        finally:
            self._gate.release()

    def _write_parked(self, write: SqliteWrite, key: LeaseKey, parked: list[ParkedWrite]) -> None:
        try:
            write.fence(key)
        except errors.LeaseLost as lost:
            write.refuse(key)
            if self.on_lost is not None:
                self.on_lost(lost, key)
            return
        self._insert_writes(write, parked)
        write.run("note_bare_write", (write.at, key.task_id))

    @staticmethod
    def _insert_writes(write: SqliteWrite, parked: Sequence[ParkedWrite]) -> None:
        # In order, and one statement for each run of a kind: nearly always there is but one.
        for replace, rows in groupby(parked, itemgetter(0)):
            statement = _REPLACE_WRITE if replace else _INSERT_WRITE
            write.cursor.executemany(statement, [row for _, row in rows])

    def park(self, key: LeaseKey, writes: list[ParkedWrite]) -> None:
        """Keep pending writes for the checkpoint that follows, for the linger at most.

        Raises:
            StoreUnfit: SQLite could never keep one, and every later transaction would fail of it.
        """
        most = self.connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) - _ROW_BYTES
        for _, row in writes:
            size = sum(len(value) for value in row if isinstance(value, (bytes, str)))
            if size > most:
                raise errors.StoreUnfit(url=self.url, detail=f"a result of {size} bytes")
        with self._park_lock:
            if not self._parked:
                self._parked_since = time.monotonic()
            self._parked.setdefault(key, []).extend(writes)
        if self._linger is not None:
            self._linger.parked()

    def _parked_longest(self) -> float | None:
        return self._parked_since if self._parked else None

    def flush(self) -> None:
        """Make everything parked durable now."""
        with self.lock, plain_errors(self.url):
            self._flush_locked()

    def _flush_locked(self) -> None:
        if self._parked:
            self._commit(self._begin(None))

    def write_now(self, key: LeaseKey, writes: list[ParkedWrite], *, resume: bool) -> None:
        """Make pending writes durable at once: interrupts, errors and resume values.

        Raises:
            LeaseLost: the fence refused.
        """
        with self.write() as write:
            write.fence(key)
            self._insert_writes(write, writes)
            write.run("note_bare_write", (write.at, key.task_id))
            if resume:
                write.run("clear_resume", (key.task_id,))

    def delete_thread(self, key: LeaseKey) -> None:
        """Forget a task's checkpoints and pending writes; its ledger stays.

        Raises:
            LeaseLost: the fence refused.
        """
        with self.write() as write:
            write.fence(key)
            write.run("delete_checkpoints", (key.task_id,))
            write.run("delete_writes", (key.task_id,))

    def put(self, key: LeaseKey, run_id: str, worker_id: str, checkpoint: Checkpoint) -> None:
        """Make a super-step durable: its pending writes, its checkpoint and its event.

        Raises:
            LeaseLost: the fence refused; nothing was written.
        """
        # The hot path: one call for each super-step of every run.
        self.refuse_a_forked_child()
        with self.lock:
            try:
                write = self._begin(key)
                try:
                    self._put(write, key, run_id, worker_id, checkpoint)
                    reach(Point.CKPT_WRITE, key.task_id)
                except BaseException as error:
                    if isinstance(error, errors.LeaseLost):
                        # Its parked writes are refused with it, not kept for a later try.
                        self._undo.pop(key, None)
                    self._rollback()
                    raise
                self._commit(write)
            except sqlite3.DatabaseError as error:
                raise plain_error(self.url, error) from error

    def _put(
        self, write: SqliteWrite, key: LeaseKey, run_id: str, worker_id: str, c: Checkpoint
    ) -> None:
        # Only this process appends under this epoch, so the head it left is the head it finds.
        known = self._steps.get(key)
        if known is None:
            sealer = StepSealer(key.task_id, run_id, worker_id, key.session_id, key.epoch)
            n, prev = write.fence(key) or (-1, GENESIS)
        else:
            sealer, n, prev = known
            write.fence_only(key)
        parked = self._undo.get(key, ())
        execute = write.cursor.execute
        self._insert_writes(write, parked)
        execute(
            _INSERT_CHECKPOINT,
            (key.task_id, c.ns, c.checkpoint_id, c.parent_id, c.type, c.blob, c.metadata),
        )
        payload = step_payload(c.digest, c.ns, c.parent_id, c.source, c.step, len(parked))
        event = sealer.seal(n + 1, write.at, write.wall, c.checkpoint_id, payload, prev)
        execute(_INSERT_EVENT, event)
        write.seq = write.cursor.lastrowid or 0
        self._steps[key] = (sealer, n + 1, str(event[-1]))

    def close(self) -> None:
        """Make what is parked durable and close the file, which is closed even if that fails."""
        try:
            self.flush()
        finally:
            if self._linger is not None:
                self._linger.end()
            with self.lock:
                self.connection.close()
            self._gate.close()


class _Reading:
    """A cursor of a data file, which is its holder's alone; no generator, as every read is one."""

    __slots__ = ("_cursor", "_file")

    def __init__(self, file: DataFile) -> None:
        self._file = file

    def __enter__(self) -> sqlite3.Cursor:
        file = self._file
        file.lock.acquire()
        try:
            with plain_errors(file.url):
                self._cursor = file.begin_reading()
        except BaseException:
            file.lock.release()
            raise
        return self._cursor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._cursor.close()
        finally:
            self._file.lock.release()
        if isinstance(error, sqlite3.DatabaseError):
            raise plain_error(self._file.url, error) from error
